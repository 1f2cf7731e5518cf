#include "support/sim/sim_kernel.h"

#include "support/sim/sim_epoll.h"
#include "support/sim/sim_event_fd.h"
#include "support/sim/sim_network.h"
#include "support/sim/sim_socket.h"
#include "support/sim/sim_timer_fd.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace millrace::test {

using namespace std::chrono_literals;

namespace {

thread_local SimKernel* active_kernel = nullptr;

// Not zero, which means "off" to a timer descriptor.
constexpr auto kStart = TimePoint(1000s);

}  // namespace

SimKernel::SimKernel(Decisions& decisions, const SimOptions& options)
    : decisions_(decisions),
      options_(options),
      now_(kStart),
      traced_(std::getenv("MILLRACE_SIM_TRACE") != nullptr),
      network_(std::make_unique<SimNetwork>(*this)),
      outer_(std::exchange(active_kernel, this)) {}

SimKernel::~SimKernel() {
  events_.clear();
  files_.clear();
  events_.clear();
  network_.reset();
  active_kernel = outer_;
}

SimKernel* SimKernel::active() noexcept {
  return active_kernel;
}

// Time.

void SimKernel::at(TimePoint when, std::function<void()> event) {
  events_.emplace(std::pair(std::max(when, now_), ++event_number_), std::move(event));
}

std::optional<TimePoint> SimKernel::next_event() const {
  if (events_.empty()) return std::nullopt;
  return events_.begin()->first.first;
}

bool SimKernel::step() {
  if (events_.empty()) return false;
  auto first = events_.extract(events_.begin());
  now_ = std::max(now_, first.key().first);
  ++events_run_;
  first.mapped()();
  return true;
}

void SimKernel::run_due() {
  while (!events_.empty() && events_.begin()->first.first <= now_) step();
}

void SimKernel::advance(Duration by) {
  const TimePoint end = now_ + by;
  while (!events_.empty() && events_.begin()->first.first <= end) step();
  now_ = std::max(now_, end);
}

Duration SimKernel::latency() {
  const auto least = static_cast<std::uint64_t>(options_.latency_least.count());
  const auto most = static_cast<std::uint64_t>(options_.latency_most.count());
  return Duration(static_cast<Duration::rep>(decisions_.between(least, std::max(least, most))));
}

// Calls.

void SimKernel::enter() {
  ++calls_;
  now_ += options_.call;
  run_due();
}

void SimKernel::mix(std::uint64_t value) {
  fingerprint_ = (fingerprint_ ^ value) * 0x100000001b3;
}

void SimKernel::mix_bytes(const void* bytes, std::size_t n) {
  bytes_moved_ += n;
  mix(std::hash<std::string_view>()({static_cast<const char*>(bytes), n}));
}

