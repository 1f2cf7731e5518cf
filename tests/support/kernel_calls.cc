// Where the product's system calls arrive in a test (-Wl,--wrap): each first meets the script of
// Faults, then the simulated kernel if the thread has one and the descriptor is of it, else the
// real one.
#include "support/fault_script.h"
#include "support/in_kernel.h"
#include "support/sim/sim_kernel.h"

#include <cstdarg>
#include <optional>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

namespace millrace::test {
namespace {

// Makes the call where it belongs.
template <class Sim, class Real>
auto dispatch(bool simulated, Sim&& sim, Real&& real) {
  if (!simulated) return real();
  const InKernel in_kernel;
  return sim(*SimKernel::active());
}

bool simulating() {
  return SimKernel::active() != nullptr;
}

// The first `most` bytes of a message.
struct Shortened {
  Shortened(const msghdr& whole, std::size_t most) : message(whole) {
    for (std::size_t i = 0; most > 0; ++i) {
      iovec part = whole.msg_iov[i];
      part.iov_len = std::min(part.iov_len, most);
      most -= part.iov_len;
      parts.push_back(part);
    }
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
  }
  msghdr message;
  std::vector<iovec> parts;
};

}  // namespace
}  // namespace millrace::test

using millrace::Duration;
using millrace::test::Call;
using millrace::test::dispatch;
using millrace::test::InKernel;
using millrace::test::scripted_call;
using millrace::test::scripted_transfer;
using millrace::test::Shortened;
using millrace::test::SimKernel;
using millrace::test::simulating;

extern "C" {

int __real_accept4(int, sockaddr*, socklen_t*, int);
int __real_bind(int, const sockaddr*, socklen_t);
int __real_clock_gettime(clockid_t, timespec*);
int __real_close(int);
int __real_connect(int, const sockaddr*, socklen_t);
int __real_epoll_create1(int);
int __real_epoll_ctl(int, int, int, epoll_event*);
int __real_epoll_pwait2(int, epoll_event*, int, const timespec*, const sigset_t*);
int __real_epoll_wait(int, epoll_event*, int, int);
int __real_eventfd(unsigned, int);
int __real_chmod(const char*, mode_t);
int __real_fchmod(int, mode_t);
int __real_fchownat(int, const char*, uid_t, gid_t, int);
int __real_fcntl(int, int, ...);
int __real_flock(int, int);
int __real_fstat(int, struct stat*);
int __real_getpeername(int, sockaddr*, socklen_t*);
ssize_t __real_getrandom(void*, size_t, unsigned);
int __real_getsockname(int, sockaddr*, socklen_t*);
int __real_getsockopt(int, int, int, void*, socklen_t*);
int __real_ioctl(int, unsigned long, ...);
int __real_listen(int, int);
int __real_lstat(const char*, struct stat*);
int __real_open(const char*, int, ...);
ssize_t __real_read(int, void*, size_t);
ssize_t __real_recv(int, void*, size_t, int);
int __real_recvmmsg(int, mmsghdr*, unsigned, int, timespec*);
ssize_t __real_recvmsg(int, msghdr*, int);
ssize_t __real_send(int, const void*, size_t, int);
ssize_t __real_sendfile(int, int, off_t*, size_t);
int __real_sendmmsg(int, mmsghdr*, unsigned, int);
ssize_t __real_sendmsg(int, const msghdr*, int);
int __real_setsockopt(int, int, int, const void*, socklen_t);
int __real_shutdown(int, int);
int __real_socket(int, int, int);
int __real_timerfd_create(int, int);
int __real_timerfd_settime(int, int, const itimerspec*, itimerspec*);
int __real_unlink(const char*);
ssize_t __real_write(int, const void*, size_t);

int __wrap_accept4(int fd, sockaddr* from, socklen_t* size, int flags) {
  return scripted_call(Call::accept4, fd, [&] {
    return dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.accept4(fd, from, size, flags); },
        [&] { return __real_accept4(fd, from, size, flags); });
  });
}

int __wrap_bind(int fd, const sockaddr* to, socklen_t size) {
  return scripted_call(Call::bind, fd, [&] {
    return dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.bind(fd, to, size); },
        [&] { return __real_bind(fd, to, size); });
  });
}

