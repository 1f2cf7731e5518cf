#include <millrace/event_loop.h>
#include <millrace/timer.h>

#include "support/clock_test.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

constexpr auto kYear = std::chrono::hours(24 * 365);

struct TimerTest : ClockTest {
  int fired = 0;
  std::string order;

  Function<void()> count() {
    return [this] { ++fired; };
  }
  Function<void()> note(char name) {
    return [this, name] { order += name; };
  }
};

TEST_F(TimerTest, TenTimersFireInTheirOrderAndNoneEarly) {
  std::vector<Timer> timers;
  for (int i = 9; i >= 0; --i) {
    timers.push_back(loop().after(i * 50ms, note(static_cast<char>('0' + i))));
  }
  turn();
  EXPECT_EQ(order, "0");
  for (int i = 1; i < 10; ++i) {
    step(49ms);
    EXPECT_EQ(order.size(), static_cast<std::size_t>(i));
    step(1ms);
    EXPECT_EQ(order.size(), static_cast<std::size_t>(i) + 1);
  }
  EXPECT_EQ(order, "0123456789");
  EXPECT_EQ(loop().stats().timers_fired, 10u);
}

TEST_F(TimerTest, TimersThatAreLateTogetherFireInTheOrderOfTheirDeadlines) {
  const Timer c = loop().after(300ms, note('c'));
  const Timer a = loop().after(5ms, note('a'));
  const Timer b = loop().after(20ms, note('b'));
  step(1s);
  EXPECT_EQ(order, "abc");
}

TEST_F(TimerTest, TimersOfTheSameMillisecondFireInTheOrderInWhichTheyWereStarted) {
  const Timer b = loop().after(7ms, note('b'));
  const Timer a = loop().after(7ms, note('a'));
  const Timer c = loop().after(6900us, note('c'));
  step(7ms);
  EXPECT_EQ(order, "bac");
}

TEST_F(TimerTest, ADeadlineInsideAMillisecondIsLateByLessThanOneAndNeverEarly) {
  const Timer timer = loop().after(1500us, count());
  step(1499us);
  EXPECT_EQ(fired, 0);
  step(501us);
  EXPECT_EQ(fired, 1);
  const Timer shortest = loop().after(1ns, count());
  turn();
  EXPECT_EQ(fired, 1);
  step(1ms);
  EXPECT_EQ(fired, 2);
}

TEST_F(TimerTest, ZeroAndNegativeDelaysFireInTheNextTurn) {
  const Timer zero = loop().after(0ms, note('0'));
  const Timer negative = loop().after(-500'000'000ms, note('-'));
  const Timer most_negative = loop().after(std::chrono::hours::min(), note('m'));
  EXPECT_EQ(order, "") << "never from inside the call";
  turn();
  EXPECT_EQ(order, "0-m");
  step(300us);
  const Timer inside_a_tick = loop().after(0ms, note('z'));
  turn();
  EXPECT_EQ(order, "0-mz");
}

TEST_F(TimerTest, AZeroDelayTimerThatRestartsItselfRunsOncePerTurn) {
  Timer again(loop(), [&] {
    ++fired;
    again.start(0ms);
  });
  again.start(0ms);
  for (int turns = 1; turns <= 5; ++turns) {
    turn();
    EXPECT_EQ(fired, turns);
  }
  loop().post([&] { loop().stop(); });  // and it starves nothing
  loop().run();
  EXPECT_EQ(fired, 6);
}

TEST_F(TimerTest, TheLongestDelaysThereAreFireNeverAndDisturbNobody) {
  const Timer hours = loop().after(std::chrono::hours::max(), count());
  const Timer nanoseconds = loop().after(Duration::max(), count());
  const Timer nearly = loop().after(Duration::max() - 1ms, count());
  const Timer near = loop().after(1ms, note('n'));
  step(1ms);
  EXPECT_EQ(order, "n");
  for (int i = 0; i < 100; ++i) step(kYear);
  EXPECT_EQ(fired, 0);
  EXPECT_TRUE(hours.active() && nanoseconds.active() && nearly.active());
}

TEST_F(TimerTest, SleepsOfYearsAreExactToTheTick) {
  const Timer five = loop().after(5 * kYear, note('5'));
  const Timer ten = loop().after(10 * kYear, note('t'));
  step(5 * kYear - 1ns);
  EXPECT_EQ(order, "");
  step(1ns);
  EXPECT_EQ(order, "5");
  step(5 * kYear - 1ms);
  EXPECT_EQ(order, "5");
  step(1ms);
  EXPECT_EQ(order, "5t");
}

