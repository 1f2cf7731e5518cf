// The timeouts of a connection share one timer: it is set to the nearest deadline, and what has
// moved later since is found when it fires. A message therefore costs the store of its time and
// nothing else.
#include <millrace/error.h>

#include "connection_core.h"
#include "syscalls.h"

#include <algorithm>
#include <chrono>

#include <linux/sockios.h>

namespace millrace {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kNone = milliseconds::max();

// What is left of `timeout`, which started at `since`; zero when it is over. Milliseconds of the
// loop, modulo 2^32.
milliseconds left_of(milliseconds timeout, std::uint32_t since, std::uint32_t now) {
  if (timeout <= milliseconds::zero()) return kNone;
  return std::max(timeout - milliseconds(now - since), milliseconds::zero());
}

}  // namespace

milliseconds ConnectionCore::until_deadline() const noexcept {
  const ConnectionTimeouts& timeouts = options().timeouts;
  const std::uint32_t now = now_ms();
  milliseconds left = kNone;
  if (has(kBlocked)) left = left_of(timeouts.write_stall, last_progress_ms_, now);
  if (has(kLingering)) {
    left = std::min(left, left_of(timeouts.linger, last_progress_ms_, now));
    left = std::min(left, left_of(timeouts.linger_total, lingering_since_ms_, now));
  }
  if (!is_open()) return left;
  if (output_.empty()) left = std::min(left, left_of(timeouts.idle, last_activity_ms_, now));
  const auto opened = static_cast<std::uint32_t>(opened_ms_);
  return std::min(left, left_of(timeouts.lifetime, opened, now));
}

void ConnectionCore::settle_timer() noexcept {
  if (!has(kTimersChanged)) return;
  unset(kTimersChanged);
  const milliseconds left = until_deadline();
  // One more: the stamps were rounded down, and a timeout is not early.
  if (left != kNone) TimerNode::start(IoTarget::loop(), left + milliseconds(1));
}

void ConnectionCore::handle_timer() {
  set(kTimersChanged);
  if (until_deadline() == milliseconds::zero()) expire();
  settle();
}

void ConnectionCore::expire() noexcept {
  const ConnectionTimeouts& timeouts = options().timeouts;
  const std::uint32_t now = now_ms();
  const auto over = [now](milliseconds timeout, std::uint32_t since) {
    return left_of(timeout, since, now) == milliseconds::zero();
  };
  if (has(kBlocked) && over(timeouts.write_stall, last_progress_ms_)) {
    return abort(error::write_stalled, {});
  }
  if (has(kLingering)) {
    // The peer has not closed. What it has acknowledged is delivered; the rest is accounted for.
    int unacknowledged = 0;
    sys::ioctl(fd(), SIOCOUTQ, &unacknowledged);
    return fail(unacknowledged > 0 ? make_error_code(error::linger_timeout) : std::error_code());
  }
  if (!is_open()) return;
  if (over(timeouts.lifetime, static_cast<std::uint32_t>(opened_ms_))) {
    return close_gracefully(error::lifetime_exceeded, {});
  }
  close_gracefully(error::idle_timeout, {});
}

}  // namespace millrace
