#include <millrace/check.h>

#include <string>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

struct CheckTest : ::testing::Test {
  CheckTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(CheckTest, PassesWhatHolds) {
  MILLRACE_CHECK(true);
  MILLRACE_CHECK(1 + 1 == 2, "with a reason");
  MILLRACE_CHECK_EQ(1, 1);
  MILLRACE_CHECK_NE(1, 2, "with a reason");
  MILLRACE_CHECK_LE(2, 2);
  MILLRACE_CHECK_LT(1, 2);
  MILLRACE_DCHECK(true);
  MILLRACE_DCHECK_LE(1, 2);
}

TEST_F(CheckTest, LooksAtEachOperandOnce) {
  int left = 0;
  int right = 10;
  MILLRACE_CHECK_LE(++left, ++right);
  MILLRACE_CHECK(++left == 2);
  EXPECT_EQ(left, 2);
  EXPECT_EQ(right, 11);
}

TEST_F(CheckTest, IsOneStatement) {
  bool reached = false;
  if (reached)
    MILLRACE_CHECK_EQ(1, 2);
  else
    reached = true;
  EXPECT_TRUE(reached);
}

TEST_F(CheckTest, SaysWhatFailedAndWhereAndAborts) {
  const int handlers = 0;
  EXPECT_EXIT(MILLRACE_CHECK(handlers > 0), ::testing::KilledBySignal(SIGABRT),
              "millrace: check failed: handlers > 0 \\[.*check_test\\.cc:[0-9]+\\]");
}

TEST_F(CheckTest, SaysWhy) {
  EXPECT_DEATH(MILLRACE_CHECK(false, "a Server needs a handler"),
               "check failed: false: a Server needs a handler");
}

TEST_F(CheckTest, SaysBothValues) {
  const std::size_t n = 12;
  const std::size_t size = 5;
  EXPECT_DEATH(MILLRACE_CHECK_LE(n, size, "consume() of more than there is"),
               "n <= size \\(with 12 and 5\\): consume\\(\\) of more than there is");
  EXPECT_DEATH(MILLRACE_CHECK_EQ(n, size), "n == size \\(with 12 and 5\\)");
  EXPECT_DEATH(MILLRACE_CHECK_NE(n, n), "n != n \\(with 12 and 12\\)");
  EXPECT_DEATH(MILLRACE_CHECK_LT(n, n), "n < n \\(with 12 and 12\\)");
}

TEST_F(CheckTest, ShowsTextsPointersAndEnumerations) {
  enum class Colour { red = 3, green = 4 };
  const std::string text = "left";
  int* const none = nullptr;
  int value = 0;
  EXPECT_DEATH(MILLRACE_CHECK_EQ(text, "right"), "\\(with left and right\\)");
  EXPECT_DEATH(MILLRACE_CHECK_EQ(none, &value), "\\(with null and a pointer\\)");
  EXPECT_DEATH(MILLRACE_CHECK_EQ(Colour::red, Colour::green), "\\(with 3 and 4\\)");
}

TEST_F(CheckTest, DebugChecksAbortInADebugBuild) {
  EXPECT_DEATH(MILLRACE_DCHECK(1 > 2, "debug"), "check failed: 1 > 2: debug");
  EXPECT_DEATH(MILLRACE_DCHECK_LE(2, 1), "check failed: 2 <= 1 \\(with 2 and 1\\)");
}

}  // namespace
}  // namespace millrace::test