ssize_t SimKernel::left(const char* call, int fd, ssize_t result, int error) {
  run_due();
  mix(static_cast<std::uint64_t>(fd));
  mix(static_cast<std::uint64_t>(error != 0 ? -error : static_cast<std::int64_t>(result)));
  mix(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
  if (traced_) {
    std::fprintf(stderr, "%14.6f %s(%d) = %lld %s\n",
                 std::chrono::duration<double>(now_ - kStart).count(), call, fd - kFirstDescriptor,
                 static_cast<long long>(error != 0 ? -1 : result),
                 error != 0 ? std::strerror(error) : "");
  }
  if (error == 0) return result;
  errno = error;
  if (error == EAGAIN || error == EINTR || error == EINPROGRESS) return -1;
  if (auto* socket = find<SimSocket>(fd)) socket->errors_seen().push_back(error);
  errno = error;
  return -1;
}

SimFile* SimKernel::find_any(int fd) const {
  const auto index = static_cast<std::size_t>(fd - kFirstDescriptor);
  return index < files_.size() ? files_[index].get() : nullptr;
}

SimSocket* SimKernel::socket_of(int fd) const {
  auto* socket = find<SimSocket>(fd);
  if (!socket) errno = find_any(fd) ? ENOTSOCK : EBADF;
  return socket;
}

bool SimKernel::room_for_descriptor() const {
  return open_descriptors() < options_.descriptors;
}

// The lowest number that is free, as the real one does.
int SimKernel::install(SimHandle file) {
  const auto free = std::find_if_not(files_.begin(), files_.end(),
                                     [](const SimHandle& each) { return static_cast<bool>(each); });
  const auto index = static_cast<int>(free - files_.begin());
  if (free == files_.end()) {
    files_.push_back(std::move(file));
  } else {
    *free = std::move(file);
  }
  return kFirstDescriptor + index;
}

std::size_t SimKernel::open_descriptors() const {
  return static_cast<std::size_t>(std::count_if(
      files_.begin(), files_.end(), [](const SimHandle& each) { return static_cast<bool>(each); }));
}

std::vector<int> SimKernel::descriptors() const {
  std::vector<int> open;
  for (std::size_t i = 0; i < files_.size(); ++i) {
    if (files_[i]) open.push_back(kFirstDescriptor + static_cast<int>(i));
  }
  return open;
}

int SimKernel::close(int fd) {
  enter();
  const auto index = static_cast<std::size_t>(fd - kFirstDescriptor);
  if (!find_any(fd)) return leave("close", fd, 0, EBADF);
  files_[index] = {};
  return leave("close", fd, 0, interrupted() ? EINTR : 0);
}

ssize_t SimKernel::read(int fd, void* to, std::size_t n) {
  enter();
  std::uint64_t value = 0;
  int error = EBADF;
  if (auto* event = find<SimEventFd>(fd)) error = event->take(&value);
  if (auto* timer = find<SimTimerFd>(fd)) error = timer->take(&value);
  if (auto* socket = find<SimSocket>(fd)) {
    const SimResult got = take(*socket, to, n, 0);
    return leave("read", fd, got.value, got.error);
  }
  if (error == 0 && n < sizeof value) error = EINVAL;
  if (error == 0) std::memcpy(to, &value, sizeof value);
  return leave("read", fd, static_cast<ssize_t>(sizeof value), error);
}

ssize_t SimKernel::write(int fd, const void* from, std::size_t n) {
  enter();
  auto* event = find<SimEventFd>(fd);
  if (!event) return leave("write", fd, ssize_t{0}, EBADF);
  std::uint64_t value = 0;
  if (n < sizeof value) return leave("write", fd, ssize_t{0}, EINVAL);
  std::memcpy(&value, from, sizeof value);
  return leave("write", fd, static_cast<ssize_t>(sizeof value), event->add(value));
}

int SimKernel::eventfd(unsigned value, int) {
  enter();
  if (!room_for_descriptor()) return leave("eventfd", 0, 0, EMFILE);
  return leave("eventfd", 0, install(std::make_shared<SimEventFd>(*this, value)), 0);
}

int SimKernel::timerfd_create(clockid_t, int) {
  enter();
  if (!room_for_descriptor()) return leave("timerfd_create", 0, 0, EMFILE);
  return leave("timerfd_create", 0, install(std::make_shared<SimTimerFd>(*this)), 0);
}

int SimKernel::timerfd_settime(int fd, int flags, const itimerspec* to) {
  enter();
  auto* timer = find<SimTimerFd>(fd);
  if (!timer) return leave("timerfd_settime", fd, 0, EBADF);
  const Duration value = std::chrono::seconds(to->it_value.tv_sec) + Duration(to->it_value.tv_nsec);
  if (value == Duration::zero()) {
    timer->set(std::nullopt);
  } else {
    timer->set((flags & TFD_TIMER_ABSTIME) != 0 ? TimePoint(value) : now_ + value);
  }
  return leave("timerfd_settime", fd, 0, 0);
}

int SimKernel::clock_gettime(timespec* to) {
  const auto since = now_.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  *to = {seconds.count(), (since - seconds).count()};
  return 0;
}

ssize_t SimKernel::getrandom(void* to, std::size_t n) {
  auto* bytes = static_cast<unsigned char*>(to);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<unsigned char>(decisions_.below(256));
  return static_cast<ssize_t>(n);
}

// epoll.

int SimKernel::epoll_create1(int) {
  enter();
  if (!room_for_descriptor()) return leave("epoll_create1", 0, 0, EMFILE);
  return leave("epoll_create1", 0, install(std::make_shared<SimEpoll>(*this)), 0);
}

int SimKernel::epoll_ctl(int ep, int op, int fd, epoll_event* event) {
  enter();
  auto* epoll = find<SimEpoll>(ep);
  SimFile* file = find_any(fd);
  if (!epoll || !file) return leave("epoll_ctl", fd, 0, EBADF);
  int error = EINVAL;
  if (op == EPOLL_CTL_ADD) {
    error = no_memory({ENOMEM, ENOSPC});
    if (error == 0) error = epoll->add(fd, *file, *event);
  } else if (op == EPOLL_CTL_MOD) {
    error = epoll->modify(fd, *file, *event);
  } else if (op == EPOLL_CTL_DEL) {
    error = epoll->remove(fd, *file);
  }
  return leave("epoll_ctl", fd, 0, error);
}

int SimKernel::epoll_wait(int ep, epoll_event* events, int max, std::optional<Duration> timeout) {
  enter();
  auto* epoll = find<SimEpoll>(ep);
  if (!epoll) return leave("epoll_wait", ep, 0, EBADF);
  if (interrupted()) return leave("epoll_wait", ep, 0, EINTR);
  const TimePoint end = timeout ? later(now_, *timeout) : TimePoint::max();
  for (;;) {
    if (const int n = epoll->collect(events, max)) return leave("epoll_wait", ep, n, 0);
    if (now_ >= end) return leave("epoll_wait", ep, 0, 0);
    const auto next = next_event();
    if (!next && end == TimePoint::max()) {
      std::fputs("simulated kernel: a loop sleeps for ever, and nothing is under way\n", stderr);
      std::abort();
    }
    if (!next || *next > end) {
      now_ = end;
      continue;
    }
    step();
    run_due();
  }
}

std::uint32_t SimKernel::spurious_event(std::uint32_t watched) {
  return spurious() ? watched & (EPOLLIN | EPOLLOUT) : 0;
}

std::size_t SimKernel::events_to_report(std::size_t ready) {
  if (ready <= 1 || !decisions_.chance(options_.faults.few_events)) return ready;
  return decisions_.between(1, ready);
}

// For tests.

std::uint32_t SimKernel::poll(int fd) const {
  const SimFile* file = find_any(fd);
  return file ? file->poll() : 0;
}

std::optional<std::uint32_t> SimKernel::interest(int ep, int fd) const {
  const auto* epoll = find<SimEpoll>(ep);
  const SimFile* file = find_any(fd);
  return epoll && file ? epoll->interest(fd, *file) : std::nullopt;
}

void SimKernel::vanish(int fd) {
  if (auto* socket = find<SimSocket>(fd)) socket->vanish();
}

void SimKernel::black_hole(std::uint16_t port) {
  network_->black_hole(port);
}

const std::vector<int>& SimKernel::errors_of(int fd) const {
  static const std::vector<int> kNone;
  auto* socket = find<SimSocket>(fd);
  return socket ? socket->errors_seen() : kNone;
}

}  // namespace millrace::test
