// Server: listening, accepting, asking. Its handlers, options, limits, draining and its end have
// files of their own.
#include <millrace/connection.h>
#include <millrace/server.h>

#include "support/loop_test.h"
#include "support/sockets.h"

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

struct ServerTest : LoopTest {
  const SocketAddress any_port = SocketAddress::loopback(0);
  bool opens(int n) {
    return run_until([this, n] { return recorder.opened == n; });
  }
  bool closes(int n) {
    return run_until([this, n] { return recorder.closed == n; });
  }
};

TEST_F(ServerTest, ListensOnTheAddressInATextAndAnswersWhere) {
  Server server(loop(), recorder);
  EXPECT_EQ(server.address(), SocketAddress());
  server.listen("127.0.0.1:0");
  EXPECT_NE(server.address().port(), 0);
  EXPECT_EQ(server.address().host(), "127.0.0.1");
  RawSocket peer = RawSocket::connect_to(server.address());
  EXPECT_TRUE(opens(1));
}

TEST_F(ServerTest, ListensOnFurtherAddressesAndTellsTheFirst) {
  Server server(loop(), recorder);
  server.listen(any_port);
  const SocketAddress first = server.address();
  const ReservedPort reserved(SocketAddress::loopback_v6(0));
  const SocketAddress second = reserved.address();
  server.listen(second);
  EXPECT_EQ(server.address(), first);
  RawSocket one = RawSocket::connect_to(first);
  RawSocket two = RawSocket::connect_to(second);
  EXPECT_TRUE(opens(2));
  EXPECT_EQ(server.connection_count(), 2u);
}

TEST_F(ServerTest, AFurtherAddressThatIsTakenLeavesTheOthersAsTheyAre) {
  Server server(loop(), recorder);
  server.listen(any_port);
  EXPECT_THROW(server.listen(server.address()), std::system_error);
  RawSocket peer = RawSocket::connect_to(server.address());
  EXPECT_TRUE(opens(1));
}

TEST_F(ServerTest, ListensAgainAfterItHasStoppedAccepting) {
  Server server(loop(), recorder);
  server.listen(any_port);
  const SocketAddress address = server.address();
  RawSocket before = RawSocket::connect_to(address);
  ASSERT_TRUE(opens(1));
  server.stop_accepting();
  EXPECT_EQ(server.address(), SocketAddress());
  server.listen(address);
  EXPECT_EQ(server.address(), address);
  RawSocket after = RawSocket::connect_to(address);
  EXPECT_TRUE(opens(2));
  EXPECT_EQ(server.stats().accepted, 2u);
}

TEST_F(ServerTest, StopAcceptingClosesTheListenersAndLeavesConnectionsOpen) {
  recorder.when_data = send_back;
  Server server(loop(), recorder);
  server.listen(any_port);
  const SocketAddress address = server.address();
  RawSocket peer = RawSocket::connect_to(address);
  ASSERT_TRUE(opens(1));
  server.stop_accepting();
  EXPECT_THROW(RawSocket::connect_to(address), std::runtime_error);
  peer.send_all("still here");
  EXPECT_EQ(receive(peer, 10), "still here");
  EXPECT_EQ(server.connection_count(), 1u);
}

TEST_F(ServerTest, StopAcceptingServesWhoWasWaitingToBeAccepted) {
  recorder.when_data = send_back;
  Server server(loop(), recorder);
  server.listen(any_port);
  std::vector<RawSocket> peers = connect_peers(server.address(), 100);
  for (RawSocket& peer : peers) peer.send_all("request");
  server.stop_accepting();
  EXPECT_EQ(recorder.opened, 0) << "from inside the call";
  for (RawSocket& peer : peers) EXPECT_EQ(receive(peer, 7), "request");
  EXPECT_EQ(server.stats().accepted, 100u);
  EXPECT_EQ(server.connection_count(), 100u);
}

