// What goes wrong with a Listener: it cannot listen, or accept() fails. Scripted, but for the cases
// in which the kernel can be brought to say so itself.
#include <millrace/error.h>
#include <millrace/listener.h>

#include "support/captured_log.h"
#include "support/loop_test.h"
#include "support/sockets.h"
#include "support/watch_calls.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include <sys/socket.h>

namespace millrace::test {
namespace {

struct ListenerErrorsTest : LoopTest {
  void TearDown() override {
    accepted.clear();
    LoopTest::TearDown();
  }
  Listener::Accepted keep() {
    return
        [this](UniqueFd socket, const SocketAddress&) { accepted.emplace_back(std::move(socket)); };
  }
  Listener::Accepted ignore() {
    return [](UniqueFd, const SocketAddress&) {};
  }
  bool accepts(std::size_t n) {
    return run_until([&] { return accepted.size() == n; });
  }
  // A Listener of its own that cannot be made: the text of what is thrown, which has that error.
  std::string error_of(const SocketAddress& address, int error, const ListenOptions& options = {}) {
    try {
      Listener listener(loop(), address, ignore(), options);
      ADD_FAILURE() << "it listens on " << listener.address();
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), system_error_code(error));
      return e.what();
    }
    return {};
  }

  std::vector<RawSocket> accepted;
  const SocketAddress any_port = SocketAddress::loopback(0);
};

TEST_F(ListenerErrorsTest, ATakenPortIsRefusedWithCallAddressAndReason) {
  Listener first(loop(), any_port, keep());
  const std::string text = error_of(first.address(), EADDRINUSE);
  EXPECT_EQ(text, "bind " + first.address().to_string() + ": Address already in use");
}

TEST_F(ListenerErrorsTest, APortIsSharedOnlyWhenBothSaySo) {
  ListenOptions sharing;
  sharing.reuse_port = true;
  Listener first(loop(), any_port, keep(), sharing);
  error_of(first.address(), EADDRINUSE);
  Listener alone(loop(), any_port, keep());
  error_of(alone.address(), EADDRINUSE, sharing);
  const Listener second(loop(), first.address(), keep(), sharing);
  EXPECT_EQ(second.address(), first.address());
}

TEST_F(ListenerErrorsTest, AnAddressThatIsNotOursIsRefused) {
  const SocketAddress elsewhere = SocketAddress::parse("192.0.2.1:0");  // for documentation only
  EXPECT_EQ(error_of(elsewhere, EADDRNOTAVAIL),
            "bind 192.0.2.1:0: Cannot assign requested address");
}

TEST_F(ListenerErrorsTest, WithoutPermissionItSaysSo) {
  Faults faults;
  faults.on(Call::bind, Fault::fail(EACCES));
  EXPECT_EQ(error_of(SocketAddress::parse("127.0.0.1:1"), EACCES),
            "bind 127.0.0.1:1: Permission denied");
}

TEST_F(ListenerErrorsTest, AnAddressWithoutAFamilyIsRefused) {
  EXPECT_EQ(error_of(SocketAddress(), EAFNOSUPPORT),
            "socket for (none): Address family not supported by protocol");
}

TEST_F(ListenerErrorsTest, WithoutADescriptorToListenWithItSaysSo) {
  const DescriptorLimit full(0);
  EXPECT_EQ(error_of(SocketAddress::parse("127.0.0.1:1234"), EMFILE),
            "socket for 127.0.0.1:1234: Too many open files");
}

TEST_F(ListenerErrorsTest, APortThatIsTakenBetweenBindAndListenIsRefused) {
  Faults faults;
  faults.on(Call::listen, Fault::fail(EADDRINUSE));
  const ReservedPort reserved;
  const SocketAddress address = reserved.address();
  EXPECT_EQ(error_of(address, EADDRINUSE),
            "listen on " + address.to_string() + ": Address already in use");
}

TEST_F(ListenerErrorsTest, AnOptionThatTheKernelRefusesIsNamed) {
  Faults faults;
  ListenOptions options;
  options.socket.user_timeout = 5s;
  const ReservedPort reserved;
  const SocketAddress address = reserved.address();
  faults.on(Call::setsockopt, Fault::fail(ENOPROTOOPT), {.skip = 2});
  EXPECT_EQ(error_of(address, ENOPROTOOPT, options),
            "TCP_USER_TIMEOUT 5000 for " + address.to_string() + ": Protocol not available");
}

