// Poller is the epoll instance of a loop: registrations, and the batch of the last wait. It lives
// in a loop, in the loop's thread.
//
// A registration's data is the target's slot with 16 bits of the object's id on top: an event for
// an object that has since died, or has died and been followed by another in the same slot, is
// recognised without touching anything but slot memory, which stays valid as long as the loop.
#pragma once

#include <millrace/io_target.h>
#include <millrace/time.h>
#include <millrace/unique_fd.h>

#include "syscalls.h"

#include <array>
#include <optional>

namespace millrace {

struct Slot;

class Poller {
 public:
  // Enough for the wait to be shared by many, small enough (6 KiB) to stay in the cache and to let
  // timers and tasks have their turn.
  static constexpr int kEventsPerWait = 512;
  static constexpr int kTagShift = 48;
  static constexpr std::uint64_t kAddressMask = (std::uint64_t{1} << kTagShift) - 1;

  struct Ready {
    Slot* slot;  // null for what only ends the wait, and for an object that is gone
    IoEvents events;
    bool wake_up;
  };

  Poller();  // throws std::system_error

  int fd() const noexcept { return epoll_.get(); }
  // Each returns 0 or an errno value.
  int add(int fd, Interest interest, Slot& slot) noexcept;
  int modify(int fd, Interest interest, Slot& slot) noexcept;
  int remove(int fd) noexcept;
  // Edge-triggered: its readiness ends the wait and is nobody's event.
  int add_wake_up(int fd) noexcept;

  // Ends the wait at `at` or soon after. Kept by a timer descriptor that is set only when `at` is
  // earlier than what it is set to: a wait with a time limit of its own would program the hardware
  // timer each time it sleeps, which costs more than all else that the loop does for a message.
  void wake_at(TimePoint at);

  // Waits for at most `max_wait`; for ever without a value. Returns how many are ready; an
  // interrupted wait is one that found nothing.
  int wait(std::optional<Duration> max_wait) noexcept;
  Ready ready(int index) noexcept;
  // Brings the target of event `index`, if there is one, into the cache.
  void prefetch(int index) const noexcept {
    if (index >= kEventsPerWait) return;
    const std::uint64_t data = events_[static_cast<std::size_t>(index)].data.u64;
    // Of an old event, or of none: a prefetch cannot fault, but pointers may only be added to where
    // there is an object.
    const std::uint64_t slot = data & kAddressMask;
    __builtin_prefetch(reinterpret_cast<const void*>(slot));
    __builtin_prefetch(reinterpret_cast<const void*>(slot + 64));
  }
  // Starts over with a new epoll instance and no registrations, in a forked child.
  void reopen();

 private:
  int wait_once(std::optional<Duration> max_wait) noexcept;
  int control(int op, int fd, std::uint32_t events, std::uint64_t data) noexcept;

  UniqueFd epoll_;
  // Made at once, though not every loop needs it: later there might be no descriptor left.
  UniqueFd timer_;
  TimePoint timer_at_ = TimePoint::max();
  bool has_pwait2_ = true;
  std::array<epoll_event, kEventsPerWait> events_;
};

}  // namespace millrace
