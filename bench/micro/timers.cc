// Timers, with 1e3, 1e5 and 1e6 others waiting: starting one, moving one that waits to a later time
// (an idle timeout on each message), cancelling, expiring with its callback.
#include <millrace/timer.h>

#include "in_loop.h"

#include <chrono>
#include <memory>
#include <random>
#include <vector>

namespace millrace::bench {
namespace {

using std::chrono::milliseconds;

// Those that are measured; the rest only waits.
constexpr std::size_t kMeasured = 1000;

// Delays of up to a minute, as timeouts have, in no order.
std::vector<milliseconds> random_delays(std::size_t n) {
  std::mt19937 random(1);
  std::vector<milliseconds> delays;
  for (std::size_t i = 0; i < n; ++i) delays.emplace_back(1 + random() % 60'000);
  return delays;
}

struct Crowd {
  explicit Crowd(std::size_t waiting) {
    timers.reserve(waiting + kMeasured);
    for (std::size_t i = 0; i < waiting + kMeasured; ++i) timers.emplace_back(loop, [] {});
    const auto others = random_delays(waiting);
    for (std::size_t i = 0; i < waiting; ++i) timers[i + kMeasured].start(others[i]);
  }

  EventLoop loop{kNoStalls};
  std::vector<Timer> timers;
  std::vector<milliseconds> delays = random_delays(kMeasured);
};

void start(benchmark::State& state) {
  Crowd crowd(static_cast<std::size_t>(state.range(0)));
  in_loop(crowd.loop, [&] {
    while (state.KeepRunningBatch(kMeasured)) {
      for (std::size_t i = 0; i < kMeasured; ++i) crowd.timers[i].start(crowd.delays[i]);
      state.PauseTiming();
      for (std::size_t i = 0; i < kMeasured; ++i) crowd.timers[i].cancel();
      state.ResumeTiming();
    }
  });
}
BENCHMARK(start)->Name("timer_start")->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

void cancel(benchmark::State& state) {
  Crowd crowd(static_cast<std::size_t>(state.range(0)));
  in_loop(crowd.loop, [&] {
    while (state.KeepRunningBatch(kMeasured)) {
      state.PauseTiming();
      for (std::size_t i = 0; i < kMeasured; ++i) crowd.timers[i].start(crowd.delays[i]);
      state.ResumeTiming();
      for (std::size_t i = 0; i < kMeasured; ++i) crowd.timers[i].cancel();
    }
  });
}
BENCHMARK(cancel)->Name("timer_cancel")->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

// Each in turn, all over the memory that they take.
void touch(benchmark::State& state) {
  const auto waiting = static_cast<std::size_t>(state.range(0));
  Crowd crowd(waiting);
  in_loop(crowd.loop, [&] {
    for (Timer& timer : crowd.timers) timer.start(milliseconds(60'000));
    std::size_t next = 0;
    for (auto _ : state) {
      crowd.timers[next].start(milliseconds(70'000));
      if (++next == waiting) next = 0;
    }
  });
}
BENCHMARK(touch)->Name("timer_touch")->Arg(1'000)->Arg(100'000)->Arg(1'000'000);

// As many as there are, in the time it takes the loop to work through them.
void expire(benchmark::State& state) {
  const auto waiting = static_cast<std::size_t>(state.range(0));
  EventLoop loop(kNoStalls);
  std::vector<Timer> timers;
  std::size_t fired = 0;
  for (std::size_t i = 0; i < waiting; ++i) timers.emplace_back(loop, [&fired] { ++fired; });
  const auto delays = random_delays(waiting);
  while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(waiting))) {
    state.PauseTiming();
    fired = 0;
    // Scaled down to 100 ms, so that it can be waited for without being measured.
    in_loop(loop, [&] {
      for (std::size_t i = 0; i < waiting; ++i) timers[i].start(delays[i] / 600 + milliseconds(1));
    });
    const TimePoint end = loop.now() + milliseconds(120);
    while (Clock::now() < end) {
    }
    state.ResumeTiming();
    while (fired < waiting) loop.run_once();
  }
}
BENCHMARK(expire)->Name("timer_expire")->Arg(1'000)->Iterations(30 * 1'000);
BENCHMARK(expire)->Name("timer_expire")->Arg(100'000)->Iterations(20 * 100'000);
BENCHMARK(expire)->Name("timer_expire")->Arg(1'000'000)->Iterations(5 * 1'000'000);

}  // namespace
}  // namespace millrace::bench