TEST_F(ListenerErrorsTest, WhenItCannotBeWatchedItIsNotMade) {
  Faults faults;
  faults.on(Call::epoll_ctl, Fault::fail(ENOSPC));
  const ReservedPort reserved;
  const SocketAddress address = reserved.address();
  EXPECT_EQ(error_of(address, ENOSPC),
            "epoll_ctl for listener " + address.to_string() + ": No space left on device");
  EXPECT_EQ(listening_descriptor(address), -1);
}

TEST_F(ListenerErrorsTest, SpuriousReadinessCallsNobody) {
  Faults faults;
  Listener listener(loop(), any_port, keep());
  faults.on(Call::accept4, Fault::fail(EAGAIN));
  RawSocket peer = RawSocket::connect_to(listener.address());
  ASSERT_TRUE(run_until([&] { return faults.count(Call::accept4) > 0; }));
  EXPECT_EQ(accepted.size(), 0u);
  EXPECT_TRUE(accepts(1));
  EXPECT_EQ(listener.stats().aborted, 0u);
}

// Of one connection that went away, or that the network or a firewall had something to say about.
class SkippedErrorTest : public ListenerErrorsTest, public ::testing::WithParamInterface<int> {};

TEST_P(SkippedErrorTest, IsCountedAndTheNextConnectionIsAccepted) {
  Faults faults;
  Listener listener(loop(), any_port, keep());
  listener.on_failure([](std::error_code why) { ADD_FAILURE() << why.message(); });
  faults.on(Call::accept4, Fault::fail(GetParam()), {.times = 3});
  const auto peers = connect_peers(listener.address(), 2);
  ASSERT_TRUE(accepts(2));
  EXPECT_EQ(listener.stats().aborted, 3u);
  EXPECT_EQ(listener.stats().accepted, 2u);
  EXPECT_EQ(listener.stats().exhausted, 0u);
}

INSTANTIATE_TEST_SUITE_P(Errors, SkippedErrorTest,
                         ::testing::Values(ECONNABORTED, EPROTO, EPERM, ENETDOWN, EHOSTUNREACH,
                                           ENETUNREACH, EHOSTDOWN, ENOPROTOOPT, ENONET, EOPNOTSUPP,
                                           ETIMEDOUT, ECONNRESET),
                         [](const auto& test) { return strerrorname_np(test.param); });

// Descriptors or memory have run out: the connection stays in the queue.
class ExhaustedTest : public ListenerErrorsTest, public ::testing::WithParamInterface<int> {};

TEST_P(ExhaustedTest, WaitsLongerEachTimeUpToOneSecondAndLosesNobody) {
  CapturedLog log;
  Faults faults;
  Listener listener(loop(), any_port, keep());
  faults.on(Call::accept4, Fault::fail(GetParam()), {.times = 10});
  const auto peers = connect_peers(listener.address(), 2);

  const auto calls = watch_calls(loop(), faults, Call::accept4, 11);
  ASSERT_EQ(calls.size(), 11u);
  std::uint64_t wait = 10;
  for (std::size_t i = 1; i < calls.size(); ++i, wait = std::min<std::uint64_t>(2 * wait, 1000)) {
    EXPECT_GE(calls[i].at_ms - calls[i - 1].at_ms, wait) << "attempt " << i;
    EXPECT_LE(calls[i].before_ms - calls[i - 1].at_ms, wait) << "attempt " << i;
  }
  EXPECT_TRUE(accepts(2));
  EXPECT_EQ(listener.stats().exhausted, 10u);
  EXPECT_EQ(listener.stats().aborted, 0u);
  EXPECT_TRUE(log.contains(std::strerror(GetParam())));
}

INSTANTIATE_TEST_SUITE_P(Errors, ExhaustedTest, ::testing::Values(EMFILE, ENFILE, ENOBUFS, ENOMEM),
                         [](const auto& test) { return strerrorname_np(test.param); });

TEST_F(ListenerErrorsTest, ASuccessAfterExhaustionStartsTheWaitsAnew) {
  CapturedLog log;
  Faults faults;
  Listener listener(loop(), any_port, keep());
  RawSocket first = RawSocket::connect_to(listener.address());
  faults.on(Call::accept4, Fault::fail(EMFILE), {.times = 5});
  ASSERT_EQ(watch_calls(loop(), faults, Call::accept4, 6).size(), 6u);
  ASSERT_EQ(accepted.size(), 1u);

  faults.on(Call::accept4, Fault::fail(EMFILE));
  RawSocket second = RawSocket::connect_to(listener.address());
  const auto calls = watch_calls(loop(), faults, Call::accept4, 2);
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_LE(calls[1].before_ms - calls[0].at_ms, 10u);
  EXPECT_EQ(accepted.size(), 2u);
}

