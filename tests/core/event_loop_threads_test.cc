// What other threads may do to a loop. Each test that waits has a watchdog in the loop, so that a
// wake-up that was lost shows as a failure and not as a test that hangs.
#include <millrace/event_loop.h>
#include <millrace/io_watcher.h>

#include "loop_core.h"
#include "support/flush_target.h"
#include "support/loop_test.h"
#include "support/socket_pair.h"

#include <atomic>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

constexpr auto kPatience = 60s;

class ThreadsTest : public LoopTest {
 protected:
  // Runs the loop until somebody stops it; false if nobody did.
  bool run() {
    bool stopped = true;
    const Timer watchdog = loop().after(kPatience, [&] {
      stopped = false;
      loop().stop();
    });
    loop().run();
    return stopped;
  }
};

// How many bytes-of-eight have been written to an eventfd, of which nobody reads.
std::uint64_t eventfd_count(int fd) {
  const std::string path = "/proc/self/fdinfo/" + std::to_string(fd);
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"),
                                                       &std::fclose);
  char line[128];
  unsigned long count = 0;
  while (file && std::fgets(line, sizeof line, file.get())) {
    if (std::sscanf(line, "eventfd-count: %lx", &count) == 1) return count;
  }
  ADD_FAILURE() << "no eventfd";
  return 0;
}

TEST_F(ThreadsTest, EveryTaskOfEightThreadsRunsOnceAndInItsThreadsOrder) {
  constexpr int kThreads = 8, kEach = 100'000;
  std::vector<int> next(kThreads, 0);
  int wrong = 0, left = kThreads * kEach;
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        loop().post([&, t, i] {
          wrong += next[t]++ != i;
          if (--left == 0) loop().stop();
        });
      }
    });
  }
  EXPECT_TRUE(run());
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(left, 0);
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(loop().stats().tasks_run, static_cast<std::uint64_t>(kThreads * kEach));
  EXPECT_LE(loop().stats().wakeups_written, loop().stats().iterations);
}

TEST_F(ThreadsTest, APostAlwaysWakesALoopThatFallsAsleep) {
  // Posts one task at a time, so that the loop is about to sleep each time one comes.
  std::atomic<int> answered{0};
  constexpr int kRounds = 20'000;
  std::thread other([&] {
    for (int i = 0; i < kRounds; ++i) {
      loop().post([&, i] {
        answered = i + 1;
        answered.notify_one();
      });
      answered.wait(i);
    }
    loop().stop();
  });
  const bool stopped = run();
  EXPECT_TRUE(stopped) << "a wake-up was lost after " << answered << " posts";
  if (!stopped) loop().run_once(0ms);
  other.join();
  EXPECT_LE(loop().stats().wakeups_written, kRounds + 1u);
}

TEST_F(ThreadsTest, TwoLoopsThatPostToEachOtherNeverBothSleep) {
  EventLoop second;
  constexpr int kRounds = 20'000;
  int rounds = 0;
  std::function<void()> here, there;
  here = [&] {
    if (++rounds == kRounds) {
      loop().stop();
      second.stop();
      return;
    }
    second.post([&] { there(); });
  };
  there = [&] { loop().post([&] { here(); }); };
  std::thread thread([&] { second.run(); });
  loop().post([&] { here(); });
  EXPECT_TRUE(run()) << "after " << rounds;
  second.stop();
  thread.join();
  EXPECT_EQ(rounds, kRounds);
}

TEST_F(ThreadsTest, ABurstOfPostsCostsASleepingLoopOneWrite) {
  const int wake_fd = LoopCore::of(loop()).mailbox().wake_fd();
  for (std::uint64_t burst = 1; burst <= 20; ++burst) {
    ASSERT_EQ(loop().next_timeout(), std::nullopt);  // from now on it counts as asleep
    std::atomic<int> ran{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 500; ++i) loop().post([&] { ++ran; });
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(loop().stats().wakeups_written, burst);
    EXPECT_EQ(eventfd_count(wake_fd), burst) << "the kernel has counted something else";
    loop().run_once(0ms);
    EXPECT_EQ(ran, 2000);
  }
}

