// A server at its limits: of connections, of descriptors, of the kernel's memory, of fairness.
#include <millrace/connection.h>
#include <millrace/error.h>
#include <millrace/server.h>

#include "support/captured_log.h"
#include "support/loop_test.h"
#include "support/sockets.h"
#include "support/watch_calls.h"

#include <memory>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct ServerLimitsTest : LoopTest {
  void SetUp() override {
    LoopTest::SetUp();
    recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
      c.send(in.view());
      in.consume_all();
    };
  }

  static ServerOptions at_most(std::size_t connections) {
    ServerOptions options;
    options.max_connections = connections;
    return options;
  }
  bool opens(int n) {
    return run_until([this, n] { return recorder.opened == n; });
  }
  bool closes(int n) {
    return run_until([this, n] { return recorder.closed == n; });
  }
  void expect_echo(RawSocket& peer) {
    peer.send_all("hello");
    EXPECT_EQ(receive(peer, 5), "hello");
  }

  const SocketAddress any_port = any_address();
};

TEST_F(ServerLimitsTest, MoreThanMaxConnectionsWaitInTheKernelsQueue) {
  Server server(loop(), recorder, at_most(3));
  server.listen(any_port);
  auto peers = connect_peers(server.address(), 5);
  ASSERT_TRUE(opens(3));
  EXPECT_LE(run_for(50ms), 5u);
  EXPECT_EQ(recorder.opened, 3);
  EXPECT_EQ(server.connection_count(), 3u);
  peers[0].close();
  ASSERT_TRUE(opens(4)) << "one has left, one waits";
  run_for(20ms);
  EXPECT_EQ(recorder.opened, 4);
  peers[1].close();
  ASSERT_TRUE(opens(5));
  expect_echo(peers[4]);
}

TEST_F(ServerLimitsTest, MaxConnectionsHoldsOverAllListenersAndIsExactAfterChurn) {
  Server server(loop(), recorder, at_most(10));
  server.listen(any_port);
  const ReservedPort reserved;
  const SocketAddress second = reserved.address();
  server.listen(second);
  std::size_t most = 0;
  recorder.when_open = [&](Connection&) { most = std::max(most, server.connection_count()); };
  for (int round = 1; round <= 5; ++round) {
    auto peers = connect_peers(server.address(), 15);
    auto others = connect_peers(second, 15);
    for (RawSocket& peer : peers) peer.end();  // each leaves as soon as it is served
    for (RawSocket& peer : others) peer.end();
    ASSERT_TRUE(closes(30 * round));
  }
  EXPECT_EQ(most, 10u);
  EXPECT_EQ(server.connection_count(), 0u);
  EXPECT_EQ(server.stats().accepted, 150u);
}

TEST_F(ServerLimitsTest, AConnectionThatEndsInsideOnOpenLeavesItsPlace) {
  recorder.when_open = [&](Connection& c) { c.abort(); };
  Server server(loop(), recorder, at_most(1));
  server.listen(any_port);
  const auto peers = connect_peers(server.address(), 5);
  EXPECT_TRUE(closes(5));
}

TEST_F(ServerLimitsTest, ListeningWhileItIsFullAcceptsNobodyYet) {
  Server server(loop(), recorder, at_most(1));
  server.listen(any_port);
  RawSocket first = RawSocket::connect_to(server.address());
  ASSERT_TRUE(opens(1));
  const ReservedPort reserved;
  const SocketAddress second = reserved.address();
  server.listen(second);
  RawSocket waiting = RawSocket::connect_to(second);
  run_for(20ms);
  EXPECT_EQ(recorder.opened, 1);
  first.close();
  EXPECT_TRUE(opens(2));
}

TEST_F(ServerLimitsTest, WithMaxConnectionsZeroNobodyIsAccepted) {
  Server server(loop(), recorder, at_most(0));
  server.listen(any_port);
  RawSocket peer = RawSocket::connect_to(server.address());
  EXPECT_LE(run_for(50ms), 5u);
  EXPECT_EQ(recorder.opened, 0);
}