TEST_F(ServerTest, DestroyedItResetsWhoWasStillWaiting) {
  std::optional<Server> server(std::in_place, loop(), recorder);
  server->listen(any_port);
  std::vector<RawSocket> peers = connect_peers(server->address(), 3);
  server->stop_accepting();
  server.reset();
  for (RawSocket& peer : peers) {
    EXPECT_FALSE(sees_end(peer));
    EXPECT_EQ(peer.last_error(), ECONNRESET);
  }
  EXPECT_EQ(recorder.opened, 0);
}

TEST_F(ServerTest, StopAcceptingTwiceIsStoppingOnce) {
  Server server(loop(), recorder);
  server.listen(any_port);
  RawSocket peer = RawSocket::connect_to(server.address());
  ASSERT_TRUE(opens(1));
  server.stop_accepting();
  server.stop_accepting();
  EXPECT_EQ(server.stats().accepted, 1u);
  EXPECT_EQ(server.connection_count(), 1u);
}

TEST_F(ServerTest, ARestartedOneGetsItsPortBackWhileOldConnectionsAreInTimeWait) {
  recorder.when_open = [](Connection& c) { c.close(); };
  SocketAddress address;
  {
    Server server(loop(), recorder);
    server.listen(any_port);
    address = server.address();
    RawSocket peer = RawSocket::connect_to(address);
    EXPECT_TRUE(sees_end(peer));
    peer.close();
    ASSERT_TRUE(closes(1));  // we have closed first: TIME_WAIT is on our side
  }
  Server server(loop(), recorder);
  server.listen(address);
  EXPECT_EQ(server.address(), address);
}

TEST_F(ServerTest, CountsWhatIsOpen) {
  Server server(loop(), recorder);
  EXPECT_EQ(server.connection_count(), 0u);
  server.listen(any_port);
  auto peers = connect_peers(server.address(), 3);
  ASSERT_TRUE(opens(3));
  EXPECT_EQ(server.connection_count(), 3u);
  peers[1].close();
  ASSERT_TRUE(closes(1));
  EXPECT_EQ(server.connection_count(), 2u);
}

TEST_F(ServerTest, StatsCountEveryConnectionAndSurviveTheListeners) {
  Faults faults;
  Server server(loop(), recorder);
  server.listen(any_port);
  server.listen(any_port);
  faults.on(Call::accept4, Fault::fail(ECONNABORTED), {.times = 2});
  const auto peers = connect_peers(server.address(), 3);
  ASSERT_TRUE(opens(3));
  for (int i = 0; i < 2; ++i) {
    const ServerStats stats = server.stats();
    EXPECT_EQ(stats.accepted, 3u);
    EXPECT_EQ(stats.aborted, 2u);
    EXPECT_EQ(stats.refused, 0u);
    EXPECT_EQ(stats.exhausted, 0u);
    server.stop_accepting();
  }
}

TEST_F(ServerTest, ForEachVisitsEveryOpenConnectionOnce) {
  Server server(loop(), recorder);
  server.listen(any_port);
  const auto peers = connect_peers(server.address(), 4);
  ASSERT_TRUE(opens(4));
  recorder.last->close();
  std::set<Connection*> visited;
  server.for_each([&](Connection& c) {
    EXPECT_TRUE(c.is_open()) << "one that was closed";
    EXPECT_TRUE(visited.insert(&c).second) << "visited twice";
  });
  EXPECT_EQ(visited.size(), 3u);
}

TEST_F(ServerTest, ForEachMayCloseOrAbortAnyOfThem) {
  Server server(loop(), recorder);
  server.listen(any_port);
  auto peers = connect_peers(server.address(), 6);
  ASSERT_TRUE(opens(6));
  std::vector<Connection*> all(recorder.live.begin(), recorder.live.end());
  int visits = 0;
  server.for_each([&](Connection& c) {
    // The first visit ends all the others, itself included.
    ++visits;
    for (Connection* other : all) {
      if (other == &c) {
        c.abort();
      } else {
        other->close();
      }
    }
  });
  EXPECT_EQ(visits, 1);
  EXPECT_EQ(recorder.closed, 0) << "on_close from inside close()";
  for (RawSocket& peer : peers) sees_end(peer);
  peers.clear();
  EXPECT_TRUE(closes(6));
}