TEST_F(ListenerErrorsTest, RetryTriesAtOnceWithoutWaitingForTheEndOfThePause) {
  CapturedLog log;
  Faults faults;
  Listener listener(loop(), any_port, keep());
  RawSocket peer = RawSocket::connect_to(listener.address());
  faults.on(Call::accept4, Fault::fail(EMFILE), {.times = 8});
  ASSERT_EQ(watch_calls(loop(), faults, Call::accept4, 8).size(), 8u);
  listener.retry();  // the next attempt would be one second away
  loop().run_once(0ms);
  EXPECT_EQ(accepted.size(), 1u);
}

TEST_F(ListenerErrorsTest, RetryDoesNotEndAPauseThatSomebodyAskedFor) {
  Faults faults;
  Listener listener(loop(), any_port, keep());
  listener.pause();
  listener.retry();
  RawSocket peer = RawSocket::connect_to(listener.address());
  run_for(20ms);
  EXPECT_EQ(faults.count(Call::accept4), 0u);
  EXPECT_TRUE(listener.paused());
}

TEST_F(ListenerErrorsTest, ResumeDoesNotEndTheWaitAfterExhaustion) {
  CapturedLog log;
  Faults faults;
  Listener listener(loop(), any_port, keep());
  RawSocket peer = RawSocket::connect_to(listener.address());
  faults.on(Call::accept4, Fault::fail(ENFILE), {.times = 4});
  const auto calls = watch_calls(loop(), faults, Call::accept4, 4);
  listener.pause();
  listener.resume();
  const auto next = watch_calls(loop(), faults, Call::accept4, 1);
  ASSERT_EQ(next.size(), 1u);
  EXPECT_GE(next[0].at_ms - calls[3].at_ms, 80u);
}

TEST_F(ListenerErrorsTest, DestroyedWhileItWaitsForResourcesItLeavesNothingBehind) {
  CapturedLog log;
  Faults faults;
  std::optional<Listener> listener(std::in_place, loop(), any_port, keep());
  RawSocket peer = RawSocket::connect_to(listener->address());
  faults.on(Call::accept4, Fault::fail(EMFILE));
  ASSERT_EQ(watch_calls(loop(), faults, Call::accept4, 1).size(), 1u);
  listener.reset();
  EXPECT_EQ(watch_calls(loop(), faults, Call::accept4, 1, 1ms, 100).size(), 0u);
}

TEST_F(ListenerErrorsTest, ExhaustionIsLoggedOncePerSecondAtTheMost) {
  CapturedLog log;
  Faults faults;
  Listener listener(loop(), any_port, keep());
  RawSocket peer = RawSocket::connect_to(listener.address());
  faults.on(Call::accept4, Fault::fail(EMFILE), {.times = 6});
  const auto calls = watch_calls(loop(), faults, Call::accept4, 6);
  ASSERT_EQ(calls.size(), 6u);  // 310 ms, if the machine was not stopped in between
  EXPECT_LE(log.lines(log::Level::warning).size(), 1 + (calls[5].at_ms - calls[0].at_ms) / 1000);
  EXPECT_GE(log.lines(log::Level::warning).size(), 1u);
}

// The listening socket itself has failed.
class FatalErrorTest : public ListenerErrorsTest, public ::testing::WithParamInterface<int> {};