TEST_F(TimerTest, DurationsCountFromTheTimeOfTheIterationUntilTheClockIsReadAgain) {
  Timer by_iteration(loop(), note('i'));
  Timer by_clock(loop(), note('c'));
  const Timer slow = loop().after(0ms, [&] {
    faults.advance_clock(30ms);
    by_iteration.start(40ms);
    loop().refresh_now();
    by_clock.start(40ms);
  });
  turn();
  step(9ms);
  EXPECT_EQ(order, "");
  step(1ms);
  EXPECT_EQ(order, "i");
  step(29ms);
  EXPECT_EQ(order, "i");
  step(1ms);
  EXPECT_EQ(order, "ic");
}

TEST_F(TimerTest, OutsideOfRunDurationsCountFromTheTimeNow) {
  turn();
  faults.advance_clock(100ms);
  const Timer timer = loop().after(10ms, count());
  step(9ms);
  EXPECT_EQ(fired, 0);
  step(1ms);
  EXPECT_EQ(fired, 1);
}

TEST_F(TimerTest, StartMovesAnActiveTimerToEitherSideAndItFiresOnce) {
  Timer timer(loop(), count());
  timer.start(50ms);
  timer.start(10ms);
  step(10ms);
  EXPECT_EQ(fired, 1);
  EXPECT_FALSE(timer.active());

  timer.start(10ms);
  timer.start(500ms);
  step(499ms);
  EXPECT_EQ(fired, 1);
  step(1ms);
  EXPECT_EQ(fired, 2);
  step(1s);
  EXPECT_EQ(fired, 2);
}

TEST_F(TimerTest, AnIdleTimeoutTouchedOnEachMessageFiresOnceAfterTheLast) {
  Timer idle(loop(), count());
  for (int message = 0; message < 1000; ++message) {
    idle.start(30s);
    step(7ms);
  }
  EXPECT_EQ(fired, 0);
  step(30s - 8ms);
  EXPECT_EQ(fired, 0);
  step(1ms);
  EXPECT_EQ(fired, 1);
}

// Where it is one store in the caller.
TEST_F(TimerTest, AnActiveTimerMovedInACallbackFiresOnceAndNeverEarly) {
  const auto in_callback = [this](auto&& run) {
    loop().post([&] { run(); });
    turn();
  };
  Timer timer(loop(), count());
  timer.start(5ms);
  faults.advance_clock(300us);
  in_callback([&] { timer.start(10ms); });
  step(10ms);
  step(600us);
  EXPECT_EQ(fired, 0);
  step(100us);
  EXPECT_EQ(fired, 1) << "with the tick in which it is due";

  in_callback([&] { timer.start(50ms); });
  in_callback([&] { timer.start(500ms); });
  in_callback([&] { timer.start(20ms); });
  step(19ms);
  EXPECT_EQ(fired, 1);
  step(1ms);
  EXPECT_EQ(fired, 2);
  in_callback([&] { timer.start_every(10ms); });
  in_callback([&] { timer.start(20ms); });
  step(19ms);
  EXPECT_EQ(fired, 2);
  step(1ms);
  EXPECT_EQ(fired, 3);
  step(1s);
  EXPECT_EQ(fired, 3) << "the repetition goes on";
}

TEST_F(TimerTest, CancelAndDestructionKeepATimerFromFiring) {
  Timer cancelled = loop().after(5ms, count());
  { const Timer destroyed = loop().after(5ms, count()); }
  cancelled.cancel();
  cancelled.cancel();
  EXPECT_FALSE(cancelled.active());
  step(1s);
  EXPECT_EQ(fired, 0);
  cancelled.start(5ms);
  step(5ms);
  EXPECT_EQ(fired, 1);
}

TEST_F(TimerTest, ATimerIsActiveFromItsStartUntilItFires) {
  Timer timer(loop(), count());
  EXPECT_FALSE(timer.active());
  step(1s);
  EXPECT_EQ(fired, 0);
  timer.start(5ms);
  EXPECT_TRUE(timer.active());
  step(5ms);
  EXPECT_FALSE(timer.active());
  timer.start_every(5ms);
  step(5ms);
  EXPECT_TRUE(timer.active());
}

TEST_F(TimerTest, AMovedTimerFiresFromItsNewPlace) {
  Timer first = loop().after(5ms, note('a'));
  Timer second(std::move(first));
  EXPECT_TRUE(second.active());
  std::vector<Timer> many;
  many.push_back(std::move(second));
  for (char name = 'b'; name <= 'e'; ++name) many.push_back(loop().after(5ms, note(name)));
  step(5ms);
  EXPECT_EQ(order, "abcde");
}

