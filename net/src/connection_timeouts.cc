// The timeouts of a connection share one timer: it is set to the nearest deadline, and what has
// moved later since is found when it fires. A message therefore costs the store of its time and
// nothing else. The timer exists only while a timeout runs: by default that is while bytes wait to
// be sent, and while closing.
#include <millrace/error.h>

#include "connection_core.h"
#include "stream_io.h"
#include "syscalls.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <string>
#include <utility>

#include <linux/sockios.h>

namespace millrace {

using std::chrono::milliseconds;

namespace {

constexpr milliseconds kNone = milliseconds::max();
// The stamps are milliseconds of the loop modulo 2^32: what takes longer cannot be told from them.
constexpr milliseconds kLongest{std::uint32_t{1} << 31};

// What is left of `timeout`, of which `elapsed` have gone by; zero when it is over.
milliseconds left_of(milliseconds timeout, milliseconds elapsed) {
  if (timeout <= milliseconds::zero()) return kNone;
  return std::max(timeout - elapsed, milliseconds::zero());
}

milliseconds left_since(milliseconds timeout, std::uint32_t since, std::uint32_t now) {
  return timeout > kLongest ? kNone : left_of(timeout, milliseconds(now - since));
}

}  // namespace

milliseconds ConnectionCore::until_deadline() const noexcept {
  const ConnectionTimeouts& timeouts = options().timeouts;
  const std::uint32_t now = now_ms();
  milliseconds left = kNone;
  if (has(kBlocked)) left = left_since(timeouts.write_stall, last_progress_ms_, now);
  if (has(kLingering)) {
    left = std::min(left, left_since(timeouts.linger, last_progress_ms_, now));
    left = std::min(left, left_since(timeouts.linger_total, lingering_since_ms_, now));
  }
  if (!is_open()) return left;
  // While bytes wait the connection is not idle, but the timer goes on: nothing else would set it
  // when they have gone.
  const std::uint32_t idle_since = output_.empty() ? last_activity_ms_ : now;
  left = std::min(left, left_since(timeouts.idle, idle_since, now));
  if (!has(kPaused | kPeerEnded)) {
    if (bytes_received_ == 0) {
      left = std::min(left, left_since(timeouts.first_byte, opened_low_, now));
    }
    if (has(kMessageBegun)) {
      left = std::min(left, left_since(timeouts.message, message_clock_ms_, now));
    }
  }
  return std::min(left, left_of(timeouts.lifetime, age()));
}

milliseconds ConnectionCore::age() const noexcept {
  return milliseconds(services().now_ms() - opened_ms());
}

void ConnectionCore::settle_timer() noexcept {
  if (!has(kTimersChanged)) return;
  unset(kTimersChanged);
  const milliseconds left = until_deadline();
  if (left == kNone) return drop_deadline();
  start_deadline(left);
}

void ConnectionCore::start_deadline(milliseconds left) noexcept {
  try {
    // One more: the stamps were rounded down, and a timeout is not early.
    obtain<Deadline>(*this).start(IoTarget::loop(), left + milliseconds(1));
  } catch (const std::bad_alloc&) {
    // Without its timeouts it might stay for ever.
    const std::error_code why = make_error_code(std::errc::not_enough_memory);
    constexpr const char* kDetail = "no memory for a timeout";
    // Everything is with the kernel, FIN included: RST would take back what is still on its way.
    if (has(kLingering)) return fail(why, kDetail);
    break_off(why, kDetail);
  }
}

// Most connections have no timeout that always runs: they hold no memory for one.
void ConnectionCore::drop_deadline() noexcept {
  std::unique_ptr<ContextBase>* place = &contexts_;
  while (*place && (*place)->key != &kKey<Deadline>) place = &(*place)->next;
  if (!*place) return;
  static_cast<Deadline&>(**place).cancel(IoTarget::loop());
  const std::unique_ptr<ContextBase> gone = std::exchange(*place, std::move((*place)->next));
}

// If the kernel has taken all, nobody waits for it any more. A timer that is still needed is left
// alone: what has moved is found when it fires.
void ConnectionCore::note_retried() noexcept {
  unset(kRetrying);
  if (!has(kBlocked) && until_deadline() == kNone) drop_deadline();
}

void ConnectionCore::handle_deadline() noexcept {
  set(kTimersChanged);
  if (until_deadline() == milliseconds::zero()) expire();
  settle();
}

void ConnectionCore::expire() noexcept {
  const ConnectionTimeouts& timeouts = options().timeouts;
  const std::uint32_t now = now_ms();
  const auto over = [now](milliseconds timeout, std::uint32_t since) {
    return left_since(timeout, since, now) == milliseconds::zero();
  };
  if (has(kBlocked) && over(timeouts.write_stall, last_progress_ms_)) {
    return abort(error::write_stalled, undelivered_text());
  }
  if (has(kLingering)) {
    // The peer has not closed. What it has acknowledged is delivered; the rest is accounted for.
    const int before = std::exchange(unacknowledged_, unacknowledged());
    if (unacknowledged_ < before && !over(timeouts.linger_total, lingering_since_ms_)) {
      last_progress_ms_ = now;  // it reads, slowly
      return;
    }
    if (unacknowledged_ == 0) return fail({});
    return fail(error::linger_timeout, undelivered_text());
  }
  if (!is_open()) return;
  if (left_of(timeouts.lifetime, age()) == milliseconds::zero()) {
    return close_gracefully(error::lifetime_exceeded, {});
  }
  if (input_overdue()) {
    // After a stall of the loop what was missed may wait in the kernel: it counts as in time.
    if (read_turn()) return;
    if (const std::error_code why = input_overdue()) close_overdue(why);
    return;
  }
  // After a stall of the loop bytes may be waiting in the kernel: then it was us who were idle.
  if (wants_input()) {
    const IoResult found = stream_peek(fd());
    // A failure is told once: the read that would have told it sees an orderly end now.
    if (found.failed()) return break_off(system_error_code(found.error));
    if (!found.blocked()) return;
  }
  close_gracefully(error::idle_timeout, {});
}

// Which of the deadlines for the peer to send something is over, if any.
std::error_code ConnectionCore::input_overdue() const noexcept {
  if (!is_open() || has(kPaused | kPeerEnded)) return {};
  const ConnectionTimeouts& timeouts = options().timeouts;
  const auto over = [now = now_ms()](milliseconds timeout, std::uint32_t since) {
    return left_since(timeout, since, now) == milliseconds::zero();
  };
  if (bytes_received_ == 0 && over(timeouts.first_byte, opened_low_)) {
    return error::first_byte_timeout;
  }
  if (has(kMessageBegun) && over(timeouts.message, message_clock_ms_)) {
    return error::message_timeout;
  }
  return {};
}

void ConnectionCore::close_overdue(std::error_code why) noexcept {
  std::string detail;
  try {
    if (why == error::message_timeout) {
      detail = std::to_string(input_.view().size()) + " bytes of an incomplete message received";
    }
  } catch (const std::bad_alloc&) {
    // The error says enough.
  }
  close_gracefully(why, detail);
}

// Of the kernel's queue; the FIN counts for one byte, but not on Unix sockets. Zero means
// everywhere that the peer has it all.
int ConnectionCore::unacknowledged() const noexcept {
  int bytes = 0;
  sys::ioctl(fd(), SIOCOUTQ, &bytes);
  return bytes;
}

std::size_t ConnectionCore::unacknowledged_bytes() const noexcept {
  const int all = std::max(unacknowledged(), 0);
  // Of a Unix socket it is the memory that they take: more than their bytes.
  if (has(kUnix))
    return static_cast<std::size_t>(
        std::min<std::uint64_t>(bytes_sent_, static_cast<std::uint64_t>(all)));
  return static_cast<std::size_t>(all > 0 && has(kFinSent) ? all - 1 : all);
}

std::size_t ConnectionCore::undelivered_bytes() const noexcept {
  // An orderly end is known without asking: nothing has failed, or everything was acknowledged.
  const bool orderly = !has(kFailed) || (has(kLingering) && unacknowledged_ == 0);
  return output_.bytes() + (ended() && !orderly ? unacknowledged_bytes() : 0);
}

std::string ConnectionCore::undelivered_text() const noexcept {
  try {
    return std::to_string(output_.bytes()) + " bytes queued, " +
           std::to_string(unacknowledged_bytes()) + " sent and not acknowledged";
  } catch (const std::bad_alloc&) {
    return {};  // the error says enough
  }
}

}  // namespace millrace