TEST_F(ThreadsTest, AMillionPostsToABusyLoopCostNoWriteAndNoneIsLost) {
  constexpr int kPosts = 1'000'000;
  int ran = 0;
  std::uint64_t written = 1;
  loop().post([&] {
    const std::uint64_t before = loop().stats().wakeups_written;
    std::thread other([&] {
      for (int i = 0; i < kPosts; ++i) loop().post([&] { ++ran; });
      loop().post([&] { loop().stop(); });
    });
    other.join();
    written = loop().stats().wakeups_written - before;
  });
  EXPECT_TRUE(run());
  EXPECT_EQ(ran, kPosts);
  EXPECT_EQ(written, 0u);
}

TEST_F(ThreadsTest, PostsAndStopsOfTheLoopsOwnThreadCostNoWrite) {
  int left = 1000;
  std::function<void()> again = [&] {
    if (--left == 0) return loop().stop();
    loop().post([&] { again(); });
  };
  loop().post([&] { again(); });
  EXPECT_TRUE(run());
  EXPECT_EQ(loop().stats().wakeups_written, 0u);
}

TEST_F(ThreadsTest, StopFromAnotherThreadEndsEachRun) {
  std::atomic<int> runs{0};
  constexpr int kRuns = 5'000;
  std::thread other([&] {
    for (int i = 0; i < kRuns; ++i) {
      loop().stop();  // sometimes before the run, sometimes during it, never lost
      runs.wait(i);
    }
  });
  for (int i = 0; i < kRuns; ++i) {
    if (!run()) {
      ADD_FAILURE() << "the stop of run " << i << " was lost";
      break;
    }
    ++runs;
    runs.notify_one();
  }
  runs = kRuns;
  runs.notify_one();
  other.join();
}

TEST_F(ThreadsTest, ATaskThatPostsItselfLetsInputInAndStopsOnRequest) {
  SocketPair pair;
  int runs = 0, input = 0;
  std::atomic<bool> asked{false}, stopped{false};
  const IoWatcher watcher(loop(), pair.ours(), Interest::read, [&](IoEvents) { ++input; });
  pair.send("x");  // never read
  std::thread other([&] {
    asked.wait(false);
    loop().stop();
    stopped = true;
    stopped.notify_one();
  });
  std::function<void()> again = [&] {
    loop().post([&] { again(); });
    if (++runs < 1000) return;
    asked = true;
    asked.notify_one();
    stopped.wait(false);
  };
  loop().post([&] { again(); });
  EXPECT_TRUE(run());
  other.join();
  EXPECT_EQ(runs, 1000);
  EXPECT_EQ(input, 1000);
  again = [] {};
  loop().run_once(0ms);  // the one that still waits
}

TEST_F(ThreadsTest, TasksArePostedWhileTheLoopStopsAndGoesAndEachIsRunOrDestroyedOnce) {
  struct Counts {
    std::atomic<int> accepted{0}, refused{0}, ran{0}, destroyed{0};
  };
  struct Counted {
    explicit Counted(Counts& c) : counts(&c) {}
    Counted(Counted&& other) noexcept : counts(std::exchange(other.counts, nullptr)) {}
    Counted& operator=(Counted&&) = delete;
    ~Counted() {
      if (counts) ++counts->destroyed;
    }
    void operator()() { ++counts->ran; }
    Counts* counts;
  };
  constexpr int kThreads = 8;
  for (int round = 0; round < 30; ++round) {
    Counts counts;
    auto own = std::make_unique<EventLoop>();
    std::atomic<int> warm{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, ref = own->ref()] {
        // Until the loop is gone; it stays alive until each has posted a few.
        for (int i = 0;; ++i) {
          if (i == 20) {
            ++warm;
            warm.notify_one();
          }
          if (!ref.post(Counted(counts))) break;
          ++counts.accepted;
        }
        ++counts.refused;
        EXPECT_FALSE(ref.alive());
        ref.stop();
      });
    }
    for (int seen = warm; seen < kThreads; seen = warm) {
      if (round % 3 == 0) {
        warm.wait(seen);  // a loop that never ran
      } else {
        own->run_once(0ms);
      }
    }
    if (round % 3 == 1) {
      own->stop();
      own->run();
    }
    own.reset();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(counts.refused, kThreads);
    EXPECT_EQ(counts.destroyed, counts.accepted + counts.refused);
    EXPECT_LE(counts.ran, counts.accepted);
    if (round % 3 == 0) {
      EXPECT_EQ(counts.ran, 0);
    }
  }
}

