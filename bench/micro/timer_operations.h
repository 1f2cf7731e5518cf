// Timers while others wait: starting one, moving one that waits to a later time (an idle timeout on
// each message), cancelling, expiring with its callback.
#pragma once

#include "contestant.h"

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <time.h>

namespace millrace::bench {

// Those that are measured; the rest only waits.
inline constexpr std::size_t kMeasured = 1000;
inline constexpr milliseconds kIdleTimeout(60'000);

// Delays of up to a minute, as timeouts have, in no order.
inline std::vector<milliseconds> random_delays(std::size_t n) {
  std::mt19937 random(1);
  std::vector<milliseconds> delays;
  delays.reserve(n);
  for (std::size_t i = 0; i < n; ++i) delays.emplace_back(1 + random() % 60'000);
  return delays;
}

// Of the calling thread.
inline double processor_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

template <class C>
class TimerOperations {
 public:
  static void add_to_run() {
    if (growth_only) {
      for (const std::int64_t live : {1'000, 10'000, 100'000, 1'000'000, 10'000'000}) {
        add("growth_timer_", live);
      }
    } else {
      for (const std::int64_t live : {1'000, 100'000, 1'000'000}) add("timer_", live);
    }
  }

 private:
  using Loop = typename C::Loop;
  using Timer = typename C::Timer;

  // How often is fixed: one attempt at a million waiting timers takes longer than the measure, so
  // that trying out how often would take most of the time.
  static void add(const std::string& prefix, std::int64_t live) {
    const std::int64_t operations = live < 1'000'000 ? 1'000'000 : 500'000;
    const std::int64_t expirations = live < 10'000 ? 10 : live < 1'000'000 ? 5 : 1;
    const auto with_name = [&](const char* name, void (*function)(benchmark::State&)) {
      return benchmark::RegisterBenchmark((prefix + name + "/" + C::kName).c_str(), function)
          ->Arg(live)
          ->UseManualTime();
    };
    with_name("start", start)->Iterations(operations);
    with_name("cancel", cancel)->Iterations(operations);
    with_name("touch", touch)->Iterations(operations);
    with_name("expire", expire)->Iterations(live * expirations);
  }

  struct Crowd {
    explicit Crowd(std::size_t n)
        : timers(loop, n, [this](Timer* at, std::size_t) { new (at) Timer(loop, &fired); }) {}

    Loop loop{Reached::by_own_thread};
    std::uint64_t fired = 0;
    Handles<C, Timer> timers;
  };

  // Calls body(crowd, delays) inside of the loop while `live` others wait.
  template <class Body>
  static void among(std::size_t live, Body body) {
    Crowd crowd(kMeasured + live);
    const auto others = random_delays(live);
    const auto delays = random_delays(kMeasured);
    crowd.loop.inside([&] {
      for (std::size_t i = 0; i < live; ++i) crowd.timers[kMeasured + i].start(others[i]);
      body(crowd, delays);
      for (Timer& timer : crowd.timers) timer.cancel();
    });
  }

  static void start_all(Crowd& crowd, const std::vector<milliseconds>& delays) {
    for (std::size_t i = 0; i < kMeasured; ++i) crowd.timers[i].start(delays[i]);
  }

  static void cancel_all(Crowd& crowd) {
    for (std::size_t i = 0; i < kMeasured; ++i) crowd.timers[i].cancel();
    settle(crowd.loop);
  }

  static void start(benchmark::State& state) {
    among(static_cast<std::size_t>(state.range(0)), [&](Crowd& crowd, const auto& delays) {
      BatchTimes times;
      while (state.KeepRunningBatch(kMeasured)) {
        times.measure([&] { start_all(crowd, delays); });
        cancel_all(crowd);
      }
      times.report(state);
    });
  }

  static void cancel(benchmark::State& state) {
    among(static_cast<std::size_t>(state.range(0)), [&](Crowd& crowd, const auto& delays) {
      BatchTimes times;
      while (state.KeepRunningBatch(kMeasured)) {
        start_all(crowd, delays);
        times.measure([&] { cancel_all(crowd); });
      }
      times.report(state);
    });
  }

  // Each in turn, all over the memory that they take, by the same delay again and again while time
  // goes on. What a wheel has put off until the old time comes is not in it.
  static void touch(benchmark::State& state) {
    const auto live = static_cast<std::size_t>(state.range(0));
    Crowd crowd(live);
    if constexpr (requires { crowd.loop.expect_touch(kIdleTimeout); }) {
      crowd.loop.expect_touch(kIdleTimeout);
    }
    crowd.loop.inside([&] {
      for (Timer& timer : crowd.timers) timer.touch(kIdleTimeout);
    });
    BatchTimes times;
    std::size_t next = 0;
    while (state.KeepRunningBatch(kMeasured)) {
      crowd.loop.inside([&] {
        times.measure([&] {
          for (std::size_t i = 0; i < kMeasured; ++i) crowd.timers[next + i].touch(kIdleTimeout);
          settle(crowd.loop);
        });
      });
      next += kMeasured;
      if (next == live) next = 0;
    }
    times.report(state);
    crowd.loop.inside([&] {
      for (Timer& timer : crowd.timers) timer.cancel();
    });
  }

  // As many as there are, in the processor time it takes the loop to work through them: the batches
  // are too few and too long for their median to be free of what other processes take.
  static void expire(benchmark::State& state) {
    const auto live = static_cast<std::size_t>(state.range(0));
    Crowd crowd(live);
    const auto delays = random_delays(live);
    while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(live))) {
      crowd.fired = 0;
      // Not inside of the loop: some would go on and let fire what is due before all are started.
      crowd.loop.run_ready();
      // Scaled down to 100 ms, so that it can be waited for without being measured.
      for (std::size_t i = 0; i < live; ++i) {
        crowd.timers[i].start(delays[i] / 600 + milliseconds(1));
      }
      const auto end = std::chrono::steady_clock::now() + milliseconds(120);
      while (std::chrono::steady_clock::now() < end) {
      }
      if (crowd.fired != 0) state.SkipWithError("fired while nothing turned the loop");
      const double begin = processor_seconds();
      while (crowd.fired < live) crowd.loop.run_ready();
      state.SetIterationTime(processor_seconds() - begin);
    }
  }
};

}  // namespace millrace::bench
