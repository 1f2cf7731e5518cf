// What callbacks of SignalWatchers do to watchers, and loops with watchers in many threads.
#include <millrace/signal_watcher.h>

#include "support/signal_test.h"

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>

namespace millrace::test {
namespace {

using Signals = std::initializer_list<int>;

struct SignalWatcherBatchTest : SignalTest {};

TEST_F(SignalWatcherBatchTest, IsDestroyedInItsOwnCallbackWithASecondSignalPending) {
  int calls = 0;
  std::optional<SignalWatcher> watcher;
  watcher.emplace(loop(), Signals{SIGUSR1}, [&, kept = std::string(100, 'k')](int) {
    ++calls;
    ::raise(SIGUSR1);
    watcher.reset();
    EXPECT_EQ(kept, std::string(100, 'k')) << "what the callback holds lives on";
  });
  ::raise(SIGUSR1);
  turns(3);
  EXPECT_EQ(calls, 1);
}

TEST_F(SignalWatcherBatchTest, IsDestroyedWithAnotherOfItsSignalsPending) {
  int calls = 0;
  std::optional<SignalWatcher> watcher;
  watcher.emplace(loop(), Signals{SIGUSR1, SIGUSR2}, [&](int) {
    ++calls;
    watcher.reset();
  });
  ::raise(SIGUSR1);
  ::raise(SIGUSR2);
  turns(3);
  EXPECT_EQ(calls, 1);
}

TEST_F(SignalWatcherBatchTest, IsDestroyedInTheCallbackOfAnother) {
  std::optional<SignalWatcher> watchers[2];
  int calls = 0;
  for (int i = 0; i < 2; ++i) {
    watchers[i].emplace(loop(), Signals{SIGUSR1}, [&, i](int) {
      ++calls;
      watchers[1 - i].reset();
    });
  }
  ::raise(SIGUSR1);
  turns(1);
  EXPECT_EQ(calls, 1);
  ::raise(SIGUSR1);
  turns(1);
  EXPECT_EQ(calls, 2) << "the one that is left is called as before";
}

TEST_F(SignalWatcherBatchTest, IsMovedInItsOwnCallback) {
  int calls = 0;
  std::optional<SignalWatcher> before;
  std::optional<SignalWatcher> after;
  before.emplace(loop(), Signals{SIGUSR1}, [&](int) {
    if (++calls > 1) return;
    after.emplace(std::move(*before));
    before.reset();
  });
  for (int i = 0; i < 3; ++i) {
    ::raise(SIGUSR1);
    turns(1);
  }
  EXPECT_EQ(calls, 3);
}

TEST_F(SignalWatcherBatchTest, OneMadeInACallbackIsNotCalledForTheSameSignal) {
  int late_calls = 0;
  std::optional<SignalWatcher> late;
  const SignalWatcher watcher(loop(), {SIGUSR1}, [&](int) {
    if (!late) late.emplace(loop(), Signals{SIGUSR1}, [&](int) { ++late_calls; });
  });
  ::raise(SIGUSR1);
  turns(2);
  EXPECT_EQ(late_calls, 0);
  ::raise(SIGUSR1);
  turns(1);
  EXPECT_EQ(late_calls, 1);
}

TEST_F(SignalWatcherBatchTest, IsReplacedInItsOwnCallback) {
  int first = 0;
  int second = 0;
  std::optional<SignalWatcher> watcher;
  watcher.emplace(loop(), Signals{SIGUSR1}, [&](int) {
    ++first;
    watcher.reset();  // the last one: all that serves it goes
    watcher.emplace(loop(), Signals{SIGUSR1}, [&](int) { ++second; });
  });
  for (int i = 0; i < 3; ++i) {
    ::raise(SIGUSR1);
    turns(1);
  }
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 2);
}

TEST_F(SignalWatcherBatchTest, ManyWatchersComeAndGoInACallback) {
  std::vector<std::unique_ptr<SignalWatcher>> others;
  int calls = 0;
  const SignalWatcher watcher(loop(), {SIGUSR1}, [&](int) {
    ++calls;
    others.clear();
    for (int i = 0; i < 50; ++i) {
      others.push_back(
          std::make_unique<SignalWatcher>(loop(), Signals{SIGUSR1, SIGUSR2}, [](int) {}));
    }
  });
  for (int i = 0; i < 5; ++i) {
    ::raise(SIGUSR1);
    turns(1);
  }
  EXPECT_EQ(calls, 5);
  others.clear();
  turns(1);
}

TEST_F(SignalWatcherBatchTest, WhatACallbackThrowsGoesToTheHookAndTheOthersAreCalled) {
  std::vector<std::string> kinds;
  loop().set_exception_hook(
      [&](std::exception_ptr, std::string_view kind) { kinds.emplace_back(kind); });
  int calls = 0;
  const SignalWatcher bad(loop(), {SIGUSR1}, [](int) { throw std::runtime_error("asked for"); });
  const SignalWatcher good(loop(), {SIGUSR1}, [&](int) { ++calls; });
  for (int i = 0; i < 2; ++i) {
    ::raise(SIGUSR1);
    turns(1);
  }
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(kinds, (std::vector<std::string>{"signal", "signal"}));
}

TEST_F(SignalWatcherBatchTest, OneThatRaisesItsOwnSignalLeavesTurnsToTheOthers) {
  constexpr int kTimes = 10'000;
  int calls = 0;
  const SignalWatcher watcher(loop(), {SIGUSR1}, [&](int) {
    if (++calls < kTimes) ::raise(SIGUSR1);
  });
  ::raise(SIGUSR1);
  turns(1);
  EXPECT_LE(calls, 100);
  EXPECT_TRUE(run_until([&] { return calls == kTimes; }));
}

// Loops with watchers come and go in some threads while signals arrive.
TEST_F(SignalWatcherBatchTest, LoopsInManyThreadsCountTheirSignalsExactly) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 50;
  std::atomic<int> ready{0};
  std::atomic<int> counted{0};
  std::atomic<int> storm{0};  // of the other signal: any number
  std::atomic<int> round{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < kThreads; ++i) {
    workers.emplace_back([&] {
      for (int now = 1; now <= kRounds; ++now) {
        EventLoop own;
        const SignalWatcher other(own, {SIGRTMIN}, [&](int) { ++storm; });
        const SignalWatcher watcher(own, {SIGUSR1}, [&](int) {
          ++counted;
          own.stop();
        });
        ++ready;
        own.run();
        round.wait(now - 1);  // as long as not all have counted it, nobody watches again
      }
    });
  }
  int kept = 0;
  const SignalWatcher keeper(loop(), {SIGUSR1, SIGRTMIN}, [&](int n) { kept += n == SIGRTMIN; });
  for (int now = 1; now <= kRounds; ++now) {
    // While they make their loops, and while they destroy them.
    ::sigqueue(::getpid(), SIGRTMIN, {});
    EXPECT_TRUE(run_until([&] { return kept == 2 * now - 1; }));
    EXPECT_TRUE(run_until([&] { return ready == now * kThreads; }));
    ::kill(::getpid(), SIGUSR1);
    ::sigqueue(::getpid(), SIGRTMIN, {});
    EXPECT_TRUE(run_until([&] { return kept == 2 * now && counted == now * kThreads; }));
    round = now;
    round.notify_all();
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(counted, kRounds * kThreads);
  EXPECT_EQ(kept, kRounds * 2);
}

TEST_F(SignalWatcherBatchTest, EveryWatcherOfEveryLoopIsCalledForEachSignalInItsLoopsThread) {
  constexpr int kLoops = 3;
  constexpr int kWatchers = 3;
  constexpr int kSignals = 200;
  std::atomic<int> ready{0};
  std::atomic<int> told{0};
  std::atomic<bool> churning{true};
  int counts[kLoops][kWatchers] = {};
  std::vector<std::thread> threads;
  for (auto& own_counts : counts) {
    threads.emplace_back([&] {
      EventLoop own;
      std::vector<SignalWatcher> watchers;
      for (int& count : own_counts) {
        watchers.emplace_back(own, Signals{SIGRTMIN}, [&](int) {
          EXPECT_TRUE(own.in_loop_thread());
          ++told;
          if (++count == kSignals && &count == &own_counts[kWatchers - 1]) own.stop();
        });
      }
      ++ready;
      own.run();
    });
  }
  threads.emplace_back([&] {  // loops that come and go beside them
    while (churning) {
      EventLoop own;
      const SignalWatcher one(own, {SIGRTMIN}, [](int) {});
      const SignalWatcher two(own, {SIGRTMIN, SIGUSR1}, [](int) {});
      own.run_once(0ms);
    }
  });
  EXPECT_TRUE(run_until([&] { return ready == kLoops; }));
  for (int sent = 1; sent <= kSignals; ++sent) {
    EXPECT_EQ(::sigqueue(::getpid(), SIGRTMIN, {}), 0);
    EXPECT_TRUE(run_until([&] { return told == sent * kLoops * kWatchers; }));
  }
  churning = false;
  for (std::thread& thread : threads) thread.join();
  for (const auto& own_counts : counts) {
    for (const int count : own_counts) EXPECT_EQ(count, kSignals);
  }
}

TEST_F(SignalWatcherBatchTest, AThreadThatWasThereBeforeTheWatcherTakesNothingAway) {
  std::promise<LoopRef> started;
  std::thread earlier([&] {
    EventLoop other;  // it waits as threads do
    started.set_value(other.ref());
    other.run();
  });
  const LoopRef other = started.get_future().get();
  int calls = 0;
  const SignalWatcher watcher(loop(), {SIGUSR1}, [&](int) { ++calls; });
  for (int i = 1; i <= 20; ++i) {
    // To the process, and to the thread itself.
    ::kill(::getpid(), SIGUSR1);
    EXPECT_TRUE(run_until([&] { return calls == 2 * i - 1; }));
    ::pthread_kill(earlier.native_handle(), SIGUSR1);
    EXPECT_TRUE(run_until([&] { return calls == 2 * i; }));
  }
  other.stop();
  earlier.join();
}

TEST_F(SignalWatcherBatchTest, AProgramThatIsStartedMeanwhileTakesSignalsAsUsual) {
  const SignalWatcher watcher(loop(), {SIGTERM}, [](int) { FAIL(); });
  Program program({"/bin/sh", "-c", "kill -TERM $$; echo survived"});
  EXPECT_EQ(program.read_line(), "");
  EXPECT_EQ(program.wait(), 128 + SIGTERM);
  turns(1);
}

}  // namespace
}  // namespace millrace::test
