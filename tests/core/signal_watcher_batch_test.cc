// What callbacks of SignalWatchers do to watchers, and loops with watchers in many threads.
#include <millrace/signal_watcher.h>

#include "support/signal_test.h"

#include <atomic>
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

// One loop after the other in each of some threads, each with a watcher that waits for one signal,
// sent to its thread by another.
TEST_F(SignalWatcherBatchTest, LoopsInManyThreadsCountTheirSignalsExactly) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 50;
  struct Worker {
    std::atomic<int> ready{0};  // rounds in which the watcher was there
    std::atomic<int> counted{0};
    std::thread thread;
  };
  Worker workers[kThreads];
  for (Worker& worker : workers) {
    worker.thread = std::thread([&worker] {
      for (int round = 1; round <= kRounds; ++round) {
        EventLoop own;
        const SignalWatcher watcher(own, {SIGUSR1}, [&](int) {
          ++worker.counted;
          own.stop();
        });
        worker.ready = round;
        worker.ready.notify_one();
        own.run();
      }
    });
  }
  for (int round = 1; round <= kRounds; ++round) {
    for (Worker& worker : workers) {
      worker.ready.wait(round - 1);
      ::pthread_kill(worker.thread.native_handle(), SIGUSR1);
    }
  }
  for (Worker& worker : workers) {
    worker.thread.join();
    EXPECT_EQ(worker.counted, kRounds);
  }
}

// A thread that was started later inherits the mask, so that the signal reaches the loop.
TEST_F(SignalWatcherBatchTest, ASignalForTheProcessReachesTheLoopThatWatchesIt) {
  std::atomic<bool> done{false};
  int calls = 0;
  const SignalWatcher watcher(loop(), {SIGUSR1}, [&](int) { ++calls; });
  std::thread other([&] { done.wait(false); });
  for (int i = 1; i <= 20; ++i) {
    ::kill(::getpid(), SIGUSR1);
    EXPECT_TRUE(run_until([&] { return calls == i; }));
  }
  done = true;
  done.notify_one();
  other.join();
}

}  // namespace
}  // namespace millrace::test
