// Server::adopt(): connections on sockets that were made elsewhere.
#include <millrace/unix_connection.h>

#include "support/allocations.h"
#include "support/one_peer_test.h"
#include "support/socket_pair.h"
#include "support/sockets.h"

#include <cerrno>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::test {
namespace {

struct ServerAdoptTest : OnePeerTest {
  void start(const ServerOptions& options = {}) {
    server = std::make_unique<Server>(loop(), recorder, options);
  }
  // Two ends of a TCP connection.
  static std::pair<RawSocket, RawSocket> tcp_pair() {
    RawSocket listener = RawSocket::listen();
    RawSocket one = RawSocket::connect_to(listener.address());
    return {std::move(one), listener.accept()};
  }
  static UniqueFd copy_of(int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }
  bool opens(int n) {
    return run_until([&] { return recorder.opened == n; });
  }
};

TEST_F(ServerAdoptTest, ServesATcpConnectionThatSomebodyElseAccepted) {
  recorder.when_data = send_back;
  start();
  auto [one, other] = tcp_pair();
  other.send_all("early");
  EXPECT_FALSE(server->adopt(copy_of(one.fd())));
  one.close();
  EXPECT_EQ(recorder.opened, 0) << "from inside the call";
  ASSERT_TRUE(opens(1));
  EXPECT_EQ(connection().peer(), other.address());
  EXPECT_EQ(receive(other, 5), "early");
  EXPECT_EQ(server->stats().adopted, 1u);
  EXPECT_EQ(server->stats().accepted, 0u);
  EXPECT_EQ(server->connection_count(), 1u);
}

TEST_F(ServerAdoptTest, ServesOneEndOfASocketPairAndMakesItNonBlocking) {
  start();
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
  peer = RawSocket(UniqueFd(fds[1]));
  EXPECT_FALSE(server->adopt(UniqueFd(fds[0])));
  ASSERT_TRUE(opens(1));
  EXPECT_TRUE(::fcntl(fds[0], F_GETFL) & O_NONBLOCK);
  EXPECT_TRUE(::fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
  EXPECT_EQ(peer_credentials(connection())->pid, ::getpid());
  peer.send_all("hello");
  EXPECT_TRUE(run_until([&] { return recorder.received == "hello"; }));
}

TEST_F(ServerAdoptTest, WhatIsNoConnectedStreamSocketIsClosedAndTheReasonTold) {
  start();
  EXPECT_EQ(server->adopt(UniqueFd()), std::errc::bad_file_descriptor);
  EXPECT_EQ(server->adopt(UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC))),
            std::errc::not_a_socket);
  SocketPair datagrams(SOCK_DGRAM);
  EXPECT_EQ(server->adopt(copy_of(datagrams.ours())), std::errc::wrong_protocol_type);
  const RawSocket listener = RawSocket::listen();
  EXPECT_EQ(server->adopt(copy_of(listener.fd())), std::errc::invalid_argument);
  EXPECT_EQ(server->adopt(UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))),
            std::errc::not_connected);
  run_for(5ms);
  EXPECT_EQ(recorder.opened, 0);
  EXPECT_EQ(server->stats().adopted, 0u);
}

TEST_F(ServerAdoptTest, AboveTheMostConnectionsItWaitsUntilOneLeaves) {
  ServerOptions options;
  options.max_connections = 2;
  start(options);
  std::vector<SocketPair> pairs(4);
  for (SocketPair& pair : pairs) EXPECT_FALSE(server->adopt(UniqueFd(pair.take_ours())));
  ASSERT_TRUE(opens(2));
  EXPECT_LE(run_for(20ms), 5u) << "waiting keeps the loop busy";
  EXPECT_EQ(recorder.opened, 2);
  pairs[0].close_peer();
  ASSERT_TRUE(opens(3));
  pairs[1].close_peer();
  ASSERT_TRUE(opens(4));
}

TEST_F(ServerAdoptTest, WhereSomeAlwaysWaitThoseThatWereServedTakeNoMemory) {
  constexpr int kRounds = 500;
  recorder.when_close = [this](Connection&, std::error_code) { recorder.events.clear(); };
  ServerOptions options;
  options.max_connections = 1;
  start(options);
  SocketPair served;
  EXPECT_FALSE(server->adopt(UniqueFd(served.take_ours())));
  ASSERT_TRUE(opens(1));
  SocketPair waits;
  EXPECT_FALSE(server->adopt(UniqueFd(waits.take_ours())));
  // The next one is there before the one that is served goes. How much memory that took.
  const auto serve = [&] {
    const Allocations allocations;
    for (int i = 0; i < kRounds; ++i) {
      SocketPair next;
      EXPECT_FALSE(server->adopt(UniqueFd(next.take_ours())));
      served = std::exchange(waits, std::move(next));
      EXPECT_TRUE(opens(recorder.opened + 1));
    }
    return allocations.bytes();
  };
  serve();
  const auto taken = serve() + serve() + serve();
  EXPECT_LE(taken, 200u * 1024) << "some bytes for each are the test's own";
}

TEST_F(ServerAdoptTest, HundredsAtOnceAreOpenedAndTheLoopGoesOnMeanwhile) {
  start();
  std::vector<SocketPair> pairs(200);
  for (SocketPair& pair : pairs) EXPECT_FALSE(server->adopt(UniqueFd(pair.take_ours())));
  loop().run_once(0ms);
  EXPECT_LT(recorder.opened, 200);
  ASSERT_TRUE(opens(200));
}