TEST_F(ThreadsTest, TasksThatEightThreadsPostAroundStopsRunOnceInOrderOrGoWithTheLoop) {
  struct Task {
    Task(std::vector<int>& r, std::atomic<int>& d, int i) : ran(&r), destroyed(&d), index(i) {}
    Task(Task&& other) noexcept
        : ran(other.ran), destroyed(std::exchange(other.destroyed, nullptr)), index(other.index) {}
    Task& operator=(Task&&) = delete;
    ~Task() {
      if (destroyed) ++*destroyed;
    }
    void operator()() const { ran->push_back(index); }
    std::vector<int>* ran;
    std::atomic<int>* destroyed;
    int index;
  };
  constexpr int kThreads = 8;
  constexpr int kTasks = 3000;
  auto own = std::make_unique<EventLoop>();
  std::vector<std::vector<int>> ran(kThreads);  // by thread, in the order in which they ran
  std::vector<std::atomic<int>> destroyed(kThreads);
  std::atomic<int> refused{0};
  std::atomic<int> left{kThreads};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kTasks; ++i) {
        if (!own->post(Task(ran[t], destroyed[t], i))) ++refused;
        if (i % 100 == 0) own->stop();
      }
      --left;
      own->stop();
    });
  }
  while (left > 0) own->run();  // each stop ends a run; nobody is lost in between
  for (std::thread& thread : threads) thread.join();
  // Whatever came after the last stop goes with the loop.
  own.reset();
  EXPECT_EQ(refused, 0);
  for (std::size_t t = 0; t < kThreads; ++t) {
    EXPECT_EQ(destroyed[t], kTasks);
    for (std::size_t i = 0; i < ran[t].size(); ++i) ASSERT_EQ(ran[t][i], static_cast<int>(i));
  }
}

TEST_F(ThreadsTest, ALoopMayBeMadeHereRunThereAndDestroyedHere) {
  auto own = std::make_unique<EventLoop>();
  EXPECT_TRUE(own->in_loop_thread());
  bool there = false, timer_fired = false, in_task = false;
  std::thread runner([&] {
    const Timer timer = own->after(1ms, [&] {
      timer_fired = true;
      own->stop();
    });
    own->post([&] { in_task = own->in_loop_thread(); });
    own->run();
    there = own->in_loop_thread();
  });
  runner.join();
  EXPECT_TRUE(timer_fired);
  EXPECT_TRUE(in_task);
  EXPECT_TRUE(there);
  EXPECT_FALSE(own->in_loop_thread());
  own->post([&] { EXPECT_TRUE(own->in_loop_thread()); });
  own->run_once(0ms);
}

TEST_F(ThreadsTest, OtherThreadsSeeThatTheyAreNotTheLoops) {
  std::atomic<bool> running{false};
  bool mistaken = true;
  std::thread other([&] {
    running.wait(false);
    mistaken = loop().in_loop_thread();
    loop().stop();
  });
  loop().post([&] {
    EXPECT_TRUE(loop().in_loop_thread());
    running = true;
    running.notify_one();
  });
  EXPECT_TRUE(run());
  other.join();
  EXPECT_FALSE(mistaken);
}

TEST_F(ThreadsTest, RunFromASecondThreadIsRefusedAndTheFirstGoesOn) {
  std::atomic<bool> running{false};
  std::thread other([&] {
    running.wait(false);
    EXPECT_THROW(loop().run(), std::logic_error);
    EXPECT_THROW(loop().run_once(0ms), std::logic_error);
    loop().post([&] { loop().stop(); });
  });
  loop().post([&] {
    running = true;
    running.notify_one();
  });
  EXPECT_TRUE(run());
  other.join();
}

TEST_F(ThreadsTest, WhatATaskCarriesIsSeenWholeByTheLoop) {
  constexpr int kRounds = 2'000;
  std::uint64_t sum = 0;
  std::thread other([&] {
    for (int i = 0; i < kRounds; ++i) {
      auto payload = std::make_unique<std::vector<std::uint64_t>>(64, i);
      loop().post([&sum, payload = std::move(payload)] {
        for (const std::uint64_t n : *payload) sum += n;
      });
    }
    loop().post([&] { loop().stop(); });
  });
  EXPECT_TRUE(run());
  other.join();
  EXPECT_EQ(sum, 64ull * kRounds * (kRounds - 1) / 2);
}

}  // namespace
}  // namespace millrace::test
