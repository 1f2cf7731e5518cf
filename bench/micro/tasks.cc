// Posting a closure to a loop: from the loop's own thread, and from another one while the loop
// runs.
#include "in_loop.h"

#include <atomic>
#include <cstdint>
#include <thread>

namespace millrace::bench {
namespace {

// What each task does; 24 bytes of captures, as most have.
struct Work {
  std::uint64_t* sum;
  std::uint64_t a, b;
  void operator()() const { *sum += a ^ b; }
};

void post_same_thread(benchmark::State& state) {
  EventLoop loop(kNoStalls);
  std::uint64_t sum = 0;
  constexpr int kBatch = 1000;
  while (state.KeepRunningBatch(kBatch)) {
    for (std::uint64_t i = 0; i < kBatch; ++i) loop.post(Work{&sum, i, i + 1});
    loop.run_once(Duration(0));
  }
  benchmark::DoNotOptimize(sum);
}
BENCHMARK(post_same_thread)->Name("post_and_run_same_thread");

// The loop runs in a thread of its own; what is measured is the poster's time per task, with the
// loop taking tasks as fast as it can.
void post_other_thread(benchmark::State& state) {
  EventLoop loop(kNoStalls);
  std::uint64_t sum = 0;
  std::thread runner([&] { loop.run(); });
  std::uint64_t i = 0;
  for (auto _ : state) {
    loop.post(Work{&sum, i, i + 1});
    ++i;
  }
  loop.post([&] { loop.stop(); });
  runner.join();
  state.counters["wakeups"] = static_cast<double>(loop.stats().wakeups_written);
}
BENCHMARK(post_other_thread)->Name("post_from_other_thread")->UseRealTime();

// A task there and one back: what a worker costs that answers at once. The loop sleeps in between.
void round_trip(benchmark::State& state) {
  EventLoop here(kNoStalls);
  EventLoop there(kNoStalls);
  std::thread runner([&] { there.run(); });
  in_loop(here, [] {});
  for (auto _ : state) {
    bool answered = false;
    there.post([&] { here.post([&] { answered = true; }); });
    while (!answered) here.run_once();
  }
  there.stop();
  runner.join();
}
BENCHMARK(round_trip)->Name("post_round_trip_sleeping")->UseRealTime();

}  // namespace
}  // namespace millrace::bench
