#include <millrace/time.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <ratio>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

Duration value_of(Delay delay) {
  return delay.value();
}

TEST(Delay, TakesAnyDuration) {
  EXPECT_EQ(value_of(5s), 5'000'000'000ns);
  EXPECT_EQ(value_of(3ms), 3'000'000ns);
  EXPECT_EQ(value_of(1h), 3'600'000'000'000ns);
  EXPECT_EQ(value_of(7ns), 7ns);
  EXPECT_EQ(value_of(0s), 0ns);
  EXPECT_EQ(value_of(-2ms), -2'000'000ns);
  EXPECT_EQ(value_of(std::chrono::duration<double>(0.25)), 250ms);
  EXPECT_EQ(value_of(std::chrono::duration<float, std::milli>(1.5f)), 1500us);
  EXPECT_EQ(value_of(std::chrono::duration<int, std::ratio<1, 2>>(3)), 1500ms);
  EXPECT_EQ(value_of(std::chrono::duration<std::uint8_t>(200)), 200s);
}

TEST(Delay, CutsWhatIsFinerThanANanosecond) {
  using Picoseconds = std::chrono::duration<std::int64_t, std::pico>;
  EXPECT_EQ(value_of(Picoseconds(1999)), 1ns);
}

TEST(Delay, BecomesTheLongestThereIsInsteadOfOverflowing) {
  EXPECT_EQ(value_of(std::chrono::hours::max()), Duration::max());
  EXPECT_EQ(value_of(std::chrono::seconds::max()), Duration::max());
  EXPECT_EQ(value_of(std::chrono::milliseconds::max()), Duration::max());
  EXPECT_EQ(value_of(Duration::max()), Duration::max());
  EXPECT_EQ(value_of(std::chrono::duration<double>(1e300)), Duration::max());
  EXPECT_EQ(value_of(std::chrono::duration<double>(std::numeric_limits<double>::infinity())),
            Duration::max());
  EXPECT_EQ(
      value_of(std::chrono::duration<std::uint64_t>(std::numeric_limits<std::uint64_t>::max())),
      Duration::max());
}

TEST(Delay, BecomesTheMostNegativeInsteadOfOverflowing) {
  EXPECT_EQ(value_of(std::chrono::hours::min()), Duration::min());
  EXPECT_EQ(value_of(std::chrono::seconds::min()), Duration::min());
  EXPECT_EQ(value_of(std::chrono::duration<double>(-1e300)), Duration::min());
}

TEST(Delay, IsExactUpToTwoHundredYears) {
  using Days = std::chrono::duration<std::int64_t, std::ratio<86400>>;
  for (std::int64_t days = 1; days <= 200 * 365; days *= 3) {
    EXPECT_EQ(value_of(Days(days)).count(), days * 86400 * 1'000'000'000);
    EXPECT_EQ(value_of(Days(-days)).count(), -days * 86400 * 1'000'000'000);
  }
  EXPECT_EQ(value_of(9'223'372'036s), 9'223'372'036'000'000'000ns);
}

TEST(Delay, IsAConstantExpression) {
  static_assert(Delay(2s).value() == 2'000'000'000ns);
  static_assert(Delay(std::chrono::hours::max()).value() == Duration::max());
}

TEST(Later, MovesATimeAndStopsAtItsEnd) {
  const TimePoint start{1h};
  EXPECT_EQ(later(start, 5ms), start + 5ms);
  EXPECT_EQ(later(start, 0ms), start);
  EXPECT_EQ(later(start, -5ms), start - 5ms);
  EXPECT_EQ(later(start, Duration::max()), TimePoint::max());
  EXPECT_EQ(later(TimePoint::max(), 1ns), TimePoint::max());
  EXPECT_EQ(later(TimePoint::max() - 2ns, 2ns), TimePoint::max());
  EXPECT_EQ(later(TimePoint::max() - 2ns, 1ns), TimePoint::max() - 1ns);
}

}  // namespace
}  // namespace millrace::test
