#include <millrace/event_loop.h>
#include <millrace/timer.h>

#include "support/clock_test.h"

#include <chrono>
#include <vector>

namespace millrace::test {
namespace {

// Notes at which millisecond since the test began each call came.
struct RepeatTest : ClockTest {
  using Times = std::vector<long>;

  void SetUp() override {
    ClockTest::SetUp();
    begin = loop().now();
  }
  Function<void()> note() {
    return [this] { calls.push_back((loop().now() - begin) / 1ms); };
  }
  void run_ticks(int ticks) {
    for (int i = 0; i < ticks; ++i) step(1ms);
  }

  TimePoint begin;
  Times calls;
};

TEST_F(RepeatTest, AFixedRateTimerCallsAtEachMultipleOfItsPeriod) {
  const Timer timer = loop().every(10ms, note());
  run_ticks(45);
  EXPECT_EQ(calls, (Times{10, 20, 30, 40}));
  EXPECT_EQ(timer.missed(), 0u);
}

TEST_F(RepeatTest, BeingLateOnceDoesNotShiftAFixedRate) {
  const Timer timer = loop().every(10ms, note());
  step(14ms);
  run_ticks(30);
  EXPECT_EQ(calls, (Times{14, 20, 30, 40}));
  EXPECT_EQ(timer.missed(), 0u);
}

TEST_F(RepeatTest, APeriodThatIsNoWholeMillisecondDoesNotDrift) {
  const Timer timer = loop().every(2500us, note());
  run_ticks(10);
  EXPECT_EQ(calls, (Times{3, 5, 8, 10}));
}

TEST_F(RepeatTest, ALateFixedRateTimerCallsOnceAndCountsWhatItLeftOut) {
  const Timer timer = loop().every(10ms, note());
  step(10ms);
  step(25ms);  // blocked: 20 and 30 are due
  turn();
  EXPECT_EQ(calls, (Times{10, 35}));
  EXPECT_EQ(timer.missed(), 1u);
  run_ticks(5);
  EXPECT_EQ(calls, (Times{10, 35, 40})) << "it stays aligned";
}

TEST_F(RepeatTest, ACallbackThatBlocksForLongerThanThePeriodIsCalledOnceForIt) {
  bool block = true;
  const Timer timer = loop().every(10ms, [&] {
    calls.push_back((loop().now() - begin) / 1ms);
    if (std::exchange(block, false)) faults.advance_clock(25ms);
  });
  step(10ms);
  turn();
  turn();
  EXPECT_EQ(calls, (Times{10, 35}));
  EXPECT_EQ(timer.missed(), 1u);
}

TEST_F(RepeatTest, AClockThatJumpsFiresAPeriodicTimerOnce) {
  const Timer timer = loop().every(100ms, note());
  step(1h);
  turn();
  EXPECT_EQ(calls.size(), 1u);
  step(49 * 24h + 17h + 3min);  // where 32 bits of milliseconds end
  turn();
  EXPECT_EQ(calls.size(), 2u);
  EXPECT_GT(timer.missed(), 4'000'000'000u / 100);
  step(99ms);
  EXPECT_EQ(calls.size(), 2u);
  step(1ms);
  EXPECT_EQ(calls.size(), 3u);
}

TEST_F(RepeatTest, MissedCallsAreCountedFromTheLastStart) {
  Timer timer = loop().every(10ms, note());
  step(100ms);
  EXPECT_EQ(timer.missed(), 9u);
  timer.start_every(20ms);
  EXPECT_EQ(timer.missed(), 0u);
  step(45ms);
  EXPECT_EQ(timer.missed(), 1u);
}

TEST_F(RepeatTest, AFixedDelayTimerWaitsAPeriodAfterEachCall) {
  const Timer timer = loop().every(10ms, note(), Repeat::fixed_delay);
  step(14ms);
  step(9ms);
  EXPECT_EQ(calls, (Times{14}));
  step(1ms);
  step(500ms);
  run_ticks(11);
  EXPECT_EQ(calls, (Times{14, 24, 524, 534}));
  EXPECT_EQ(timer.missed(), 0u);
}

TEST_F(RepeatTest, AFixedDelayBeginsWhenTheCallReturns) {
  int count = 0;
  const auto work = [&] {
    ++count;
    faults.advance_clock(30ms);
  };
  const Timer timer = loop().every(10ms, work, Repeat::fixed_delay);
  step(10ms);
  step(9ms);
  EXPECT_EQ(count, 1);
  step(1ms);
  EXPECT_EQ(count, 2);
}

TEST_F(RepeatTest, ThePeriodIsAtLeastAMillisecond) {
  const Timer zero = loop().every(0ms, note());
  const Timer negative = loop().every(-1h, note(), Repeat::fixed_delay);
  turn();
  EXPECT_EQ(calls, Times{});
  step(1ms);
  turn();
  EXPECT_EQ(calls, (Times{1, 1}));
  step(1ms);
  EXPECT_EQ(calls, (Times{1, 1, 2, 2}));
}

TEST_F(RepeatTest, TheLongestPeriodNeverComesAndDisturbsNobody) {
  const Timer hours = loop().every(std::chrono::hours::max(), note());
  const Timer delay = loop().every(Duration::max(), note(), Repeat::fixed_delay);
  bool other = false;
  const Timer timer = loop().after(5ms, [&] { other = true; });
  step(5ms);
  EXPECT_TRUE(other);
  step(std::chrono::hours(24 * 365 * 100));
  EXPECT_EQ(calls, Times{});
  EXPECT_TRUE(hours.active() && delay.active());
}

TEST_F(RepeatTest, AFirstCallThenThePeriodThatNeverComes) {
  Timer timer(loop(), [&] {
    note()();
    timer.start_every(std::chrono::hours::max());
  });
  timer.start(1ms);
  run_ticks(100);
  EXPECT_EQ(calls, Times{1});
}

TEST_F(RepeatTest, StartEndsTheRepetition) {
  Timer timer = loop().every(10ms, note());
  step(10ms);
  timer.start(3ms);
  run_ticks(50);
  EXPECT_EQ(calls, (Times{10, 13}));
  EXPECT_FALSE(timer.active());
}

TEST_F(RepeatTest, StartEveryOfARunningTimerBeginsAnew) {
  Timer timer = loop().every(10ms, note());
  step(9ms);
  timer.start_every(10ms);
  run_ticks(20);
  EXPECT_EQ(calls, (Times{19, 29}));
  timer.start(5ms);
  timer.start_every(20ms, Repeat::fixed_delay);  // later than what is filed
  run_ticks(20);
  EXPECT_EQ(calls, (Times{19, 29, 49}));
}

TEST_F(RepeatTest, CancelEndsTheRepetition) {
  Timer rate = loop().every(10ms, note());
  Timer delay = loop().every(10ms, note(), Repeat::fixed_delay);
  step(10ms);
  rate.cancel();
  delay.cancel();
  run_ticks(50);
  EXPECT_EQ(calls, (Times{10, 10}));
}

TEST_F(RepeatTest, AMovedRepeatingTimerGoesOn) {
  Timer first = loop().every(10ms, note());
  step(25ms);
  Timer second = std::move(first);
  EXPECT_EQ(second.missed(), 1u);
  run_ticks(15);
  EXPECT_EQ(calls, (Times{25, 30, 40}));
}

}  // namespace
}  // namespace millrace::test