TEST_F(ServerAdoptTest, ClosingReachesThePeerThoughTheSocketHasCopies) {
  start();
  auto [one, other] = tcp_pair();
  EXPECT_FALSE(server->adopt(copy_of(one.fd())));
  ASSERT_TRUE(opens(1));
  connection().send("bye");
  connection().close();
  EXPECT_EQ(receive(other, 3), "bye");
  EXPECT_TRUE(sees_end(other));
  other.close();
  ASSERT_TRUE(until_closed());
  EXPECT_LE(run_for(20ms), 5u) << "what happens to the copy keeps the loop awake";
}

TEST_F(ServerAdoptTest, AbortingResetsThePeerThoughTheSocketHasCopies) {
  start();
  auto [one, other] = tcp_pair();
  EXPECT_FALSE(server->adopt(copy_of(one.fd())));
  ASSERT_TRUE(opens(1));
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_FALSE(sees_end(other));
  EXPECT_EQ(other.last_error(), ECONNRESET);
}

TEST_F(ServerAdoptTest, ThoseThatWaitWhenItIsDestroyedAreReset) {
  start();
  auto [one, other] = tcp_pair();
  EXPECT_FALSE(server->adopt(copy_of(one.fd())));
  server.reset();
  EXPECT_FALSE(sees_end(other));
  EXPECT_EQ(other.last_error(), ECONNRESET);
  EXPECT_EQ(recorder.opened, 0);
}

TEST_F(ServerAdoptTest, DrainingEndsThemToo) {
  start();
  SocketPair pair;
  EXPECT_FALSE(server->adopt(UniqueFd(pair.take_ours())));
  std::optional<DrainResult> result;
  server->drain(10s, [&](DrainResult r) { result = r; });
  ASSERT_TRUE(opens(1));
  pair.close_peer();
  ASSERT_TRUE(run_until([&] { return result.has_value(); }));
  EXPECT_EQ(result->finished, 1u);
  EXPECT_EQ(result->cut, 0u);
}

TEST_F(ServerAdoptTest, ThoseForWhomThereIsNoRoomAreCutAtTheDrainDeadline) {
  ServerOptions options;
  options.max_connections = 1;
  start(options);
  recorder.when_drain = [](Connection&) {};
  std::vector<SocketPair> pairs(3);
  for (SocketPair& pair : pairs) EXPECT_FALSE(server->adopt(UniqueFd(pair.take_ours())));
  ASSERT_TRUE(opens(1));
  std::optional<DrainResult> result;
  server->drain(5ms, [&](DrainResult r) { result = r; });
  ASSERT_TRUE(run_until([&] { return result.has_value(); }));
  EXPECT_EQ(result->finished + result->cut, 3u);
  EXPECT_EQ(recorder.opened, 1);
}

TEST_F(ServerAdoptTest, MayDestroyTheServerFromOnOpen) {
  start();
  recorder.when_open = [&](Connection&) { server.reset(); };
  std::vector<SocketPair> pairs(3);
  for (SocketPair& pair : pairs) EXPECT_FALSE(server->adopt(UniqueFd(pair.take_ours())));
  ASSERT_TRUE(until_closed());
  run_for(5ms);
  EXPECT_EQ(recorder.opened, 1);
}

TEST_F(ServerAdoptTest, AFactoryThatThrowsLosesOneAndTheOthersAreServed) {
  int made = 0;
  loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  server =
      std::make_unique<Server>(loop(), HandlerFactory([&]() -> std::unique_ptr<ConnectionHandler> {
                                 if (++made == 1) throw std::runtime_error("not this one");
                                 return std::make_unique<Recorder>();
                               }));
  std::vector<SocketPair> pairs(3);
  for (SocketPair& pair : pairs) EXPECT_FALSE(server->adopt(UniqueFd(pair.take_ours())));
  ASSERT_TRUE(run_until([&] { return server->connection_count() == 2; }));
  EXPECT_EQ(server->stats().refused, 1u);
}

TEST_F(ServerAdoptTest, ASocketThatIsPassedInAMessageIsServed) {
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    for (UniqueFd& socket : take_descriptors(c)) EXPECT_FALSE(server->adopt(std::move(socket)));
  };
  ServerOptions options;
  options.connection.limits.receive_descriptors = 1;
  start(options);
  SocketPair way;
  EXPECT_FALSE(server->adopt(UniqueFd(way.take_ours())));
  auto [one, other] = tcp_pair();
  // What a front process does.
  Recorder front_recorder;
  Server front(loop(), front_recorder);
  EXPECT_FALSE(front.adopt(copy_of(way.peer())));
  way.close_peer();
  ASSERT_TRUE(run_until([&] { return front_recorder.opened == 1 && recorder.opened == 1; }));
  std::vector<UniqueFd> sockets;
  sockets.push_back(copy_of(one.fd()));
  one.close();
  EXPECT_TRUE(send_descriptors(*front_recorder.last, ByteView("."), std::move(sockets)));
  ASSERT_TRUE(opens(2));
  connection().send("served by somebody else");
  EXPECT_EQ(receive(other, 23), "served by somebody else");
}

}  // namespace
}  // namespace millrace::test
