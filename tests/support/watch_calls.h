// When does the product make a system call, in its own time? Moves that time forward in small steps
// and runs the loop after each, so that no noise of the machine is in the answer.
//
//   const auto made = watch_calls(loop(), faults, Call::accept4, 5);
//   EXPECT_GE(made[1].at_ms - made[0].at_ms, 10u);       // not early
//   EXPECT_LE(made[1].before_ms - made[0].at_ms, 10u);   // shortly before, it was not due yet
#pragma once

#include <millrace/event_loop.h>
#include <millrace/loop_services.h>

#include "support/faults.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace millrace::test {

struct CallMade {
  std::uint64_t at_ms;  // the loop's time when it was made
  // Two iterations earlier: one fires the timer, and what it leads to may come in the next.
  std::uint64_t before_ms;
};

// The next `n` iterations in which `call` is made at least once; fewer if there are none for
// `steps` steps.
inline std::vector<CallMade> watch_calls(
    EventLoop& loop, Faults& faults, Call call, std::size_t n,
    std::chrono::milliseconds step = std::chrono::milliseconds(1), int steps = 100'000) {
  std::vector<CallMade> made;
  std::uint64_t seen = faults.count(call);
  std::uint64_t last = loop.services().now_ms();
  std::uint64_t before = last;
  for (int left = steps; made.size() < n && left > 0; --left) {
    faults.advance_clock(step);
    loop.run_once(std::chrono::milliseconds(0));
    const std::uint64_t at = loop.services().now_ms();
    if (faults.count(call) != seen) {
      seen = faults.count(call);
      made.push_back({at, before});
      left = steps;
    }
    before = std::exchange(last, at);
  }
  return made;
}

}  // namespace millrace::test