TEST_F(ServerLimitsTest, MaxConnectionsHoldsForThoseWhoWereQueuedWhenAcceptingStopped) {
  ServerOptions options;
  options.max_connections = 2;
  Server server(loop(), recorder, options);
  server.listen(any_address());
  std::vector<RawSocket> peers = connect_peers(server.address(), 5);
  server.stop_accepting();
  for (int gone = 0; gone < 5; ++gone) {
    const int open = std::min(gone + 2, 5);
    ASSERT_TRUE(run_until([&] { return recorder.opened == open; }));
    run_for(5ms);
    EXPECT_EQ(recorder.opened, open);
    EXPECT_LE(server.connection_count(), 2u);
    peers[static_cast<std::size_t>(gone)].close();
  }
  ASSERT_TRUE(run_until([&] { return recorder.closed == 5; }));
  EXPECT_EQ(server.stats().accepted, 5u);
  EXPECT_EQ(server.stats().dropped, 0u);
}

TEST_F(ServerLimitsTest, OutOfDescriptorsItServesOnAndAcceptsWhenOneIsFree) {
  CapturedLog log;
  Server server(loop(), recorder);
  server.listen(any_port);
  auto peers = connect_peers(server.address(), 6);
  {
    const DescriptorLimit limit(2);
    ASSERT_TRUE(opens(2));
    ASSERT_TRUE(run_until([&] { return server.stats().exhausted > 0; }));
    expect_echo(peers[0]);
    expect_echo(peers[1]);
    EXPECT_EQ(recorder.opened, 2);
    peers[0].end();  // its descriptor becomes free, and is taken by one that waits
    ASSERT_TRUE(opens(3));
    expect_echo(peers[2]);
  }
  ASSERT_TRUE(opens(6));
  for (std::size_t i = 1; i < peers.size(); ++i) expect_echo(peers[i]);
  EXPECT_TRUE(log.contains("Too many open files"));
}

TEST_F(ServerLimitsTest, OutOfDescriptorsItDoesNotSpin) {
  CapturedLog log;
  Server server(loop(), recorder);
  server.listen(any_port);
  const auto peers = connect_peers(server.address(), 3);
  const DescriptorLimit limit(0);
  ASSERT_TRUE(run_until([&] { return server.stats().exhausted > 0; }));
  // Attempts after 10, 20, 40, 80 ms and so on: a timer and an accept for each.
  EXPECT_LE(run_for(300ms), 40u);
  EXPECT_LE(server.stats().exhausted, 10u);
  EXPECT_EQ(recorder.opened, 0);
}

TEST_F(ServerLimitsTest, AConnectionThatEndsEndsTheWaitForDescriptors) {
  CapturedLog log;
  Faults faults;
  Server server(loop(), recorder);
  server.listen(any_port);
  RawSocket leaves = RawSocket::connect_to(server.address());
  ASSERT_TRUE(opens(1));
  faults.on(Call::accept4, Fault::fail(EMFILE), {.times = 8});
  const RawSocket waits = RawSocket::connect_to(server.address());
  ASSERT_EQ(watch_calls(loop(), faults, Call::accept4, 8).size(), 8u);
  leaves.reset();
  // The next attempt of its own would be a second away: only the end of the other can be the cause.
  loop().run_once(0ms);
  EXPECT_EQ(recorder.closed, 1);
  loop().run_once(0ms);
  EXPECT_EQ(recorder.opened, 2);
}

TEST_F(ServerLimitsTest, ASocketIsClosedOnceWhateverCloseSays) {
  Server server(loop(), recorder);
  server.listen(any_port);
  for (const int error : {EINTR, EIO}) {
    RawSocket peer = RawSocket::connect_to(server.address());
    ASSERT_TRUE(run_until([&] { return recorder.last != nullptr; }));
    Faults faults;
    faults.on(Call::close, Fault::fail(error));
    recorder.last->abort();
    ASSERT_TRUE(run_until([&] { return recorder.last == nullptr; }));
    EXPECT_EQ(faults.count(Call::close), 1u);
  }
  EXPECT_EQ(recorder.reasons, std::vector(2, make_error_code(error::aborted)));
}

TEST_F(ServerLimitsTest, ManyShortConnectionsWithFewDescriptorsLeakNone) {
  Server server(loop(), recorder);
  server.listen(any_port);
  const DescriptorLimit limit(4);  // the peer, its connection, and two more
  for (int i = 1; i <= 2000; ++i) {
    RawSocket peer = RawSocket::connect_to(server.address());
    peer.send_all("hello");
    ASSERT_EQ(receive(peer, 5), "hello") << "connection " << i;
    peer.reset();  // leaves no TIME_WAIT
    ASSERT_TRUE(closes(i));
  }
  EXPECT_EQ(server.connection_count(), 0u);
  EXPECT_EQ(server.stats().exhausted, 0u);
}

class NoRoomInEpollTest : public ServerLimitsTest, public ::testing::WithParamInterface<int> {};

