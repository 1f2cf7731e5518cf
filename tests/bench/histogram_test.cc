#include "histogram.h"

#include "support/random.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;
using bench::Histogram;
using Duration = Histogram::Duration;

// The smallest of the sorted values that a share `q` of all does not exceed.
std::int64_t exact_quantile(const std::vector<std::int64_t>& sorted, double q) {
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    if (static_cast<double>(i + 1) >= q * static_cast<double>(sorted.size())) return sorted[i];
  }
  return sorted.back();
}

constexpr double kShares[] = {0.0, 0.001, 0.01, 0.1,   0.25,   0.5, 0.75,
                              0.9, 0.95,  0.99, 0.999, 0.9999, 1.0};

void expect_close_at_every_quantile(std::vector<std::int64_t> values) {
  Histogram h;
  for (const std::int64_t ns : values) h.record(Duration(ns));
  std::sort(values.begin(), values.end());
  for (const double q : kShares) {
    const auto exact = static_cast<double>(exact_quantile(values, q));
    const auto told = static_cast<double>(h.quantile(q).count());
    EXPECT_LE(std::abs(told - exact), 0.01 * exact) << "quantile " << q;
  }
  EXPECT_EQ(h.max().count(), values.back());
  EXPECT_EQ(h.count(), values.size());
}

TEST(Histogram, IsAllZeroWhenEmpty) {
  const Histogram h;
  EXPECT_EQ(h.count(), 0u);
  EXPECT_EQ(h.max(), 0ns);
  EXPECT_EQ(h.mean(), 0ns);
  for (const double q : kShares) EXPECT_EQ(h.quantile(q), 0ns);
}

TEST(Histogram, TellsASingleValueAtEveryQuantile) {
  for (const Duration value : {Duration(1ns), Duration(255ns), Duration(256ns), Duration(257ns),
                               Duration(1ms), Duration(123456789ns), Duration(4h)}) {
    Histogram h;
    h.record(value);
    for (const double q : kShares) EXPECT_EQ(h.quantile(q), value) << "it is the largest";
    EXPECT_EQ(h.max(), value);
    EXPECT_EQ(h.mean(), value);
    EXPECT_EQ(h.count(), 1u);
  }
}

TEST(Histogram, CountsANegativeValueAsZero) {
  Histogram h;
  h.record(-5ms);
  EXPECT_EQ(h.count(), 1u);
  EXPECT_EQ(h.max(), 0ns);
  EXPECT_EQ(h.quantile(1.0), 0ns);
  EXPECT_EQ(h.mean(), 0ns);
}

TEST(Histogram, IsExactForSmallValues) {
  Histogram h;
  for (int ns = 0; ns < 256; ++ns) h.record(Duration(ns));
  for (int ns = 0; ns < 256; ++ns) EXPECT_EQ(h.quantile((ns + 0.5) / 256).count(), ns);
}

TEST(Histogram, EveryQuantileIsWithinOnePercentFromOneNanosecondToHours) {
  Random random(7);
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    std::vector<std::int64_t> values;
    for (int i = 0; i < 5000; ++i) {
      // Any magnitude up to 2^43 ns, which is over two hours.
      values.push_back(static_cast<std::int64_t>(random.bits() >> (21 + random.below(43))));
    }
    expect_close_at_every_quantile(values);
  }
}

TEST(Histogram, EveryQuantileIsWithinOnePercentAroundOneMagnitude) {
  Random random(8);
  for (const std::int64_t middle : {std::int64_t{100}, std::int64_t{1'000}, std::int64_t{50'000},
                                    std::int64_t{1'000'000}, std::int64_t{3'000'000'000}}) {
    SCOPED_TRACE("around " + std::to_string(middle));
    std::vector<std::int64_t> values;
    for (int i = 0; i < 5000; ++i) {
      values.push_back(middle / 2 +
                       static_cast<std::int64_t>(random.below(static_cast<std::size_t>(middle))));
    }
    expect_close_at_every_quantile(values);
  }
}

TEST(Histogram, NoBucketIsWiderThanItSays) {
  // Two neighbours at each power of two, and in between: a quantile tells the lower one within 0.8
  // %.
  for (std::int64_t base = 1; base <= (std::int64_t{1} << 43); base *= 2) {
    for (std::int64_t value : {base, base + base / 3, 2 * base - 1}) {
      Histogram h;
      h.record(Duration(value));
      h.record(Duration(4 * value));
      const std::int64_t told = h.quantile(0.5).count();
      EXPECT_GE(told, value);
      EXPECT_LE(static_cast<double>(told - value), 0.008 * static_cast<double>(value)) << value;
    }
  }
}

TEST(Histogram, KnowsTheMaximumExactly) {
  Histogram h;
  h.record(1'000'003ns);
  h.record(999'999ns);
  EXPECT_EQ(h.max(), 1'000'003ns);
  h.record(240h);
  EXPECT_EQ(h.max(), 240h) << "also beyond the last bucket";
  EXPECT_LE(h.quantile(1.0), 240h);
}

TEST(Histogram, KnowsTheMeanExactly) {
  Histogram h;
  for (int i = 1; i <= 1000; ++i) h.record(std::chrono::microseconds(i));
  EXPECT_EQ(h.mean(), 500'500ns);
}

TEST(Histogram, QuantilesNeverDecrease) {
  Random random(9);
  Histogram h;
  for (int i = 0; i < 1000; ++i) {
    h.record(Duration(static_cast<std::int64_t>(random.size_up_to(1'000'000'000))));
  }
  Duration before(0);
  for (int i = 0; i <= 1000; ++i) {
    const Duration now = h.quantile(i / 1000.0);
    EXPECT_GE(now, before);
    before = now;
  }
  EXPECT_EQ(before, h.max());
}

TEST(Histogram, StartsOverWhenCleared) {
  Histogram h;
  for (int i = 0; i < 100; ++i) h.record(1s);
  h.clear();
  EXPECT_EQ(h.count(), 0u);
  EXPECT_EQ(h.max(), 0ns);
  EXPECT_EQ(h.mean(), 0ns);
  EXPECT_EQ(h.quantile(0.99), 0ns);
  h.record(5ns);
  EXPECT_EQ(h.quantile(0.5), 5ns);
}

}  // namespace
}  // namespace millrace::test
