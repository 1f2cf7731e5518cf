// What is for the loop's thread alone, used in another one.
#include <millrace/event_loop.h>
#include <millrace/io_watcher.h>

#include "support/flush_target.h"
#include "support/loop_test.h"
#include "support/socket_pair.h"

#include <atomic>
#include <cstdio>
#include <functional>
#include <string>
#include <thread>

#include <gmock/gmock.h>

namespace millrace::test {
namespace {

// Debug builds, which these are, abort when another thread uses a loop that runs.
class WrongThreadDeathTest : public ::testing::Test {
 protected:
  struct Things {
    EventLoop loop;
    SocketPair pair;
    SocketPair free;
    Timer inactive{loop, [] {}};
    Timer active = loop.after(1h, [] {});
    IoWatcher watcher{loop, pair.ours(), Interest::read, [](IoEvents) {}};
    FlushTarget* target = FlushTarget::make(loop, [] {});
  };

  // For a process that dies of it; the expectation sees its standard error.
  static void use_in_wrong_thread(const std::function<void(Things&)>& use) {
    Things things;
    std::atomic<bool> running{false};
    things.loop.post([&] {
      std::fprintf(stderr, "runner %zu;", hash_of_this_thread());
      running = true;
      running.notify_one();
    });
    std::thread runner([&] { things.loop.run(); });
    running.wait(false);
    use(things);
    things.loop.post([&] {
      things.target->end();
      things.loop.stop();
    });
    runner.join();
  }
  static std::size_t hash_of_this_thread() {
    return std::hash<std::thread::id>()(std::this_thread::get_id());
  }
  static auto names_both() {
    return ::testing::Truly([user = hash_of_this_thread()](const std::string& said) {
      std::size_t runner = 0;
      if (std::sscanf(said.c_str(), "runner %zu;", &runner) != 1) return false;
      return said.find("thread " + std::to_string(user) + " used a loop that runs in thread " +
                       std::to_string(runner) + ")") != std::string::npos;
    });
  }
};

TEST_F(WrongThreadDeathTest, StartingATimerNamesBothThreads) {
  EXPECT_DEATH(use_in_wrong_thread([](Things& t) { t.inactive.start(1ms); }), names_both());
  EXPECT_DEATH(use_in_wrong_thread([](Things& t) { t.inactive.start_every(1ms); }), names_both());
  EXPECT_DEATH(use_in_wrong_thread([](Things& t) { t.loop.after(1ms, [] {}).cancel(); }),
               names_both());
}

TEST_F(WrongThreadDeathTest, CancellingAnActiveTimerNamesBothThreads) {
  EXPECT_DEATH(use_in_wrong_thread([](Things& t) { t.active.cancel(); }), names_both());
}

TEST_F(WrongThreadDeathTest, DeferringNamesBothThreads) {
  EXPECT_DEATH(use_in_wrong_thread([](Things& t) { t.loop.defer([] {}); }), names_both());
}

TEST_F(WrongThreadDeathTest, WatchingADescriptorNamesBothThreads) {
  EXPECT_DEATH(use_in_wrong_thread([](Things& t) {
                 const IoWatcher watcher(t.loop, t.free.ours(), Interest::read, [](IoEvents) {});
               }),
               names_both());
  EXPECT_DEATH(use_in_wrong_thread([](Things& t) { t.watcher.set_interest(Interest::none); }),
               names_both());
}

TEST_F(WrongThreadDeathTest, AskingForAFlushNamesBothThreads) {
  EXPECT_DEATH(use_in_wrong_thread([](Things& t) { t.target->ask(); }), names_both());
}

TEST_F(WrongThreadDeathTest, WhatIsForAnyThreadIsNotRefused) {
  use_in_wrong_thread([](Things& t) {
    t.loop.post([] {});
    const LoopRef ref = t.loop.ref();
    ref.post([] {});
    EXPECT_TRUE(ref.alive());
    EXPECT_FALSE(t.loop.in_loop_thread());
  });
}

}  // namespace
}  // namespace millrace::test
