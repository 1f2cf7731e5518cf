#include "support/faults.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <vector>

#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

namespace millrace::test {
namespace {

struct Rule {
  Call call;
  Fault fault;
  When when;
};

std::mutex mutex;
std::vector<Rule> rules;
std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(Call::kCount)> counts{};
std::atomic<std::int64_t> clock_offset_ns{0};
std::atomic<std::int64_t> clock_stopped_at_ns{0};  // 0: it runs
std::atomic<bool> scripted{false};

// Counts the call; what the script says about it, if anything.
std::optional<Fault> next(Call call, int fd) {
  counts[static_cast<std::size_t>(call)].fetch_add(1, std::memory_order_relaxed);
  if (!scripted.load(std::memory_order_acquire)) return std::nullopt;
  const std::lock_guard lock(mutex);
  for (auto rule = rules.begin(); rule != rules.end(); ++rule) {
    if (rule->call != call || (rule->when.fd != -1 && rule->when.fd != fd)) continue;
    if (rule->when.skip > 0) {
      --rule->when.skip;
      return std::nullopt;
    }
    const Fault fault = rule->fault;
    if (--rule->when.times == 0) rules.erase(rule);
    return fault;
  }
  return std::nullopt;
}

// Makes the call, as the script wants it.
template <class Make>
auto scripted_call(Call call, int fd, Make&& make) -> decltype(make()) {
  const auto fault = next(call, fd);
  if (!fault || fault->error == 0) return make();
  if (fault->made) make();
  errno = fault->error;
  return -1;
}

template <class Make>
ssize_t scripted_transfer(Call call, int fd, std::size_t n, Make&& make) {
  const auto fault = next(call, fd);
  if (fault && fault->error != 0) {
    errno = fault->error;
    return -1;
  }
  return make(fault && fault->at_most ? std::min(n, *fault->at_most) : n);
}

}  // namespace

Faults::Faults() {
  for (auto& count : counts) count = 0;
}

Faults::~Faults() {
  const std::lock_guard lock(mutex);
  rules.clear();
  scripted = false;
  clock_offset_ns = 0;
  clock_stopped_at_ns = 0;
}

void Faults::on(Call call, Fault fault, When when) {
  const std::lock_guard lock(mutex);
  rules.push_back({call, fault, when});
  scripted = true;
}

std::uint64_t Faults::count(Call call) const {
  return counts[static_cast<std::size_t>(call)].load(std::memory_order_relaxed);
}

void Faults::advance_clock(std::chrono::nanoseconds by) {
  clock_offset_ns += by.count();
}

void Faults::stop_clock() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  clock_stopped_at_ns = now.tv_sec * 1'000'000'000 + now.tv_nsec - clock_offset_ns;
}

}  // namespace millrace::test

using millrace::test::Call;
using millrace::test::scripted_call;
using millrace::test::scripted_transfer;