int __wrap_clock_gettime(clockid_t id, timespec* to) {
  const bool monotonic = id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE;
  const int result = dispatch(
      monotonic && simulating(), [&](SimKernel& k) { return k.clock_gettime(to); },
      [&] { return __real_clock_gettime(id, to); });
  if (monotonic) millrace::test::adjust_clock(*to);
  return result;
}

// The descriptor is gone whatever close() says.
int __wrap_close(int fd) {
  const int result = dispatch(
      SimKernel::owns(fd), [&](SimKernel& k) { return k.close(fd); },
      [&] { return __real_close(fd); });
  const int error = errno;
  return scripted_call(Call::close, fd, [&] {
    errno = error;
    return result;
  });
}

int __wrap_connect(int fd, const sockaddr* to, socklen_t size) {
  return scripted_call(Call::connect, fd, [&] {
    return dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.connect(fd, to, size); },
        [&] { return __real_connect(fd, to, size); });
  });
}

int __wrap_epoll_create1(int flags) {
  return scripted_call(Call::epoll_create1, -1, [&] {
    return dispatch(
        simulating(), [&](SimKernel& k) { return k.epoll_create1(flags); },
        [&] { return __real_epoll_create1(flags); });
  });
}

int __wrap_epoll_ctl(int ep, int op, int fd, epoll_event* event) {
  const auto make = [&] {
    return dispatch(
        SimKernel::owns(ep), [&](SimKernel& k) { return k.epoll_ctl(ep, op, fd, event); },
        [&] { return __real_epoll_ctl(ep, op, fd, event); });
  };
  return scripted_call(Call::epoll_ctl, fd, make, op);
}

int __wrap_epoll_pwait2(int ep, epoll_event* events, int max, const timespec* timeout,
                        const sigset_t* mask) {
  return scripted_call(Call::epoll_wait, ep, [&] {
    return dispatch(
        SimKernel::owns(ep),
        [&](SimKernel& k) {
          return k.epoll_wait(ep, events, max,
                              std::chrono::seconds(timeout->tv_sec) + Duration(timeout->tv_nsec));
        },
        [&] { return __real_epoll_pwait2(ep, events, max, timeout, mask); });
  });
}

int __wrap_epoll_wait(int ep, epoll_event* events, int max, int timeout_ms) {
  return scripted_call(Call::epoll_wait, ep, [&] {
    return dispatch(
        SimKernel::owns(ep),
        [&](SimKernel& k) {
          std::optional<Duration> timeout;
          if (timeout_ms >= 0) timeout = std::chrono::milliseconds(timeout_ms);
          return k.epoll_wait(ep, events, max, timeout);
        },
        [&] { return __real_epoll_wait(ep, events, max, timeout_ms); });
  });
}

int __wrap_eventfd(unsigned value, int flags) {
  return scripted_call(Call::eventfd, -1, [&] {
    return dispatch(
        simulating(), [&](SimKernel& k) { return k.eventfd(value, flags); },
        [&] { return __real_eventfd(value, flags); });
  });
}

int __wrap_getpeername(int fd, sockaddr* to, socklen_t* size) {
  return scripted_call(Call::getpeername, fd, [&] {
    return dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.getpeername(fd, to, size); },
        [&] { return __real_getpeername(fd, to, size); });
  });
}

ssize_t __wrap_getrandom(void* to, size_t n, unsigned flags) {
  return dispatch(
      simulating(), [&](SimKernel& k) { return k.getrandom(to, n); },
      [&] { return __real_getrandom(to, n, flags); });
}

int __wrap_getsockname(int fd, sockaddr* to, socklen_t* size) {
  return scripted_call(Call::getsockname, fd, [&] {
    return dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.getsockname(fd, to, size); },
        [&] { return __real_getsockname(fd, to, size); });
  });
}

int __wrap_getsockopt(int fd, int level, int name, void* value, socklen_t* size) {
  return scripted_call(Call::getsockopt, fd, [&] {
    return dispatch(
        SimKernel::owns(fd),
        [&](SimKernel& k) { return k.getsockopt(fd, level, name, value, size); },
        [&] { return __real_getsockopt(fd, level, name, value, size); });
  });
}

