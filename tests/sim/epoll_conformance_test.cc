// What epoll does, and the descriptors that only it needs, on the real kernel and on the simulated
// one; see kernel_conformance_test.cc.
#include "kernel_conformance_test.h"

#include <cstdint>
#include <vector>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace millrace::test {
namespace {

constexpr int kPatienceMs = 2000;

class EpollConformanceTest : public KernelConformanceTest {
 protected:
  void SetUp() override {
    KernelConformanceTest::SetUp();
    epoll = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  }
  void TearDown() override { epoll.reset(); }
  Said control(int op, int fd, std::uint32_t mask = EPOLLIN) {
    epoll_event event{};
    event.events = mask;
    event.data.fd = fd;
    return said(::epoll_ctl(epoll.get(), op, fd, &event));
  }
  std::vector<int> wait(int max = 16, int ms = 0) {
    std::vector<epoll_event> found(static_cast<std::size_t>(max));
    const int n = ::epoll_wait(epoll.get(), found.data(), max, ms);
    std::vector<int> fds;
    for (int i = 0; i < n; ++i) fds.push_back(found[static_cast<std::size_t>(i)].data.fd);
    return fds;
  }
  static UniqueFd event_fd(unsigned value) {
    return UniqueFd(::eventfd(value, EFD_NONBLOCK | EFD_CLOEXEC));
  }

  UniqueFd epoll;
};

TEST_P(EpollConformanceTest, ControlErrors) {
  UniqueFd fd = event_fd(0);
  EXPECT_EQ(control(EPOLL_CTL_MOD, fd.get()).error, ENOENT);
  EXPECT_EQ(control(EPOLL_CTL_DEL, fd.get()).error, ENOENT);
  EXPECT_EQ(control(EPOLL_CTL_ADD, fd.get()).error, 0);
  EXPECT_EQ(control(EPOLL_CTL_ADD, fd.get()).error, EEXIST);
  const int number = fd.get();
  fd.reset();
  EXPECT_EQ(control(EPOLL_CTL_DEL, number).error, EBADF);
}

TEST_P(EpollConformanceTest, ARegistrationGoesWithTheDescriptor) {
  UniqueFd fd = event_fd(1);
  control(EPOLL_CTL_ADD, fd.get());
  EXPECT_EQ(wait().size(), 1u);
  fd.reset();
  EXPECT_TRUE(wait().empty());
}

TEST_P(EpollConformanceTest, LevelIsToldAgainAndEdgeOnce) {
  const UniqueFd level = event_fd(1);
  const UniqueFd edge = event_fd(1);
  control(EPOLL_CTL_ADD, level.get());
  EXPECT_EQ(wait().size(), 1u);
  EXPECT_EQ(wait().size(), 1u);
  control(EPOLL_CTL_ADD, edge.get(), EPOLLIN | EPOLLET);
  EXPECT_EQ(wait().size(), 2u);
  EXPECT_EQ(wait(), std::vector{level.get()});
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(edge.get(), &one, sizeof one), 8);
  EXPECT_EQ(wait().size(), 2u);
  control(EPOLL_CTL_MOD, edge.get(), EPOLLIN | EPOLLET);
  EXPECT_EQ(wait().size(), 2u) << "modified: told anew";
}

TEST_P(EpollConformanceTest, AnEventfdCountsAndSaturates) {
  const UniqueFd fd = event_fd(0);
  std::uint64_t value = 0;
  EXPECT_EQ(said(::read(fd.get(), &value, sizeof value)).error, EAGAIN);
  value = ~std::uint64_t{0} - 1;
  EXPECT_EQ(::write(fd.get(), &value, sizeof value), 8);
  value = 1;
  EXPECT_EQ(said(::write(fd.get(), &value, sizeof value)).error, EAGAIN);
  EXPECT_EQ(events(fd), EPOLLIN);
  EXPECT_EQ(::read(fd.get(), &value, sizeof value), 8);
  EXPECT_EQ(value, ~std::uint64_t{0} - 1);
  EXPECT_EQ(events(fd), EPOLLOUT);
}

TEST_P(EpollConformanceTest, ATimerDescriptorEndsAWait) {
  const UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  control(EPOLL_CTL_ADD, timer.get(), EPOLLIN | EPOLLET);
  EXPECT_TRUE(wait().empty());
  itimerspec to{};
  to.it_value.tv_nsec = 1'000'000;
  ASSERT_EQ(::timerfd_settime(timer.get(), 0, &to, nullptr), 0);
  EXPECT_EQ(wait(16, kPatienceMs), std::vector{timer.get()});
  EXPECT_TRUE(wait().empty()) << "edge-triggered: once";
  to.it_value.tv_nsec = 1'000'000;
  ASSERT_EQ(::timerfd_settime(timer.get(), 0, &to, nullptr), 0);
  EXPECT_EQ(wait(16, kPatienceMs), std::vector{timer.get()}) << "and again, though never read";
  std::uint64_t expired = 0;
  EXPECT_EQ(::read(timer.get(), &expired, sizeof expired), 8);
  EXPECT_EQ(expired, 1u);
}

TEST_P(EpollConformanceTest, ATimeInThePastIsNow) {
  const UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  control(EPOLL_CTL_ADD, timer.get(), EPOLLIN | EPOLLET);
  itimerspec to{};
  to.it_value.tv_nsec = 1;
  ASSERT_EQ(::timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &to, nullptr), 0);
  EXPECT_EQ(wait(16, kPatienceMs).size(), 1u);
}

TEST_P(EpollConformanceTest, MoreReadyThanAskedForAreToldInTurn) {
  std::vector<UniqueFd> fds;
  for (int i = 0; i < 20; ++i) {
    fds.push_back(event_fd(1));
    control(EPOLL_CTL_ADD, fds.back().get(), EPOLLIN | EPOLLET);
  }
  std::size_t told = 0;
  for (int i = 0; i < 3; ++i) told += wait(8).size();
  EXPECT_EQ(told, 20u);
  EXPECT_TRUE(wait(8).empty());
}

TEST_P(EpollConformanceTest, AnEpollInstanceIsReadableWhileOneOfItsOwnIsReady) {
  const UniqueFd fd = event_fd(0);
  control(EPOLL_CTL_ADD, fd.get());
  EXPECT_EQ(events(epoll, EPOLLIN), 0u);
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(fd.get(), &one, sizeof one), 8);
  EXPECT_EQ(events(epoll, EPOLLIN), EPOLLIN);
}

TEST_P(EpollConformanceTest, TheLowestFreeNumberIsGivenOut) {
  UniqueFd a = event_fd(0);
  const UniqueFd b = event_fd(0);
  const int number = a.get();
  a.reset();
  EXPECT_EQ(event_fd(0).get(), number);
}

INSTANTIATE_TEST_SUITE_P(Kernels, EpollConformanceTest, ::testing::Bool(), kernel_name);

}  // namespace
}  // namespace millrace::test
