// LoopStats is what an EventLoop has counted since it was made: is the loop well? A value; any
// thread.
//
//   const LoopStats now = loop.stats();
//   if (now.stalls > before.stalls) ...      // a callback took long: everyone else has waited
#pragma once

#include <millrace/time.h>

#include <cstdint>

namespace millrace {

struct LoopStats {
  std::uint64_t iterations = 0;    // each is one return from epoll_wait
  std::uint64_t io_events = 0;     // delivered
  std::uint64_t stale_events = 0;  // dropped: their target was closed earlier in the batch
  std::uint64_t timers_fired = 0;
  std::uint64_t tasks_run = 0;
  std::uint64_t wakeups_written = 0;  // system calls made by post() and stop() to wake the loop
  std::uint64_t stalls = 0;
  std::uint64_t exceptions = 0;  // thrown out of callbacks
  Duration longest_phase{0};     // of those that ran callbacks
  // How late timers were: what a callback that takes long does to everyone else. Looked at once in
  // each iteration in which a delay was over, for the earliest; a timer that was started without a
  // delay is never late. The mean over a while: the difference of the sums of two stats() by that
  // of the counts.
  std::uint64_t timer_turns = 0;  // such iterations
  Duration timer_lag_total{0};    // their sum
  Duration timer_lag_longest{0};
};

}  // namespace millrace
