// A loop that is driven by a foreign one: backend_fd() and next_timeout() under poll(2).
#include <millrace/event_loop.h>
#include <millrace/io_watcher.h>

#include "support/clock_test.h"
#include "support/loop_test.h"
#include "support/socket_pair.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include <poll.h>

namespace millrace::test {
namespace {

// The foreign loop: sleeps in poll() for as long as next_timeout() says, ten seconds at most, and
// then lets the loop work, as event_loop.h describes it.
struct NestedLoopTest : LoopTest {
  // Whether the descriptor became readable.
  bool wait_outside() {
    const std::optional<Duration> timeout = loop().next_timeout();
    const Duration most = std::min<Duration>(timeout.value_or(10s), 10s);
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(most).count();
    pollfd ready{loop().backend_fd(), POLLIN, 0};
    return ::poll(&ready, 1, static_cast<int>(ms)) == 1;
  }
  template <class Done>
  bool drive_until(Done done) {
    for (int turns = 0; turns < 1000; ++turns) {
      if (done()) return true;
      wait_outside();
      loop().run_once(0ms);
    }
    return false;
  }
};

TEST_F(NestedLoopTest, InputMakesTheDescriptorReadable) {
  SocketPair pair;
  std::string received;
  const IoWatcher watcher(loop(), pair.ours(), Interest::read,
                          [&](IoEvents) { received += pair.receive(); });
  EXPECT_EQ(loop().next_timeout(), std::nullopt) << "nothing to do without input";
  pair.send("hello");
  EXPECT_TRUE(wait_outside());
  EXPECT_EQ(received, "") << "nothing runs before run_once()";
  loop().run_once(0ms);
  EXPECT_EQ(received, "hello");
}

TEST_F(NestedLoopTest, TimersFireWhenTheTimeoutHasPassed) {
  int fired = 0;
  const TimePoint start = Clock::now();
  const Timer timer = loop().every(10ms, [&] { ++fired; });
  EXPECT_TRUE(drive_until([&] { return fired >= 3; }));
  EXPECT_GE(Clock::now() - start, 30ms);
  EXPECT_LE(loop().stats().iterations, 12u) << "the timeout must not be a busy wait";
}

TEST_F(NestedLoopTest, ATimerAloneMakesTheDescriptorReadableInTime) {
  bool fired = false;
  const Timer timer = loop().after(20ms, [&] { fired = true; });
  ASSERT_NE(loop().next_timeout(), std::nullopt);
  pollfd ready{loop().backend_fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 10'000), 1);
  EXPECT_TRUE(drive_until([&] { return fired; }));
}

TEST_F(NestedLoopTest, APostFromAnotherThreadEndsTheForeignSleep) {
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(loop().next_timeout(), std::nullopt);
    bool ran = false;
    std::thread other([&] { loop().post([&] { ran = true; }); });
    pollfd ready{loop().backend_fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&ready, 1, 10'000), 1) << "the post was slept through";
    other.join();
    loop().run_once(0ms);
    EXPECT_TRUE(ran);
  }
  EXPECT_EQ(loop().stats().wakeups_written, 50u);
}

TEST_F(NestedLoopTest, AStopFromAnotherThreadEndsTheForeignSleep) {
  ASSERT_EQ(loop().next_timeout(), std::nullopt);
  std::thread other([&] { loop().stop(); });
  pollfd ready{loop().backend_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&ready, 1, 10'000), 1);
  other.join();
  const std::uint64_t before = loop().stats().iterations;
  EXPECT_EQ(loop().next_timeout(), Duration::zero()) << "also who asks afterwards must not sleep";
  EXPECT_FALSE(loop().run_once(0ms)) << "the foreign loop is told";
  EXPECT_EQ(loop().stats().iterations, before);
  EXPECT_TRUE(loop().run_once(0ms));
  EXPECT_EQ(loop().next_timeout(), std::nullopt) << "once";
}

TEST_F(NestedLoopTest, WorkThatWaitsMakesTheTimeoutZero) {
  loop().post([] {});
  EXPECT_EQ(loop().next_timeout(), Duration::zero());
  loop().run_once(0ms);
  EXPECT_EQ(loop().next_timeout(), std::nullopt);
  loop().defer([&] { loop().defer([] {}); });
  EXPECT_EQ(loop().next_timeout(), Duration::zero());
  loop().run_once(0ms);
  EXPECT_EQ(loop().next_timeout(), Duration::zero()) << "what was deferred by a deferred task";
  loop().run_once(0ms);
  EXPECT_EQ(loop().next_timeout(), std::nullopt);
  const Timer timer = loop().after(0ms, [] {});
  EXPECT_EQ(loop().next_timeout(), Duration::zero());
  loop().run_once(0ms);
  EXPECT_EQ(loop().next_timeout(), std::nullopt);
  loop().services().bury(std::make_unique<Mortal>());
  EXPECT_EQ(loop().next_timeout(), Duration::zero());
}

TEST_F(NestedLoopTest, ATaskThatAForeignCallbackPostsBeforeTheSleepEndsIt) {
  ASSERT_EQ(loop().next_timeout(), std::nullopt);
  bool ran = false;
  loop().post([&] { ran = true; });
  pollfd ready{loop().backend_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&ready, 1, 10'000), 1);
  loop().run_once(0ms);
  EXPECT_TRUE(ran);
}

TEST_F(NestedLoopTest, ABusyPollingLoopNeitherPollsNorHurriesTheForeignOne) {
  EventLoop polling({.busy_poll = std::chrono::hours(1)});
  EXPECT_EQ(polling.next_timeout(), std::nullopt);
  EXPECT_TRUE(polling.run_once(0ms));
  bool fired = false;
  const Timer timer = polling.after(5ms, [&] { fired = true; });
  ASSERT_NE(polling.next_timeout(), std::nullopt);
  EXPECT_GT(*polling.next_timeout(), Duration::zero());
  pollfd ready{polling.backend_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&ready, 1, 10'000), 1);
  for (int i = 0; i < 100 && !fired; ++i) polling.run_once(0ms);
  EXPECT_TRUE(fired);
}

TEST_F(NestedLoopTest, ALoopThatWasDrivenFromOutsideCanBeRunAgain) {
  static_cast<void>(loop().next_timeout());
  loop().post([&] { loop().stop(); });
  loop().run();
  EXPECT_LE(run_for(50ms), 4u);
}

TEST_F(NestedLoopTest, OneLoopMayWatchAnother) {
  EventLoop outer;
  SocketPair pair;
  std::string received;
  int fired = 0, posted = 0;
  const IoWatcher watcher(loop(), pair.ours(), Interest::read,
                          [&](IoEvents) { received += pair.receive(); });
  const Timer timer = loop().after(15ms, [&] { ++fired; });
  const auto done = [&] { return fired == 1 && posted == 1 && received == "x"; };
  const IoWatcher inner(outer, loop().backend_fd(), Interest::read, [&](IoEvents) {
    do {
      loop().run_once(0ms);
    } while (loop().next_timeout() == Duration::zero());  // also before the next sleep
    if (done()) outer.stop();
  });
  ASSERT_NE(loop().next_timeout(), Duration::zero());
  std::thread other([&] {
    loop().post([&] { ++posted; });
    pair.send("x");
  });
  const Timer limit = outer.after(10s, [&] { outer.stop(); });
  outer.run();
  other.join();
  EXPECT_TRUE(done());
  EXPECT_LE(outer.stats().iterations, 12u);
}

// With a clock that stands still.
struct NextTimeoutTest : ClockTest {};

TEST_F(NextTimeoutTest, ItIsTheTimeUntilTheFirstTimerOrLess) {
  EXPECT_EQ(loop().next_timeout(), std::nullopt);
  const Timer far = loop().after(1h, [] {});
  Timer near = loop().after(100ms, [] {});
  EXPECT_EQ(loop().next_timeout(), Duration(100ms));
  faults.advance_clock(40ms);
  EXPECT_EQ(loop().next_timeout(), Duration(60ms)) << "it counts from now";
  faults.advance_clock(60ms);
  EXPECT_EQ(loop().next_timeout(), Duration::zero());
  near.cancel();
  ASSERT_TRUE(loop().next_timeout().has_value());
  EXPECT_GT(*loop().next_timeout(), Duration::zero());
  EXPECT_LE(*loop().next_timeout(), 1h - 100ms);
}

TEST_F(NextTimeoutTest, TheFarthestTimerDoesNotOverflowIt) {
  const Timer timer = loop().after(Duration::max(), [] {});
  ASSERT_TRUE(loop().next_timeout().has_value());
  EXPECT_GT(*loop().next_timeout(), Duration::zero());
}

}  // namespace
}  // namespace millrace::test
