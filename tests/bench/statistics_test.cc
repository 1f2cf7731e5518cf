#include "statistics.h"

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

using bench::is_client_bound;
using bench::ratio_of;
using bench::Rounds;
using bench::spread_of;

TEST(Statistics, TheSpreadIsTheMedianAndTheQuartiles) {
  const auto odd = spread_of({5.0, 1.0, 4.0, 2.0, 3.0, 7.0, 6.0});
  EXPECT_EQ(odd->low, 2);
  EXPECT_EQ(odd->median, 4);
  EXPECT_EQ(odd->high, 6);
  const auto even = spread_of({4.0, 1.0, 3.0, 2.0});
  EXPECT_EQ(even->low, 2);
  EXPECT_EQ(even->median, 2.5);
  EXPECT_EQ(even->high, 3);
}

TEST(Statistics, ASingleRoundIsItsOwnSpread) {
  const auto one = spread_of({8.0});
  EXPECT_EQ(one->low, 8);
  EXPECT_EQ(one->median, 8);
  EXPECT_EQ(one->high, 8);
}

TEST(Statistics, ThereIsNoSpreadOfNothing) {
  EXPECT_FALSE(spread_of({}));
  EXPECT_FALSE(spread_of({std::nullopt, std::nullopt}));
}

TEST(Statistics, RatiosAreTakenWithinARound) {
  // The second round was disturbed for both: the ratio does not see it.
  const auto ratio = ratio_of({110.0, 330.0, 90.0}, {100.0, 300.0, 100.0});
  EXPECT_DOUBLE_EQ(ratio->median, 1.1);
  EXPECT_DOUBLE_EQ(ratio->low, 0.9);
}

TEST(Statistics, ARoundThatFailedForOneOfThemDoesNotShiftTheOthers) {
  const Rounds mine = {std::nullopt, 20.0, 30.0};
  const Rounds reference = {1.0, 10.0, std::nullopt};
  const auto ratio = ratio_of(mine, reference);
  EXPECT_EQ(ratio->low, 2);
  EXPECT_EQ(ratio->high, 2);
  EXPECT_FALSE(ratio_of({1.0}, {0.0})) << "nothing can be said of a reference of zero";
}

TEST(Statistics, AClientThatIsBusyWhileTheServerIsNotLimitsTheRate) {
  EXPECT_TRUE(is_client_bound(0.99, 0.5));
  EXPECT_FALSE(is_client_bound(0.99, 0.99)) << "both are";
  EXPECT_FALSE(is_client_bound(0.5, 0.5)) << "they wait for each other";
  EXPECT_FALSE(is_client_bound(0.5, 0.99));
}

}  // namespace
}  // namespace millrace::test