extern "C" {

int __real_accept4(int, sockaddr*, socklen_t*, int);
int __real_bind(int, const sockaddr*, socklen_t);
int __real_clock_gettime(clockid_t, timespec*);
int __real_close(int);
int __real_connect(int, const sockaddr*, socklen_t);
int __real_epoll_ctl(int, int, int, epoll_event*);
int __real_epoll_pwait2(int, epoll_event*, int, const timespec*, const sigset_t*);
int __real_epoll_wait(int, epoll_event*, int, int);
int __real_getsockopt(int, int, int, void*, socklen_t*);
int __real_listen(int, int);
ssize_t __real_recv(int, void*, size_t, int);
ssize_t __real_send(int, const void*, size_t, int);
ssize_t __real_sendfile(int, int, off_t*, size_t);
ssize_t __real_sendmsg(int, const msghdr*, int);
int __real_setsockopt(int, int, int, const void*, socklen_t);
int __real_shutdown(int, int);
int __real_socket(int, int, int);

int __wrap_accept4(int fd, sockaddr* from, socklen_t* size, int flags) {
  return scripted_call(Call::accept4, fd, [&] { return __real_accept4(fd, from, size, flags); });
}

int __wrap_bind(int fd, const sockaddr* to, socklen_t size) {
  return scripted_call(Call::bind, fd, [&] { return __real_bind(fd, to, size); });
}

int __wrap_clock_gettime(clockid_t id, timespec* to) {
  const int result = __real_clock_gettime(id, to);
  if (id != CLOCK_MONOTONIC && id != CLOCK_MONOTONIC_COARSE) return result;
  std::int64_t ns = millrace::test::clock_stopped_at_ns.load();
  if (ns == 0) ns = to->tv_sec * 1'000'000'000 + to->tv_nsec;
  ns += millrace::test::clock_offset_ns.load();
  to->tv_sec = ns / 1'000'000'000;
  to->tv_nsec = ns % 1'000'000'000;
  return result;
}

// The descriptor is gone whatever close() says.
int __wrap_close(int fd) {
  const int result = __real_close(fd);
  return scripted_call(Call::close, fd, [&] { return result; });
}

int __wrap_connect(int fd, const sockaddr* to, socklen_t size) {
  return scripted_call(Call::connect, fd, [&] { return __real_connect(fd, to, size); });
}

int __wrap_epoll_ctl(int ep, int op, int fd, epoll_event* event) {
  return scripted_call(Call::epoll_ctl, fd, [&] { return __real_epoll_ctl(ep, op, fd, event); });
}

int __wrap_epoll_pwait2(int ep, epoll_event* events, int max, const timespec* timeout,
                        const sigset_t* mask) {
  return scripted_call(Call::epoll_wait, ep,
                       [&] { return __real_epoll_pwait2(ep, events, max, timeout, mask); });
}

int __wrap_epoll_wait(int ep, epoll_event* events, int max, int timeout_ms) {
  return scripted_call(Call::epoll_wait, ep,
                       [&] { return __real_epoll_wait(ep, events, max, timeout_ms); });
}

int __wrap_getsockopt(int fd, int level, int name, void* value, socklen_t* size) {
  return scripted_call(Call::getsockopt, fd,
                       [&] { return __real_getsockopt(fd, level, name, value, size); });
}

int __wrap_listen(int fd, int backlog) {
  return scripted_call(Call::listen, fd, [&] { return __real_listen(fd, backlog); });
}

ssize_t __wrap_recv(int fd, void* to, size_t n, int flags) {
  return scripted_transfer(Call::recv, fd, n,
                           [&](size_t most) { return __real_recv(fd, to, most, flags); });
}

ssize_t __wrap_send(int fd, const void* from, size_t n, int flags) {
  return scripted_transfer(Call::send, fd, n,
                           [&](size_t most) { return __real_send(fd, from, most, flags); });
}

ssize_t __wrap_sendfile(int out, int in, off_t* offset, size_t n) {
  return scripted_transfer(Call::sendfile, out, n,
                           [&](size_t most) { return __real_sendfile(out, in, offset, most); });
}

ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags) {
  size_t total = 0;
  for (size_t i = 0; i < message->msg_iovlen; ++i) total += message->msg_iov[i].iov_len;
  return scripted_transfer(Call::sendmsg, fd, total, [&](size_t most) -> ssize_t {
    if (most == total) return __real_sendmsg(fd, message, flags);
    // Shortened: what fits of the first parts.
    std::vector<iovec> parts;
    for (size_t i = 0; most > 0; ++i) {
      iovec part = message->msg_iov[i];
      part.iov_len = std::min(part.iov_len, most);
      most -= part.iov_len;
      parts.push_back(part);
    }
    msghdr shortened = *message;
    shortened.msg_iov = parts.data();
    shortened.msg_iovlen = parts.size();
    return __real_sendmsg(fd, &shortened, flags);
  });
}

int __wrap_setsockopt(int fd, int level, int name, const void* value, socklen_t size) {
  return scripted_call(Call::setsockopt, fd,
                       [&] { return __real_setsockopt(fd, level, name, value, size); });
}

int __wrap_shutdown(int fd, int how) {
  return scripted_call(Call::shutdown, fd, [&] { return __real_shutdown(fd, how); });
}

int __wrap_socket(int domain, int type, int protocol) {
  return scripted_call(Call::socket, -1, [&] { return __real_socket(domain, type, protocol); });
}
}
