// Handing tasks to a loop that runs in another thread: what a task costs those who post, what it
// costs until it has run, and how long a loop that sleeps takes to answer.
#pragma once

#include "contestant.h"
#include "histogram.h"

#include <algorithm>
#include <barrier>
#include <cstdint>
#include <optional>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>
#include <sched.h>

namespace millrace::bench {

// Keeps the calling thread on one of the processors that the process may use: where the scheduler
// puts two threads makes more of a difference than what they run.
class OnProcessor {
 public:
  enum Which { first, last };
  explicit OnProcessor(Which which) {
    ::pthread_getaffinity_np(::pthread_self(), sizeof before_, &before_);
    std::vector<std::size_t> usable;
    for (std::size_t i = 0; i < CPU_SETSIZE; ++i) {
      if (CPU_ISSET(i, &before_)) usable.push_back(i);
    }
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(which == first ? usable.front() : usable.back(), &only);
    ::pthread_setaffinity_np(::pthread_self(), sizeof only, &only);
  }
  ~OnProcessor() { ::pthread_setaffinity_np(::pthread_self(), sizeof before_, &before_); }
  OnProcessor(const OnProcessor&) = delete;
  OnProcessor& operator=(const OnProcessor&) = delete;

 private:
  cpu_set_t before_;
};

template <class C>
class PostOperations {
 public:
  static void add_to_run() {
    const auto with_name = [](const char* name, void (*function)(benchmark::State&)) {
      return benchmark::RegisterBenchmark((std::string(name) + "/" + C::kName).c_str(), function)
          ->UseManualTime();
    };
    for (const int producers : {1, 4}) {
      with_name("post", post)->Arg(producers)->Iterations(kRounds * kRound);
      with_name("post_and_run", post_and_run)->Arg(producers)->Iterations(kRounds * kRound);
    }
    with_name("wakeup_sleeping", round_trip<Loop>)->Arg(1)->Iterations(5'000);
    if constexpr (requires { typename C::PollingLoop; }) {  // polls before it sleeps
      with_name("wakeup_busy_poll", round_trip<typename C::PollingLoop>)
          ->Arg(1)
          ->Iterations(50'000);
    }
  }

 private:
  using Loop = typename C::Loop;
  using Clock = std::chrono::steady_clock;

  // Posted before the loop is left to finish, so that no queue grows without bound.
  static constexpr std::uint64_t kRound = 100'000;
  static constexpr std::int64_t kRounds = 15;

  // The clocks of one round.
  struct Round {
    Clock::time_point begin;   // of the first post
    Clock::time_point posted;  // the last post has returned
    Clock::time_point run;     // the last task has run
  };

  // What belongs to the loop's thread.
  struct Runner {
    std::uint64_t sum = 0;
    std::size_t finished = 0;
    Clock::time_point all_run;
    std::binary_semaphore done{0};

    void one_has_finished(std::size_t producers) {
      if (++finished < producers) return;
      finished = 0;
      all_run = Clock::now();
      done.release();
    }
  };

  // 24 bytes of captures, as many tasks have.
  struct Work {
    std::uint64_t* sum;
    std::uint64_t a, b;
    void operator()() const { *sum += a ^ b; }
  };

  static void post_share(Loop& loop, Runner& runner, std::size_t producers) {
    const std::uint64_t share = kRound / producers;
    for (std::uint64_t i = 0; i < share; ++i) loop.post(Work{&runner.sum, i, i + 1});
  }

  static Round play_round(Loop& loop, Runner& runner, std::size_t producers) {
    std::barrier together(static_cast<std::ptrdiff_t>(producers));
    struct Share {
      Clock::time_point begin, end;
    };
    std::vector<Share> shares(producers);
    std::vector<std::thread> threads;
    for (Share& share : shares) {
      threads.emplace_back([&, producers] {
        std::optional<OnProcessor> here;
        if (producers == 1) here.emplace(OnProcessor::first);
        together.arrive_and_wait();
        share.begin = Clock::now();
        post_share(loop, runner, producers);
        share.end = Clock::now();
        loop.post([&runner, producers] { runner.one_has_finished(producers); });
      });
    }
    for (std::thread& thread : threads) thread.join();
    runner.done.acquire();
    Round round{shares[0].begin, shares[0].end, runner.all_run};
    for (const Share& share : shares) {
      round.begin = std::min(round.begin, share.begin);
      round.posted = std::max(round.posted, share.end);
    }
    return round;
  }

  // Time per task from the first post to Round::*end.
  static void play(benchmark::State& state, Clock::time_point Round::*end) {
    const auto producers = static_cast<std::size_t>(state.range(0));
    Loop loop(Reached::by_others);
    Runner runner;
    std::thread thread([&] {
      std::optional<OnProcessor> here;
      if (producers == 1) here.emplace(OnProcessor::last);
      loop.run();
    });
    BatchTimes times;
    while (state.KeepRunningBatch(kRound)) {
      const Round round = play_round(loop, runner, producers);
      times.add(round.*end - round.begin);
    }
    times.report(state);
    loop.post([&loop] { loop.stop(); });
    thread.join();
    benchmark::DoNotOptimize(runner.sum);
  }

  static void post(benchmark::State& state) { play(state, &Round::posted); }
  static void post_and_run(benchmark::State& state) { play(state, &Round::run); }

  // Two loops, each in a thread of its own; a task there and one back. Both wait in between.
  template <class L>
  class Volley {
   public:
    explicit Volley(benchmark::State& state) : state_(state) {}

    void play() {
      std::thread runner([this] {
        const OnProcessor other(OnProcessor::last);
        there_.run();
      });
      const OnProcessor one(OnProcessor::first);
      here_.post([this] { serve(); });
      here_.run();
      runner.join();
      batches_.report(state_);
      for (const auto& [name, q] : {std::pair{"p50_ns", 0.5}, std::pair{"p99_ns", 0.99}}) {
        state_.counters[name] = static_cast<double>(times_.quantile(q).count());
      }
    }

   private:
    void serve() {
      if (!state_.KeepRunning()) {
        there_.post([this] { there_.stop(); });
        here_.stop();
        return;
      }
      served_ = Clock::now();
      there_.post([this] { here_.post([this] { returned(); }); });
    }
    void returned() {
      const auto time = Clock::now() - served_;
      batches_.add(time);
      times_.record(time);
      serve();
    }

    benchmark::State& state_;
    L here_{Reached::by_others};
    L there_{Reached::by_others};
    Clock::time_point served_;
    BatchTimes batches_;
    Histogram times_;
  };
  template <class L>
  static void round_trip(benchmark::State& state) {
    Volley<L>(state).play();
  }
};

}  // namespace millrace::bench
