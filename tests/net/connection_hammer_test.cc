// Hundreds of connections at once, of which every callback does something at random, to itself or
// to another, while their peers do the same: each is opened once and closed once, and nothing is
// left. `./dev soak` does it with tens of thousands.
#include "support/hammer.h"
#include "support/loop_test.h"

namespace millrace::test {
namespace {

constexpr std::size_t kConnections = 500;

class HammerTest : public LoopTest, public ::testing::WithParamInterface<std::uint64_t> {};

TEST_P(HammerTest, OpensAndClosesEachConnectionOnce) {
  const HammerReport report = hammer(loop(), {.seed = GetParam(), .connections = kConnections});
  for (const std::string& problem : report.problems) ADD_FAILURE() << problem;
  EXPECT_EQ(report.connected, kConnections);
  EXPECT_EQ(report.opened, kConnections);
  EXPECT_EQ(report.closed, kConnections);
}

INSTANTIATE_TEST_SUITE_P(Seeds, HammerTest, ::testing::Range<std::uint64_t>(1, 6));

}  // namespace
}  // namespace millrace::test
