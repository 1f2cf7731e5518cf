// What a benchmark of our own code alone needs of a loop.
#pragma once

#include <millrace/event_loop.h>

#include <benchmark/benchmark.h>

namespace millrace::bench {

// A benchmark is one long callback: nothing to warn of.
inline constexpr LoopOptions kNoStalls{.stall_threshold = Duration(0)};

}  // namespace millrace::bench
