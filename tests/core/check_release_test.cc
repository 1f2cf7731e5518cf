// check.h as a build without debug checks sees it; this source includes nothing else of millrace.
#include <gtest/gtest.h>

#ifndef NDEBUG
#define NDEBUG
#endif
#include <millrace/check.h>

namespace millrace::test {
namespace {

TEST(CheckReleaseTest, DebugChecksDoNotEvenLook) {
  int looked = 0;
  MILLRACE_DCHECK(++looked > 100, "never said");
  MILLRACE_DCHECK_LE(++looked, 0);
  EXPECT_EQ(looked, 0);
}

TEST(CheckReleaseTest, OtherChecksStillAbort) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(MILLRACE_CHECK(false), "check failed: false");
  EXPECT_DEATH(MILLRACE_CHECK_LT(2, 1), "check failed: 2 < 1 \\(with 2 and 1\\)");
}

}  // namespace
}  // namespace millrace::test
