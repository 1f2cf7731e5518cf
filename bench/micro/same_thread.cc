// Posting a closure to a loop from the loop's own thread. From others: posting.h.
#include <millrace/event_loop.h>

#include "in_loop.h"

#include <cstdint>

#include <benchmark/benchmark.h>

namespace millrace::bench {
namespace {

void post_same_thread(benchmark::State& state) {
  EventLoop loop(kNoStalls);
  std::uint64_t sum = 0;
  constexpr int kBatch = 1000;
  while (state.KeepRunningBatch(kBatch)) {
    for (std::uint64_t i = 0; i < kBatch; ++i) {
      loop.post([&sum, i, b = i + 1] { sum += i ^ b; });
    }
    loop.run_once(Duration(0));
  }
  benchmark::DoNotOptimize(sum);
}
BENCHMARK(post_same_thread)->Name("post_and_run_same_thread");

}  // namespace
}  // namespace millrace::bench