int __wrap_ioctl(int fd, unsigned long request, ...) {
  va_list arguments;
  va_start(arguments, request);
  void* value = va_arg(arguments, void*);
  va_end(arguments);
  return scripted_call(Call::ioctl, fd, [&] {
    return dispatch(
        SimKernel::owns(fd),
        [&](SimKernel& k) { return k.ioctl(fd, request, static_cast<int*>(value)); },
        [&] { return __real_ioctl(fd, request, value); });
  });
}

int __wrap_listen(int fd, int backlog) {
  return scripted_call(Call::listen, fd, [&] {
    return dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.listen(fd, backlog); },
        [&] { return __real_listen(fd, backlog); });
  });
}

ssize_t __wrap_read(int fd, void* to, size_t n) {
  return scripted_call(Call::read, fd, [&] {
    return dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.read(fd, to, n); },
        [&] { return __real_read(fd, to, n); });
  });
}

ssize_t __wrap_recv(int fd, void* to, size_t n, int flags) {
  return scripted_transfer(Call::recv, fd, n, [&](size_t most) {
    return dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.recv(fd, to, most, flags); },
        [&] { return __real_recv(fd, to, most, flags); });
  });
}

ssize_t __wrap_send(int fd, const void* from, size_t n, int flags) {
  return scripted_transfer(Call::send, fd, n, [&](size_t most) {
    return dispatch(
        SimKernel::owns(fd),
        [&](SimKernel& k) {
          iovec part{const_cast<void*>(from), most};
          msghdr message{};
          message.msg_iov = &part;
          message.msg_iovlen = 1;
          return k.sendmsg(fd, &message, flags);
        },
        [&] { return __real_send(fd, from, most, flags); });
  });
}

ssize_t __wrap_sendfile(int out, int in, off_t* offset, size_t n) {
  return scripted_transfer(Call::sendfile, out, n, [&](size_t most) {
    return dispatch(
        SimKernel::owns(out), [&](SimKernel& k) { return k.sendfile(out, in, offset, most); },
        [&] { return __real_sendfile(out, in, offset, most); });
  });
}

// Shortened they take that many messages.
int __wrap_sendmmsg(int fd, mmsghdr* messages, unsigned n, int flags) {
  return static_cast<int>(scripted_transfer(Call::sendmmsg, fd, n, [&](size_t most) {
    const auto count = static_cast<unsigned>(most);
    return ssize_t{dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.sendmmsg(fd, messages, count, flags); },
        [&] { return __real_sendmmsg(fd, messages, count, flags); })};
  }));
}

int __wrap_recvmmsg(int fd, mmsghdr* messages, unsigned n, int flags, timespec* timeout) {
  return static_cast<int>(scripted_transfer(Call::recvmmsg, fd, n, [&](size_t most) {
    const auto count = static_cast<unsigned>(most);
    return ssize_t{dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.recvmmsg(fd, messages, count, flags); },
        [&] { return __real_recvmmsg(fd, messages, count, flags, timeout); })};
  }));
}

ssize_t __wrap_recvmsg(int fd, msghdr* message, int flags) {
  return scripted_call(Call::recvmsg, fd, [&] {
    return dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.recvmsg(fd, message, flags); },
        [&] { return __real_recvmsg(fd, message, flags); });
  });
}

ssize_t __wrap_sendmsg(int fd, const msghdr* message, int flags) {
  size_t total = 0;
  for (size_t i = 0; i < message->msg_iovlen; ++i) total += message->msg_iov[i].iov_len;
  return scripted_transfer(Call::sendmsg, fd, total, [&](size_t most) {
    std::optional<Shortened> shortened;
    if (most < total) {
      const InKernel in_kernel;
      shortened.emplace(*message, most);
    }
    const msghdr* sent = shortened ? &shortened->message : message;
    return dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.sendmsg(fd, sent, flags); },
        [&] { return __real_sendmsg(fd, sent, flags); });
  });
}