TEST_F(ServerTest, ABroadcastReachesEverybody) {
  Server server(loop(), recorder);
  server.listen(any_port);
  auto peers = connect_peers(server.address(), 5);
  ASSERT_TRUE(opens(5));
  const SharedBytes news = SharedBytes(std::string(10'000, 'n'));
  server.for_each([&](Connection& c) { c.send(news); });
  for (RawSocket& peer : peers) EXPECT_EQ(receive(peer, 10'000), std::string(10'000, 'n'));
}

TEST_F(ServerTest, AnExceptionOutOfAVisitorReachesTheCaller) {
  Server server(loop(), recorder);
  server.listen(any_port);
  RawSocket peer = RawSocket::connect_to(server.address());
  ASSERT_TRUE(opens(1));
  EXPECT_THROW(server.for_each([](Connection&) { throw std::runtime_error("stop"); }),
               std::runtime_error);
  EXPECT_EQ(server.connection_count(), 1u);
}

TEST_F(ServerTest, TwoServersOnOneLoopKeepTheirConnectionsApart) {
  Recorder other;
  Server first(loop(), recorder);
  first.listen(any_port);
  RawSocket one = RawSocket::connect_to(first.address());
  {
    Server second(loop(), other);
    second.listen(any_port);
    RawSocket two = RawSocket::connect_to(second.address());
    ASSERT_TRUE(run_until([&] { return recorder.opened == 1 && other.opened == 1; }));
  }
  EXPECT_EQ(other.closed, 1);
  EXPECT_EQ(recorder.closed, 0);
  EXPECT_EQ(first.connection_count(), 1u);
}

TEST_F(ServerTest, AnEmptySendSendsNothingAndEndsNothing) {
  Faults faults;
  recorder.when_open = [](Connection& c) {
    EXPECT_TRUE(c.send(""));
    EXPECT_TRUE(c.send(SharedBytes()));
    EXPECT_TRUE(c.send(std::string()));
  };
  Server server(loop(), recorder);
  server.listen(any_port);
  RawSocket peer = RawSocket::connect_to(server.address());
  ASSERT_TRUE(opens(1));
  EXPECT_EQ(faults.count(Call::send) + faults.count(Call::sendmsg), 0u);
  run_for(20ms);
  peer.receive_some();
  EXPECT_EQ(peer.last_error(), EAGAIN);
  EXPECT_EQ(recorder.last->queued_bytes(), 0u);
}

TEST_F(ServerTest, MorePiecesThanOneCallTakesArriveInOrder) {
  // Too large to be copied together, so that each is a piece of its own: IOV_MAX is 1,024.
  std::string expected;
  recorder.when_open = [&](Connection& c) {
    for (int i = 0; i < 5000; ++i) {
      std::string piece(4096, static_cast<char>('a' + i % 26));
      expected += piece;
      c.send(SharedBytes(std::move(piece)));
    }
  };
  Server server(loop(), recorder);
  server.listen(any_port);
  RawSocket peer = RawSocket::connect_to(server.address());
  ASSERT_TRUE(opens(1));
  EXPECT_TRUE(receive(peer, expected.size()) == expected);
  EXPECT_EQ(recorder.closed, 0);
}

TEST_F(ServerTest, InsideOnOpenTheConnectionIsNotCountedAsRefused) {
  std::optional<Server> server;
  std::uint64_t refused = 99;
  recorder.when_open = [&](Connection&) { refused = server->stats().refused; };
  server.emplace(loop(), recorder);
  server->listen(any_port);
  RawSocket peer = RawSocket::connect_to(server->address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(refused, 0u);
  server.reset();
}

}  // namespace
}  // namespace millrace::test