TEST_P(NoRoomInEpollTest, CostsTheNewConnectionOnly) {
  CapturedLog log;
  Server server(loop(), recorder);
  server.listen(any_port);
  RawSocket before = RawSocket::connect_to(server.address());
  ASSERT_TRUE(opens(1));
  {
    Faults faults;
    faults.on(Call::epoll_ctl, Fault::fail(GetParam()));
    RawSocket refused = RawSocket::connect_to(server.address());
    EXPECT_TRUE(sees_end(refused));
  }
  RawSocket after = RawSocket::connect_to(server.address());
  ASSERT_TRUE(opens(2));
  expect_echo(before);
  expect_echo(after);
  EXPECT_EQ(server.stats().refused, 1u);
  EXPECT_EQ(server.stats().accepted, 3u);
  EXPECT_EQ(server.connection_count(), 2u);
  EXPECT_EQ(log.lines(log::Level::warning).size(), 1u);
}

TEST_P(NoRoomInEpollTest, AlsoLetsGoOfTheHandlerThatAFactoryMade) {
  CapturedLog log;
  const auto alive = std::make_shared<int>();
  struct Handler : Recorder {
    explicit Handler(std::shared_ptr<int> h) : held(std::move(h)) {}
    std::shared_ptr<int> held;
  };
  Server server(loop(), [&]() -> std::unique_ptr<ConnectionHandler> {
    return std::make_unique<Handler>(alive);
  });
  server.listen(any_port);
  Faults faults;
  faults.on(Call::epoll_ctl, Fault::fail(GetParam()));
  RawSocket refused = RawSocket::connect_to(server.address());
  EXPECT_TRUE(sees_end(refused));
  EXPECT_EQ(alive.use_count(), 1);
}

INSTANTIATE_TEST_SUITE_P(Errors, NoRoomInEpollTest, ::testing::Values(ENOMEM, ENOSPC),
                         [](const auto& test) { return strerrorname_np(test.param); });

TEST_F(ServerLimitsTest, RefusalsAreLoggedOncePerSecondAtTheMost) {
  CapturedLog log;
  Faults faults;
  Server server(loop(), recorder);
  server.listen(any_port);
  faults.on(Call::epoll_ctl, Fault::fail(ENOSPC), {.times = 50});
  const auto before = loop().services().now_ms();
  const auto peers = connect_peers(server.address(), 50);
  ASSERT_TRUE(run_until([&] { return server.stats().refused == 50; }));
  const auto took = loop().services().now_ms() - before;
  EXPECT_GE(log.lines(log::Level::warning).size(), 1u);
  EXPECT_LE(log.lines(log::Level::warning).size(), 1 + took / 1000 + 1);
}

TEST_F(ServerLimitsTest, AStormOfNewConnectionsDoesNotKeepTheEstablishedWaiting) {
  Server server(loop(), recorder);
  server.listen(any_port);
  auto established = connect_peers(server.address(), 50);
  ASSERT_TRUE(opens(50));
  const auto storm = connect_peers(server.address(), 800);
  loop().run_once(0ms);
  loop().run_once(0ms);
  // Every 16 connections the established ask something: the answer comes in the same iteration or
  // in the next, though hundreds wait to be accepted.
  for (int turn = 0; turn < 5; ++turn) {
    for (RawSocket& peer : established) peer.send_all("hello");
    const int before = recorder.opened;
    loop().run_once(0ms);
    loop().run_once(0ms);
    for (RawSocket& peer : established) ASSERT_EQ(peer.receive_some(), "hello");
    EXPECT_LE(recorder.opened - before, 2 * 64);
  }
  EXPECT_TRUE(opens(850));
}

TEST_F(ServerLimitsTest, AConnectionThatWasResetBeforeItWasAcceptedIsDeliveredAndClosed) {
  Server server(loop(), recorder);
  server.listen(any_port);
  recorder.when_data = [](Connection&, ReceiveBuffer& in) {
    EXPECT_EQ(in.view().text(), "hi");
    in.consume_all();
  };
  RawSocket peer = RawSocket::connect_to(server.address());
  const SocketAddress address = peer.address();
  recorder.when_open = [&](Connection& c) { EXPECT_EQ(c.peer(), address); };
  peer.send_all("hi");
  peer.reset();
  ASSERT_TRUE(closes(1));
  EXPECT_EQ(recorder.events, (std::vector<std::string>{"open", "data", "close"}));
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
}

}  // namespace
}  // namespace millrace::test