TEST_P(FatalErrorTest, IsReportedOnceAndItAcceptsNoMore) {
  Faults faults;
  Listener listener(loop(), any_port, keep());
  std::vector<std::error_code> failures;
  listener.on_failure([&](std::error_code why) { failures.push_back(why); });
  faults.on(Call::accept4, Fault::fail(GetParam()));
  const auto peers = connect_peers(listener.address(), 2);
  ASSERT_TRUE(run_until([&] { return !failures.empty(); }));
  EXPECT_LE(run_for(50ms), 5u);
  EXPECT_EQ(failures, std::vector{system_error_code(GetParam())});
  EXPECT_EQ(accepted.size(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Errors, FatalErrorTest, ::testing::Values(EINVAL, EBADF, ENOTSOCK, EFAULT),
                         [](const auto& test) { return strerrorname_np(test.param); });

TEST_F(ListenerErrorsTest, WithoutAFailureCallbackTheErrorIsInTheLog) {
  CapturedLog log;
  Faults faults;
  Listener listener(loop(), any_port, keep());
  faults.on(Call::accept4, Fault::fail(EINVAL));
  RawSocket peer = RawSocket::connect_to(listener.address());
  ASSERT_TRUE(run_until([&] { return log.lines(log::Level::error).size() > 0; }));
  EXPECT_TRUE(log.contains(listener.address().to_string()));
  EXPECT_TRUE(log.contains("Invalid argument"));
}

TEST_F(ListenerErrorsTest, TheFailureCallbackMayDestroyTheListenerAndStopTheLoop) {
  Faults faults;
  std::optional<Listener> listener(std::in_place, loop(), any_port, keep());
  listener->on_failure([&](std::error_code) {
    listener.reset();
    loop().stop();
  });
  faults.on(Call::accept4, Fault::fail(EINVAL));
  RawSocket peer = RawSocket::connect_to(listener->address());
  loop().run();
  EXPECT_FALSE(listener.has_value());
}

TEST_F(ListenerErrorsTest, CloseIsCalledOnceWhateverItSays) {
  for (const int error : {EINTR, EIO}) {
    Faults faults;
    std::optional<Listener> listener(std::in_place, loop(), any_port, keep());
    const int fd = listening_descriptor(listener->address());
    const auto before = faults.count(Call::close);
    faults.on(Call::close, Fault::fail(error), {.fd = fd});
    listener.reset();
    loop().run_once(0ms);
    EXPECT_EQ(faults.count(Call::close), before + 1);
  }
}

TEST_F(ListenerErrorsTest, AnInterruptedAcceptIsRepeatedAndNotCounted) {
  Faults faults;
  Listener listener(loop(), any_port, keep());
  faults.on(Call::accept4, Fault::fail(EINTR));
  RawSocket peer = RawSocket::connect_to(listener.address());
  ASSERT_TRUE(accepts(1));
  EXPECT_EQ(listener.stats().aborted, 0u);
}

TEST_F(ListenerErrorsTest, TheFailureCallbackMayBeReplacedInsideItself) {
  Faults faults;
  Listener listener(loop(), any_port, ignore());
  const std::string text = "a text that is too long to be kept inside the string itself";
  std::string said;
  listener.on_failure([&, text](std::error_code) {
    listener.on_failure([](std::error_code) {});
    said = text;  // of this callback, which has been replaced
  });
  faults.on(Call::accept4, Fault::fail(EINVAL));
  RawSocket peer = RawSocket::connect_to(listener.address());
  ASSERT_TRUE(run_until([&] { return !said.empty(); }));
  EXPECT_EQ(said, text);
}

TEST_F(ListenerErrorsTest, AListenerThatHasFailedIsNotBroughtBackByResume) {
  Faults faults;
  Listener listener(loop(), any_port, keep());
  std::error_code failure;
  listener.on_failure([&](std::error_code why) { failure = why; });
  faults.on(Call::accept4, Fault::fail(EINVAL));
  RawSocket peer = RawSocket::connect_to(listener.address());
  ASSERT_TRUE(run_until([&] { return static_cast<bool>(failure); }));
  listener.pause();
  listener.resume();
  run_for(20ms);
  EXPECT_TRUE(accepted.empty());
}

TEST_F(ListenerErrorsTest, ASocketThatSomebodyShutsDownMayBeStopped) {
  Listener listener(loop(), any_port, ignore());
  ::shutdown(listening_descriptor(listener.address()), SHUT_RDWR);
  listener.stop();
  EXPECT_EQ(listener.waiting(), 0u);
  EXPECT_LE(run_for(20ms), 5u);
}

TEST_F(ListenerErrorsTest, ASocketThatSomebodyShutsDownIsAFailureAndDoesNotSpin) {
  for (const bool paused : {false, true}) {
    Listener listener(loop(), any_port, ignore());
    std::error_code failure;
    listener.on_failure([&](std::error_code why) { failure = why; });
    if (paused) listener.pause();
    ::shutdown(listening_descriptor(listener.address()), SHUT_RDWR);
    EXPECT_LE(run_for(50ms), 5u) << paused;
    listener.resume();
    EXPECT_TRUE(run_until([&] { return failure == std::errc::invalid_argument; })) << paused;
  }
}

}  // namespace
}  // namespace millrace::test
