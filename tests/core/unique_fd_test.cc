#include <millrace/unique_fd.h>

#include "support/faults.h"

#include <cerrno>
#include <type_traits>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace millrace::test {
namespace {

int open_one() {
  return ::open("/dev/null", O_RDONLY | O_CLOEXEC);
}
bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) != -1;
}

TEST(UniqueFd, OwnsNothingByDefault) {
  Faults calls;
  {
    const UniqueFd none;
    const UniqueFd minus_one(-1);
    EXPECT_FALSE(none);
    EXPECT_FALSE(minus_one);
    EXPECT_EQ(none.get(), -1);
  }
  EXPECT_EQ(calls.count(Call::close), 0u);
}

TEST(UniqueFd, DescriptorZeroIsOne) {
  UniqueFd zero(0);
  EXPECT_TRUE(zero);
  EXPECT_EQ(zero.release(), 0);
}

TEST(UniqueFd, ClosesWhatItOwnsExactlyOnce) {
  Faults calls;
  const int fd = open_one();
  {
    const UniqueFd owner(fd);
    EXPECT_TRUE(owner);
    EXPECT_EQ(owner.get(), fd);
    EXPECT_TRUE(is_open(fd));
  }
  EXPECT_FALSE(is_open(fd));
  EXPECT_EQ(calls.count(Call::close), 1u);
}

TEST(UniqueFd, ReleaseGivesUpWithoutClosing) {
  const int fd = open_one();
  UniqueFd owner(fd);
  EXPECT_EQ(owner.release(), fd);
  EXPECT_FALSE(owner);
  owner.reset();
  EXPECT_TRUE(is_open(fd));
  ::close(fd);
}

TEST(UniqueFd, ResetClosesTheOldOneAndTakesTheNew) {
  const int first = open_one();
  const int second = open_one();
  UniqueFd owner(first);
  owner.reset(second);
  EXPECT_FALSE(is_open(first));
  EXPECT_TRUE(is_open(second));
  EXPECT_EQ(owner.get(), second);
  owner.reset();
  EXPECT_FALSE(is_open(second));
  EXPECT_FALSE(owner);
}

TEST(UniqueFd, MovesItsDescriptor) {
  const int fd = open_one();
  UniqueFd first(fd);
  UniqueFd second = std::move(first);
  EXPECT_FALSE(first);
  EXPECT_EQ(second.get(), fd);
  const int other = open_one();
  UniqueFd third(other);
  third = std::move(second);
  EXPECT_FALSE(is_open(other));
  EXPECT_FALSE(second);
  EXPECT_EQ(third.get(), fd);
  UniqueFd& same = third;
  third = std::move(same);
  EXPECT_EQ(third.get(), fd);
  EXPECT_TRUE(is_open(fd));
  EXPECT_FALSE(std::is_copy_constructible_v<UniqueFd>);
}

TEST(UniqueFd, NeverClosesAgainWhenCloseFails) {
  for (const int error : {EINTR, EIO}) {
    Faults faults;
    faults.on(Call::close, Fault::fail(error));
    UniqueFd owner(open_one());
    owner.reset();
    EXPECT_FALSE(owner);
    EXPECT_EQ(faults.count(Call::close), 1u) << error;
  }
}

TEST(UniqueFd, LeavesErrnoAlone) {
  Faults faults;
  faults.on(Call::close, Fault::fail(EIO));
  {
    const UniqueFd owner(open_one());
    errno = ENOENT;
  }
  EXPECT_EQ(errno, ENOENT);
}

}  // namespace
}  // namespace millrace::test
