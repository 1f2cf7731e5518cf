// Listener: what it hands over, pausing, its queue, its end. Its errors: listener_errors_test.cc.
#include <millrace/listener.h>

#include "support/loop_test.h"
#include "support/sockets.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace millrace::test {
namespace {

struct ListenerTest : LoopTest {
  void TearDown() override {
    accepted.clear();
    LoopTest::TearDown();
  }
  Listener::Accepted keep() {
    return [this](UniqueFd socket, const SocketAddress& peer) {
      accepted.emplace_back(std::move(socket));
      from.push_back(peer);
    };
  }
  bool accepts(std::size_t n) {
    return run_until([&] { return accepted.size() == n; });
  }
  // A peer whose connection was reset: by a listener that closed before it was accepted.
  bool was_reset(RawSocket& peer) {
    run_until([&] {
      peer.receive_some();
      return peer.at_end() || peer.last_error() != EAGAIN;
    });
    return peer.last_error() == ECONNRESET;
  }

  std::vector<RawSocket> accepted;
  std::vector<SocketAddress> from;
  const SocketAddress any_port = SocketAddress::loopback(0);
};

TEST_F(ListenerTest, HandsOverTheSocketAndThePeersAddress) {
  Listener listener(loop(), any_port, keep());
  RawSocket peer = RawSocket::connect_to(listener.address());
  ASSERT_TRUE(accepts(1));
  EXPECT_EQ(from[0], peer.address());
  peer.send_all("hello");
  EXPECT_EQ(receive(accepted[0], 5), "hello");
}

TEST_F(ListenerTest, WhatItHandsOverIsNonBlockingAndCloseOnExec) {
  Listener listener(loop(), any_port, keep());
  RawSocket peer = RawSocket::connect_to(listener.address());
  ASSERT_TRUE(accepts(1));
  EXPECT_TRUE(::fcntl(accepted[0].fd(), F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(::fcntl(accepted[0].fd(), F_GETFD) & FD_CLOEXEC);
}

TEST_F(ListenerTest, ItsOwnSocketIsNotInheritedByProgramsThatAreStarted) {
  Listener listener(loop(), any_port, keep());
  const int fd = listening_descriptor(listener.address());
  ASSERT_GE(fd, 0);
  EXPECT_TRUE(::fcntl(fd, F_GETFD) & FD_CLOEXEC);
  EXPECT_TRUE(::fcntl(fd, F_GETFL) & O_NONBLOCK);
}

TEST_F(ListenerTest, AddressTellsThePortThatTheKernelChose) {
  Listener listener(loop(), any_port, keep());
  EXPECT_NE(listener.address().port(), 0);
  EXPECT_EQ(listener.address().with_port(0), any_port);
}

TEST_F(ListenerTest, WhilePausedConnectionsWaitInTheKernelsQueue) {
  Listener listener(loop(), any_port, keep());
  EXPECT_FALSE(listener.paused());
  listener.pause();
  EXPECT_TRUE(listener.paused());
  const auto peers = connect_peers(listener.address(), 3);
  EXPECT_LE(run_for(50ms), 5u) << "a listener that is paused keeps the loop busy";
  EXPECT_EQ(accepted.size(), 0u);
  listener.resume();
  EXPECT_FALSE(listener.paused());
  EXPECT_TRUE(accepts(3));
}

TEST_F(ListenerTest, PausedInsideItsCallbackItTakesNoOther) {
  std::optional<Listener> listener;
  listener.emplace(loop(), any_port, [&](UniqueFd socket, const SocketAddress&) {
    accepted.emplace_back(std::move(socket));
    listener->pause();
  });
  const auto peers = connect_peers(listener->address(), 3);
  for (std::size_t n = 1; n <= 3; ++n) {
    ASSERT_TRUE(accepts(n));
    run_for(20ms);
    EXPECT_EQ(accepted.size(), n);
    listener->resume();
  }
}

TEST_F(ListenerTest, ThePeersWaitInAQueueOfTheLengthOfTheBacklog) {
  ListenOptions options;
  options.backlog = 7;
  const Listener listener(loop(), any_port, keep(), options);
  EXPECT_EQ(longest_queue(listener.address()), 7u);
}

TEST_F(ListenerTest, TheKernelCapsTheBacklog) {
  unsigned cap = 0;
  std::ifstream("/proc/sys/net/core/somaxconn") >> cap;
  ListenOptions options;
  options.backlog = std::numeric_limits<int>::max();
  const Listener listener(loop(), any_port, keep(), options);
  EXPECT_EQ(longest_queue(listener.address()), cap);
}

TEST_F(ListenerTest, ABacklogBelowOneIsOne) {
  ListenOptions options;
  options.backlog = -5;
  const Listener listener(loop(), any_port, keep(), options);
  EXPECT_EQ(longest_queue(listener.address()), 1u);
}

TEST_F(ListenerTest, WithDeferAcceptAConnectionIsReportedWithItsFirstBytes) {
  ListenOptions options;
  options.defer_accept = 30s;
  Listener listener(loop(), any_port, keep(), options);
  RawSocket peer = RawSocket::connect_to(listener.address());
  run_for(50ms);
  EXPECT_EQ(accepted.size(), 0u);
  peer.send_all("x");
  ASSERT_TRUE(accepts(1));
  EXPECT_EQ(accepted[0].receive_some(), "x");
}

TEST_F(ListenerTest, AnIpv6ListenerAlsoTakesIpv4) {
  Listener listener(loop(), SocketAddress::any_v6(0), keep());
  const std::uint16_t port = listener.address().port();
  RawSocket v4 = RawSocket::connect_to(SocketAddress::loopback(port));
  ASSERT_TRUE(accepts(1));
  EXPECT_EQ(from[0].host(), "::ffff:127.0.0.1");
  RawSocket v6 = RawSocket::connect_to(SocketAddress::loopback_v6(port));
  ASSERT_TRUE(accepts(2));
  EXPECT_EQ(from[1], v6.address());
}

TEST_F(ListenerTest, WithV6OnlyAnIpv6ListenerLeavesIpv4Alone) {
  const ReservedPort reserved(SocketAddress::any(0));
  const std::uint16_t port = reserved.address().port();
  ListenOptions options;
  options.v6_only = true;
  Listener v6(loop(), SocketAddress::any_v6(port), keep(), options);
  EXPECT_EQ(socket_option(listening_descriptor(v6.address()), IPPROTO_IPV6, IPV6_V6ONLY), 1);
  Listener v4(loop(), SocketAddress::any(port), keep());
  RawSocket peer = RawSocket::connect_to(SocketAddress::loopback(port));
  ASSERT_TRUE(accepts(1));
  EXPECT_EQ(v4.stats().accepted, 1u);
}

TEST_F(ListenerTest, WithReusePortTheKernelSpreadsConnectionsOverTheListeners) {
  ListenOptions options;
  options.reuse_port = true;
  Listener first(loop(), any_port, keep(), options);
  Listener second(loop(), first.address(), keep(), options);
  const auto peers = connect_peers(first.address(), 64);
  ASSERT_TRUE(accepts(64));
  EXPECT_GT(first.stats().accepted, 0u);
  EXPECT_GT(second.stats().accepted, 0u);
}

TEST_F(ListenerTest, DestroyedItResetsWhatStillWaitsInItsQueue) {
  std::optional<Listener> listener(std::in_place, loop(), any_port, keep());
  listener->pause();
  auto peers = connect_peers(listener->address(), 3);
  listener.reset();
  for (RawSocket& peer : peers) EXPECT_TRUE(was_reset(peer));
}

TEST_F(ListenerTest, StoppedItHandsOverWhatWasQueuedAndThePortIsFreeAtOnce) {
  Listener listener(loop(), any_port, keep());
  const SocketAddress address = listener.address();
  std::vector<RawSocket> peers = connect_peers(address, 5);
  peers[0].send_all("sent before");
  listener.stop();
  EXPECT_TRUE(accepted.empty()) << "from inside the call";
  EXPECT_EQ(listener.waiting(), 5u);
  EXPECT_EQ(listener.address(), SocketAddress());
  EXPECT_THROW(RawSocket::connect_to(address), std::runtime_error);
  Listener next(loop(), address, keep());
  ASSERT_TRUE(accepts(5));
  EXPECT_EQ(listener.waiting(), 0u);
  EXPECT_EQ(receive(accepted[0], 11), "sent before");
  for (std::size_t i = 0; i < peers.size(); ++i) {
    EXPECT_EQ(from[i], peers[i].address());
    accepted[i].send_all("served");
    EXPECT_EQ(receive(peers[i], 6), "served");
  }
  EXPECT_EQ(listener.stats().accepted, 5u);
  EXPECT_EQ(listener.stats().dropped, 0u);
  listener.stop();  // again: nothing
}

// The queue is the socket's, not the descriptor's.
TEST_F(ListenerTest, StoppedInAForkedChildItLeavesTheParentsQueueAlone) {
  ListenOptions options;
  options.backlog = 7;
  Listener listener(loop(), any_port, keep(), options);
  const RawSocket peer = RawSocket::connect_to(listener.address());
  const pid_t child = ::fork();
  if (child == 0) {
    listener.stop();
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(longest_queue(listener.address()), 7u);
  EXPECT_TRUE(accepts(1));
}

TEST_F(ListenerTest, StoppedItLeavesItsForkedChildrenTheQueueAsItWas) {
  ListenOptions options;
  options.backlog = 7;
  Listener listener(loop(), any_port, keep(), options);
  const SocketAddress address = listener.address();
  int stopped[2];
  ASSERT_EQ(::pipe2(stopped, O_CLOEXEC), 0);
  UniqueFd wait(stopped[0]);
  UniqueFd tell(stopped[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    tell.reset();
    char none;
    const bool heard = ::read(wait.get(), &none, 1) == 0;
    ::_exit(heard && longest_queue(address) == 7 ? 0 : 1);
  }
  listener.stop();
  tell.reset();
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(ListenerTest, StoppedItHandsOverABoundedNumberPerTurn) {
  Listener listener(loop(), any_port, keep());
  const std::vector<RawSocket> peers = connect_peers(listener.address(), 300);
  listener.stop();
  std::size_t most = 0;
  while (accepted.size() < 300) {
    const std::size_t before = accepted.size();
    loop().run_once(0ms);
    ASSERT_GT(accepted.size(), before);
    most = std::max(most, accepted.size() - before);
  }
  EXPECT_LE(most, 64u);
  loop().run_once(0ms);
  EXPECT_LE(run_for(20ms), 3u) << "and then it rests";
}

TEST_F(ListenerTest, PauseHoldsBackWhatAStoppedOneHasTaken) {
  Listener listener(loop(), any_port, keep());
  const std::vector<RawSocket> peers = connect_peers(listener.address(), 3);
  listener.pause();
  listener.stop();
  EXPECT_LE(run_for(20ms), 3u);
  EXPECT_TRUE(accepted.empty());
  EXPECT_EQ(listener.waiting(), 3u);
  listener.resume();
  EXPECT_TRUE(accepts(3));
}

TEST_F(ListenerTest, DestroyedAfterItWasStoppedItResetsWhatItHasNotHandedOver) {
  std::vector<RawSocket> peers;
  {
    Listener listener(loop(), any_port, keep());
    peers = connect_peers(listener.address(), 2);
    listener.stop();
  }
  for (RawSocket& peer : peers) EXPECT_TRUE(was_reset(peer));
}

TEST_F(ListenerTest, DestroyedByWhomItHandsOverToItHandsOverNoMore) {
  std::optional<Listener> listener;
  listener.emplace(loop(), any_port, [&](UniqueFd socket, const SocketAddress&) {
    accepted.emplace_back(std::move(socket));
    listener.reset();
  });
  std::vector<RawSocket> peers = connect_peers(listener->address(), 3);
  listener->stop();
  ASSERT_TRUE(accepts(1));
  for (std::size_t i = 1; i < 3; ++i) EXPECT_TRUE(was_reset(peers[i]));
  EXPECT_EQ(accepted.size(), 1u);
}

TEST_F(ListenerTest, StoppedInsideItsCallbackItHandsOverTheRest) {
  std::optional<Listener> listener;
  listener.emplace(loop(), any_port, [&](UniqueFd socket, const SocketAddress&) {
    accepted.emplace_back(std::move(socket));
    listener->stop();
  });
  const std::vector<RawSocket> peers = connect_peers(listener->address(), 5);
  EXPECT_TRUE(accepts(5));
}

TEST_F(ListenerTest, WhatItsCallbackThrowsAfterStopLeavesTheOthersTheirTurn) {
  int thrown = 0;
  loop().set_exception_hook([&](std::exception_ptr, std::string_view) { ++thrown; });
  Listener listener(loop(), any_port, [&](UniqueFd socket, const SocketAddress&) {
    if (thrown < 2) throw std::runtime_error("no");
    accepted.emplace_back(std::move(socket));
  });
  const std::vector<RawSocket> peers = connect_peers(listener.address(), 4);
  listener.stop();
  EXPECT_TRUE(accepts(2));
  EXPECT_EQ(thrown, 2);
}

TEST_F(ListenerTest, StoppedWithoutDescriptorsItResetsAndCountsWhatItCannotTake) {
  Faults faults;
  Listener listener(loop(), any_port, keep());
  std::vector<RawSocket> peers = connect_peers(listener.address(), 5);
  faults.on(Call::accept4, Fault::fail(EINTR));
  faults.on(Call::accept4, Fault::fail(ECONNABORTED));
  faults.on(Call::accept4, Fault::fail(EMFILE), {.skip = 2});
  listener.stop();
  EXPECT_EQ(listener.waiting(), 2u);
  EXPECT_EQ(listener.stats().dropped, 3u);
  EXPECT_EQ(listener.stats().aborted, 1u);
  ASSERT_TRUE(accepts(2));
  for (std::size_t i = 2; i < 5; ++i) EXPECT_TRUE(was_reset(peers[i]));
}

TEST_F(ListenerTest, StoppingOneOfTwoOnAPortResetsNobody) {
  ListenOptions options;
  options.reuse_port = true;
  std::size_t by_first = 0;
  std::size_t by_second = 0;
  const auto count = [this](std::size_t& n) {
    return [this, &n](UniqueFd socket, const SocketAddress&) {
      ++n;
      accepted.emplace_back(std::move(socket));
    };
  };
  Listener first(loop(), any_port, count(by_first), options);
  Listener second(loop(), first.address(), count(by_second), options);
  std::vector<RawSocket> peers = connect_peers(first.address(), 100);
  first.stop();
  // Whoever connects from now on goes to the second.
  for (RawSocket& late : connect_peers(second.address(), 20)) peers.push_back(std::move(late));
  ASSERT_TRUE(accepts(120));
  EXPECT_GT(by_first, 0u);
  EXPECT_GE(by_second, 20u);
  for (RawSocket& socket : accepted) socket.send_all("x");
  for (RawSocket& peer : peers) EXPECT_EQ(receive(peer, 1), "x");
}

TEST_F(ListenerTest, ClosingOneOfTwoOnAPortResetsItsOwnQueueOnly) {
  ListenOptions options;
  options.reuse_port = true;
  std::optional<Listener> first(std::in_place, loop(), any_port, keep(), options);
  Listener second(loop(), first->address(), keep(), options);
  first->pause();
  auto peers = connect_peers(first->address(), 64);
  first.reset();
  std::size_t reset = 0;
  for (RawSocket& peer : peers) {
    peer.receive_some();
    reset += peer.last_error() == ECONNRESET;
  }
  EXPECT_GT(reset, 0u);
  EXPECT_TRUE(accepts(64 - reset));
}

TEST_F(ListenerTest, DestroyedInsideItsCallbackItAcceptsNoMore) {
  std::optional<Listener> listener;
  listener.emplace(loop(), any_port, [&](UniqueFd socket, const SocketAddress&) {
    accepted.emplace_back(std::move(socket));
    listener.reset();
  });
  auto peers = connect_peers(listener->address(), 3);
  ASSERT_TRUE(accepts(1));
  run_for(20ms);
  EXPECT_EQ(accepted.size(), 1u);
  peers[0].send_all("lives on");
  EXPECT_EQ(receive(accepted[0], 8), "lives on");
  EXPECT_TRUE(was_reset(peers[1]));
  EXPECT_TRUE(was_reset(peers[2]));
}

TEST_F(ListenerTest, ItsCallbackMayLetTheSocketGoAtOnce) {
  int calls = 0;
  Listener listener(loop(), any_port, [&](UniqueFd, const SocketAddress&) { ++calls; });
  auto peers = connect_peers(listener.address(), 3);
  ASSERT_TRUE(run_until([&] { return calls == 3; }));
  for (RawSocket& peer : peers) EXPECT_TRUE(sees_end(peer));
}

TEST_F(ListenerTest, WhatItsCallbackThrowsGoesToTheHookAndItAcceptsOn) {
  int thrown = 0;
  loop().set_exception_hook([&](std::exception_ptr, std::string_view) { ++thrown; });
  Listener listener(loop(), any_port, [&](UniqueFd socket, const SocketAddress&) {
    if (thrown < 2) throw std::runtime_error("no");
    accepted.emplace_back(std::move(socket));
  });
  auto peers = connect_peers(listener.address(), 5);
  ASSERT_TRUE(accepts(3));
  EXPECT_EQ(thrown, 2);
  EXPECT_EQ(listener.stats().accepted, 5u);
}

TEST_F(ListenerTest, MovedItGoesOnAcceptingAndAnswering) {
  Listener first(loop(), any_port, keep());
  const SocketAddress address = first.address();
  Listener second(std::move(first));
  EXPECT_EQ(second.address(), address);
  RawSocket peer = RawSocket::connect_to(address);
  EXPECT_TRUE(accepts(1));
  EXPECT_EQ(second.stats().accepted, 1u);
}

TEST_F(ListenerTest, AssignedFromAnotherItStopsListeningWhereItDid) {
  Listener listener(loop(), any_port, keep());
  const SocketAddress before = listener.address();
  listener = Listener(loop(), any_port, keep());
  EXPECT_NE(listener.address(), before);
  EXPECT_EQ(listening_descriptor(before), -1);
  RawSocket peer = RawSocket::connect_to(listener.address());
  EXPECT_TRUE(accepts(1));
}

TEST_F(ListenerTest, AssignedFromOneThatIsStillThereItStopsListeningToo) {
  Listener listener(loop(), any_port, keep());
  Listener other(loop(), any_port, keep());
  const SocketAddress before = listener.address();
  listener = std::move(other);
  EXPECT_EQ(listening_descriptor(before), -1);
  Listener& same = listener;
  listener = std::move(same);
  RawSocket peer = RawSocket::connect_to(listener.address());
  EXPECT_TRUE(accepts(1));
}

TEST_F(ListenerTest, TwoOnDifferentPortsDoNotDisturbEachOther) {
  Listener first(loop(), any_port, keep());
  Listener second(loop(), any_port, keep());
  first.pause();
  RawSocket one = RawSocket::connect_to(first.address());
  RawSocket two = RawSocket::connect_to(second.address());
  ASSERT_TRUE(accepts(1));
  EXPECT_EQ(from[0], two.address());
  first.resume();
  EXPECT_TRUE(accepts(2));
}

TEST_F(ListenerTest, AConnectionThatComesAloneCostsOneAcceptCall) {
  Listener listener(loop(), any_port, keep());
  loop().run_once(0ms);
  Faults faults;
  // What comes in the iteration after another one is taken for a queue: not so these.
  for (std::size_t n = 1; n <= 3; ++n) {
    RawSocket peer = RawSocket::connect_to(listener.address());
    ASSERT_TRUE(accepts(n));
    loop().run_once(0ms);
  }
  EXPECT_EQ(faults.count(Call::accept4), 3u);
}

TEST_F(ListenerTest, OneInEachTurnIsSeldomAskedForAnother) {
  Listener listener(loop(), any_port, keep());
  loop().run_once(0ms);
  constexpr std::size_t kTurns = 300;
  std::optional<Faults> faults;
  for (std::size_t n = 1; n <= 2 * kTurns; ++n) {
    if (n == kTurns + 1) faults.emplace();  // by now it has learnt
    const RawSocket peer = RawSocket::connect_to(listener.address());
    ASSERT_TRUE(accepts(n));
  }
  EXPECT_LE(faults->count(Call::accept4), kTurns + kTurns / 20)
      << "EAGAIN costs more than a connection";
}

TEST_F(ListenerTest, InAStormOneTurnTakesABoundedNumber) {
  Listener listener(loop(), any_port, keep());
  const auto peers = connect_peers(listener.address(), 500);
  std::size_t most = 0;
  int turns = 0;
  for (; accepted.size() < 500 && turns < 100; ++turns) {
    const std::size_t before = accepted.size();
    loop().run_once(0ms);
    most = std::max(most, accepted.size() - before);
  }
  EXPECT_EQ(accepted.size(), 500u);
  EXPECT_LE(most, 64u);
  EXPECT_LE(turns, 20) << "a queue is worked off in batches, not one by one";
}

}  // namespace
}  // namespace millrace::test
