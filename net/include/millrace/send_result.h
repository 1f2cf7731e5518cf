// SendResult is what sending on a connection says: go on, or stop and wait for on_drained, and
// whether the bytes were taken. A value of one byte; any thread.
//
//   if (!c.send(reply)) c.pause_reading();                // whatever the reason: stop
//   if (!c.try_send(update).accepted()) ++skipped_;       // not queued, not even in part
//   if (c.send(x) == SendResult::refused) keep_for_on_drained(x);
//
// Whenever it is false, on_drained follows, or on_close: nobody waits in vain. With one exception,
// which Overflow::close (the default) turns into on_close too: too_large. It never fits, so that
// there is nothing to wait for and nothing to try again. Of messages with descriptors the same
// holds for those that are too_large, and for unsupported, whatever the options say
// (unix_connection.h).
#pragma once

#include <cstdint>

namespace millrace {

class SendResult {
 public:
  enum State : std::uint8_t {
    sent,             // queued: send on
    above_watermark,  // queued too, but more waits than the high watermark: stop
    refused,          // not queued: there is no room. Stop, and try it again in on_drained
    dropped,          // not queued: there is no room. Overflow::drop_newest gave it up and counted
    too_large,        // not queued: larger than ConnectionLimits::send_queue_bytes, it never fits
    closed,           // not queued: the connection no longer sends
    unsupported,      // not queued: descriptors, and it is not a Unix socket; never try it again
  };

  constexpr SendResult(State state) noexcept : state_(state) {}

  // True: send on.
  constexpr explicit operator bool() const noexcept { return state_ == sent; }
  // The bytes are queued, all of them; otherwise none is.
  constexpr bool accepted() const noexcept { return state_ <= above_watermark; }
  constexpr State state() const noexcept { return state_; }

  friend constexpr bool operator==(SendResult a, SendResult b) noexcept {
    return a.state_ == b.state_;
  }

 private:
  State state_;
};

}  // namespace millrace
