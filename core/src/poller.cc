#include "poller.h"

#include <millrace/check.h>
#include <millrace/error.h>
#include <millrace/slab.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace millrace {
namespace {

constexpr std::uint64_t kWakeUp = 0;
constexpr std::uint64_t kTimer = 1;

std::uint64_t data_for(Slot& slot) {
  const auto address = reinterpret_cast<std::uintptr_t>(&slot);
  MILLRACE_DCHECK((address & ~Poller::kAddressMask) == 0, "user addresses have 48 bits");
  return address | (slot.id << Poller::kTagShift);
}

std::uint32_t mask_for(Interest interest) {
  return (has(interest, Interest::read) ? EPOLLIN : 0u) |
         (has(interest, Interest::write) ? EPOLLOUT : 0u);
}

static_assert(EPOLLIN == 0x001 && EPOLLOUT == 0x004 && EPOLLERR == 0x008 && EPOLLHUP == 0x010,
              "IoEvents spells these out to keep <sys/epoll.h> out of public headers");

}  // namespace

Poller::Poller() {
  reopen();
}

void Poller::reopen() {
  UniqueFd fd(sys::epoll_create1(EPOLL_CLOEXEC));
  if (!fd) throw_system_error(errno, "epoll_create1");
  UniqueFd timer(sys::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer) throw_system_error(errno, "timerfd_create");
  epoll_ = std::move(fd);
  timer_ = std::move(timer);
  timer_at_ = TimePoint::max();
  if (const int e = control(EPOLL_CTL_ADD, timer_.get(), EPOLLIN | EPOLLET, kTimer)) {
    throw_system_error(e, "epoll_ctl for the loop's timer descriptor");
  }
}

int Poller::control(int op, int fd, std::uint32_t events, std::uint64_t data) noexcept {
  epoll_event event{};
  event.events = events;
  event.data.u64 = data;
  return sys::epoll_ctl(epoll_.get(), op, fd, &event) == 0 ? 0 : errno;
}

int Poller::add(int fd, Interest interest, Slot& slot) noexcept {
  return control(EPOLL_CTL_ADD, fd, mask_for(interest), data_for(slot));
}

int Poller::modify(int fd, Interest interest, Slot& slot) noexcept {
  return control(EPOLL_CTL_MOD, fd, mask_for(interest), data_for(slot));
}

int Poller::remove(int fd) noexcept {
  return control(EPOLL_CTL_DEL, fd, 0, 0);
}

int Poller::add_wake_up(int fd) noexcept {
  return control(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, kWakeUp);
}

void Poller::wake_at(TimePoint at) {
  if (at >= timer_at_) return;
  const Duration since_boot = std::max(at.time_since_epoch(), Duration(1));  // zero would disarm
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_boot);
  itimerspec to{};
  to.it_value = {seconds.count(), (since_boot - seconds).count()};
  if (sys::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &to) != 0) {
    throw_system_error(errno, "timerfd_settime");
  }
  timer_at_ = at;
}

int Poller::wait(std::optional<Duration> max_wait) noexcept {
  const int n = wait_once(max_wait);
  // Anything else means that the descriptor or the array is not ours any more.
  MILLRACE_CHECK(n >= 0 || errno == EINTR, "epoll_wait failed: was the loop's descriptor closed?");
  return std::max(n, 0);
}

int Poller::wait_once(std::optional<Duration> max_wait) noexcept {
  if (!max_wait || *max_wait <= Duration::zero()) {
    return sys::epoll_wait(epoll_.get(), events_.data(), kEventsPerWait, max_wait ? 0 : -1);
  }
  // Nanoseconds: rounding up to epoll_wait's milliseconds would make it late by one.
  if (has_pwait2_) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(*max_wait);
    const timespec timeout{seconds.count(), (*max_wait - seconds).count()};
    const int n = sys::epoll_pwait2(epoll_.get(), events_.data(), kEventsPerWait, &timeout);
    if (n >= 0 || (errno != ENOSYS && errno != EPERM)) return n;
    has_pwait2_ = false;  // a kernel before 5.11, or a filter that does not know the call
  }
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(*max_wait).count();
  return sys::epoll_wait(epoll_.get(), events_.data(), kEventsPerWait,
                         static_cast<int>(std::min<std::int64_t>(ms, INT_MAX)));
}

Poller::Ready Poller::ready(int index) noexcept {
  const epoll_event& event = events_[static_cast<std::size_t>(index)];
  const std::uint64_t data = event.data.u64;
  if (data <= kTimer) {
    if (data == kTimer) timer_at_ = TimePoint::max();  // it has gone off
    return {nullptr, {}, true};
  }
  auto* slot = reinterpret_cast<Slot*>(data & kAddressMask);
  const bool same = slot->id != 0 && ((slot->id ^ (data >> kTagShift)) & 0xffff) == 0;
  return {same ? slot : nullptr, {event.events}, false};
}

}  // namespace millrace
