// Runs a benchmark where the code it measures runs: inside a callback of a running loop, where the
// time is read once per iteration.
#pragma once

#include <millrace/event_loop.h>

#include <benchmark/benchmark.h>

namespace millrace::bench {

// A benchmark is one long callback: nothing to warn of.
inline constexpr LoopOptions kNoStalls{.stall_threshold = Duration(0)};

template <class Body>
void in_loop(EventLoop& loop, Body&& body) {
  loop.post([&] {
    body();
    loop.stop();
  });
  loop.run();
}

}  // namespace millrace::bench