int __wrap_setsockopt(int fd, int level, int name, const void* value, socklen_t size) {
  return scripted_call(Call::setsockopt, fd, [&] {
    return dispatch(
        SimKernel::owns(fd),
        [&](SimKernel& k) { return k.setsockopt(fd, level, name, value, size); },
        [&] { return __real_setsockopt(fd, level, name, value, size); });
  });
}

int __wrap_shutdown(int fd, int how) {
  return scripted_call(Call::shutdown, fd, [&] {
    return dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.shutdown(fd, how); },
        [&] { return __real_shutdown(fd, how); });
  });
}

int __wrap_socket(int domain, int type, int protocol) {
  return scripted_call(Call::socket, -1, [&] {
    return dispatch(
        simulating(), [&](SimKernel& k) { return k.socket(domain, type, protocol); },
        [&] { return __real_socket(domain, type, protocol); });
  });
}

int __wrap_timerfd_create(int clock, int flags) {
  return scripted_call(Call::timerfd_create, -1, [&] {
    return dispatch(
        simulating(), [&](SimKernel& k) { return k.timerfd_create(clock, flags); },
        [&] { return __real_timerfd_create(clock, flags); });
  });
}

int __wrap_timerfd_settime(int fd, int flags, const itimerspec* to, itimerspec* old) {
  return scripted_call(Call::timerfd_settime, fd, [&] {
    return dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.timerfd_settime(fd, flags, to); },
        [&] { return __real_timerfd_settime(fd, flags, to, old); });
  });
}

ssize_t __wrap_write(int fd, const void* from, size_t n) {
  return scripted_call(Call::write, fd, [&] {
    return dispatch(
        SimKernel::owns(fd), [&](SimKernel& k) { return k.write(fd, from, n); },
        [&] { return __real_write(fd, from, n); });
  });
}

// Of files. No script knows them.

int __wrap_chmod(const char* path, mode_t mode) {
  return dispatch(
      SimKernel::owns(path), [&](SimKernel& k) { return k.chmod(path, mode); },
      [&] { return __real_chmod(path, mode); });
}

int __wrap_fchmod(int fd, mode_t mode) {
  return dispatch(
      SimKernel::owns(fd), [&](SimKernel& k) { return k.fchmod(fd, mode); },
      [&] { return __real_fchmod(fd, mode); });
}

int __wrap_fchownat(int fd, const char* path, uid_t owner, gid_t group, int flags) {
  return dispatch(
      SimKernel::owns(fd), [&](SimKernel& k) { return k.fchownat(fd, owner, group); },
      [&] { return __real_fchownat(fd, path, owner, group, flags); });
}

int __wrap_fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* value = va_arg(arguments, void*);
  va_end(arguments);
  return dispatch(
      SimKernel::owns(fd), [&](SimKernel& k) { return k.fcntl(fd, command); },
      [&] { return __real_fcntl(fd, command, value); });
}

int __wrap_flock(int fd, int operation) {
  return dispatch(
      SimKernel::owns(fd), [&](SimKernel& k) { return k.flock(fd, operation); },
      [&] { return __real_flock(fd, operation); });
}

int __wrap_fstat(int fd, struct stat* to) {
  return dispatch(
      SimKernel::owns(fd), [&](SimKernel& k) { return k.fstat(fd, to); },
      [&] { return __real_fstat(fd, to); });
}

int __wrap_lstat(const char* path, struct stat* to) {
  return dispatch(
      SimKernel::owns(path), [&](SimKernel& k) { return k.lstat(path, to); },
      [&] { return __real_lstat(path, to); });
}

int __wrap_open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const bool makes = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  const mode_t mode = makes ? va_arg(arguments, mode_t) : 0u;
  va_end(arguments);
  return dispatch(
      SimKernel::owns(path), [&](SimKernel& k) { return k.open(path, flags, mode); },
      [&] { return __real_open(path, flags, mode); });
}

int __wrap_unlink(const char* path) {
  return dispatch(
      SimKernel::owns(path), [&](SimKernel& k) { return k.unlink(path); },
      [&] { return __real_unlink(path); });
}
}