TEST_F(TimerTest, AssignmentCancelsWhatWasThereAndTakesTheOther) {
  Timer timer = loop().after(5ms, note('a'));
  timer = loop().after(6ms, note('b'));
  Timer& same = timer;
  timer = std::move(same);
  EXPECT_TRUE(timer.active());
  step(10ms);
  EXPECT_EQ(order, "b");
  timer = Timer(loop(), note('c'));
  EXPECT_FALSE(timer.active());
}

TEST_F(TimerTest, AClockThatGoesBackNeitherFiresNorDelaysForLong) {
  const Timer timer = loop().after(10ms, count());
  step(5ms);
  const TimePoint before = loop().now();
  step(-1s);
  EXPECT_EQ(fired, 0);
  EXPECT_GE(loop().now(), before);
  step(1s + 5ms);
  EXPECT_EQ(fired, 1);
}

TEST_F(TimerTest, AHundredThousandTimersAreNeverEarlyAndNoLaterThanTheLoopLooks) {
  struct Due {
    TimePoint at;
    bool fired = false;
  };
  static constexpr Duration kStep = 7ms;
  std::mt19937 random(1);
  std::vector<Due> due(100'000);
  std::vector<Timer> timers;
  timers.reserve(due.size());
  int wrong = 0;
  for (Due& d : due) {
    const auto delay = std::chrono::microseconds(1 + random() % 650'000);
    d.at = loop().now() + delay;
    timers.push_back(loop().after(delay, [this, &d, &wrong] {
      d.fired = true;
      ++fired;
      // A tick and what the loop was busy with: the step, and the turns it takes to call so many.
      if (loop().now() < d.at || loop().now() >= d.at + 1ms + kStep) ++wrong;
    }));
  }
  for (auto now = 0ms; now < 700ms; now += 7ms) {
    step(kStep);
    while (loop().next_timeout() == Duration::zero()) turn();
  }
  EXPECT_EQ(fired, 100'000);
  EXPECT_EQ(wrong, 0);
}

struct CountingNode : TimerNode {
  void handle_timer() override {
    EXPECT_FALSE(active());
    ++fired;
  }
  int fired = 0;
};

TEST_F(TimerTest, ANodeOfOnesOwnIsStartedMovedAndCancelledLikeATimer) {
  CountingNode node, cancelled;
  node.start(loop(), 50ms);
  node.start(loop(), 5ms);
  cancelled.start(loop(), 5ms);
  cancelled.cancel(loop());
  EXPECT_TRUE(node.active());
  EXPECT_FALSE(cancelled.active());
  step(5ms);
  EXPECT_EQ(node.fired, 1);
  EXPECT_EQ(cancelled.fired, 0);
  step(100ms);
  EXPECT_EQ(node.fired, 1);
}

// The same with the kernel's clock and timer descriptor.
struct RealTimerTest : LoopTest {};

TEST_F(RealTimerTest, ATimerEndsTheWaitByItselfAndNotEarly) {
  const TimePoint start = Clock::now();
  TimePoint fired_at{};
  const Timer timer = loop().after(30ms, [&] {
    fired_at = Clock::now();
    loop().stop();
  });
  loop().run();
  EXPECT_GE(fired_at - start, 30ms);
  EXPECT_LE(loop().stats().iterations, 3u) << "a sleeping loop spins";
}

TEST_F(RealTimerTest, AnEarlierTimerStartedLaterIsNotSleptThrough) {
  std::string order;
  const Timer late = loop().after(10s, [&] { order += 'l'; });
  loop().run_once(1ms);  // the kernel's timer is set for the late one
  const Timer early = loop().after(20ms, [&] {
    order += 'e';
    loop().stop();
  });
  const TimePoint start = Clock::now();
  loop().run();
  EXPECT_EQ(order, "e");
  EXPECT_LT(Clock::now() - start, 9s);
}

TEST_F(RealTimerTest, FarTimersAndCancelledOnesDoNotKeepTheLoopAwake) {
  const Timer far = loop().after(10h, [] {});
  const Timer never = loop().after(Duration::max(), [] {});
  for (int i = 0; i < 50; ++i) loop().after(5ms + i * 1ms, [] {}).cancel();
  EXPECT_LE(run_for(100ms), 5u);
}

TEST(TimerDeathTest, AnEmptyCallbackIsRefusedWhenTheTimerIsMade) {
  EventLoop loop;
  EXPECT_DEATH(Timer(loop, Function<void()>()), "a Timer needs a callback");
}

}  // namespace
}  // namespace millrace::test
