// Whose callbacks a server calls: one handler for all, one that it owns, lambdas, or one made for
// each connection; and how long these live.
#include <millrace/connection.h>
#include <millrace/error.h>
#include <millrace/server.h>

#include "support/loop_test.h"
#include "support/sockets.h"

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

struct ServerHandlersTest : LoopTest {
  const SocketAddress any_port = any_address();
};

TEST_F(ServerHandlersTest, OneHandlerServesAllConnections) {
  recorder.when_data = send_back;
  Server server(loop(), recorder);
  server.listen(any_port);
  auto peers = connect_peers(server.address(), 3);
  for (RawSocket& peer : peers) peer.send_all("x");
  for (RawSocket& peer : peers) EXPECT_EQ(receive(peer, 1), "x");
  EXPECT_EQ(recorder.opened, 3);
}

// Says when it dies.
struct MortalHandler : ConnectionHandler {
  explicit MortalHandler(std::vector<std::string>& e) : events(e) {}
  ~MortalHandler() override { events.push_back("destroyed"); }
  void on_open(Connection&) override { events.push_back("open"); }
  void on_data(Connection& c, ReceiveBuffer& in) override { send_back(c, in); }
  void on_close(Connection&, std::error_code) override { events.push_back("close"); }
  std::vector<std::string>& events;
};

TEST_F(ServerHandlersTest, AHandlerThatItOwnsOutlivesTheConnections) {
  std::vector<std::string> events;
  {
    Server server(loop(), std::make_unique<MortalHandler>(events));
    server.listen(any_port);
    RawSocket peer = RawSocket::connect_to(server.address());
    ASSERT_TRUE(run_until([&] { return events.size() == 1; }));
  }
  loop().run_once(0ms);
  EXPECT_EQ(events, (std::vector<std::string>{"open", "close", "destroyed"}));
}

TEST_F(ServerHandlersTest, LambdasServeLikeAHandler) {
  std::vector<std::string> events;
  std::error_code why = error::aborted;
  Server server(loop(), {.on_open = [&](Connection&) { events.push_back("open"); },
                         .on_data =
                             [&](Connection& c, ReceiveBuffer& in) {
                               events.push_back("data");
                               send_back(c, in);
                             },
                         .on_drained = [&](Connection&) { events.push_back("drained"); },
                         .on_peer_end =
                             [&](Connection& c) {
                               events.push_back("end");
                               c.close();
                             },
                         .on_close =
                             [&](Connection&, std::error_code reason) {
                               events.push_back("close");
                               why = reason;
                             }});
  server.listen(any_port);
  RawSocket peer = RawSocket::connect_to(server.address());
  peer.send_all("hello");
  EXPECT_EQ(receive(peer, 5), "hello");
  peer.end();
  EXPECT_TRUE(sees_end(peer));
  EXPECT_EQ(events, (std::vector<std::string>{"open", "data", "end", "close"}));
  EXPECT_FALSE(why);
}

TEST_F(ServerHandlersTest, LambdasThatAreLeftOutDiscardDataAndCloseAtTheEnd) {
  Server server(loop(), Callbacks{});
  server.listen(any_port);
  RawSocket peer = RawSocket::connect_to(server.address());
  peer.send_all(std::string(100'000, 'x'));
  peer.end();
  EXPECT_TRUE(sees_end(peer));
  EXPECT_TRUE(run_until([&] { return server.connection_count() == 0; }));
}

TEST_F(ServerHandlersTest, AFactoryMakesAHandlerForEachConnectionThatGoesAfterItsOnClose) {
  std::vector<std::string> events;
  {
    Server server(loop(), [&]() -> std::unique_ptr<ConnectionHandler> {
      return std::make_unique<MortalHandler>(events);
    });
    server.listen(any_port);
    auto peers = connect_peers(server.address(), 2);
    ASSERT_TRUE(run_until([&] { return events.size() == 2; }));
    peers[0].close();
    ASSERT_TRUE(run_until([&] { return events.size() == 4; }));
    EXPECT_EQ(events, (std::vector<std::string>{"open", "open", "close", "destroyed"}));
    peers[1].send_all("x");
    EXPECT_EQ(receive(peers[1], 1), "x");
  }
  EXPECT_EQ(events.back(), "close");
  loop().run_once(0ms);  // handlers go with their connections, when the iteration ends
  EXPECT_EQ(events.back(), "destroyed");
}

TEST_F(ServerHandlersTest, AHandlerMadeByAFactoryIsStillThereWhileItsOnCloseDestroysTheServer) {
  struct Destroyer : MortalHandler {
    Destroyer(std::vector<std::string>& e, std::unique_ptr<Server>& s)
        : MortalHandler(e), server(s) {}
    void on_close(Connection&, std::error_code) override {
      server.reset();
      events.push_back("close");  // would be seen by AddressSanitizer if we were gone
    }
    std::unique_ptr<Server>& server;
  };
  std::vector<std::string> events;
  std::unique_ptr<Server> server;
  server = std::make_unique<Server>(loop(), [&]() -> std::unique_ptr<ConnectionHandler> {
    return std::make_unique<Destroyer>(events, server);
  });
  server->listen(any_port);
  RawSocket peer = RawSocket::connect_to(server->address());
  ASSERT_TRUE(run_until([&] { return !events.empty(); }));
  peer.close();
  ASSERT_TRUE(run_until([&] { return events.size() == 3; }));
  EXPECT_EQ(events, (std::vector<std::string>{"open", "close", "destroyed"}));
}

TEST_F(ServerHandlersTest, AFactoryThatThrowsCostsThatConnectionOnly) {
  int calls = 0;
  int exceptions = 0;
  loop().set_exception_hook([&](std::exception_ptr, std::string_view) { ++exceptions; });
  Server server(loop(), [&]() -> std::unique_ptr<ConnectionHandler> {
    if (++calls == 2) throw std::runtime_error("no handler");
    auto handler = std::make_unique<Recorder>();
    handler->when_data = send_back;
    return handler;
  });
  server.listen(any_port);
  auto peers = connect_peers(server.address(), 3);
  ASSERT_TRUE(run_until([&] { return calls == 3; }));
  EXPECT_EQ(exceptions, 1);
  EXPECT_TRUE(sees_end(peers[1]));
  for (const std::size_t i : {std::size_t{0}, std::size_t{2}}) {
    peers[i].send_all("x");
    EXPECT_EQ(receive(peers[i], 1), "x");
  }
  EXPECT_EQ(server.connection_count(), 2u);
  EXPECT_EQ(server.stats().refused, 1u);
}

TEST_F(ServerHandlersTest, AFactoryThatDestroysTheServerEndsItAndTheConnection) {
  std::unique_ptr<Server> server;
  server = std::make_unique<Server>(loop(), [&]() -> std::unique_ptr<ConnectionHandler> {
    server.reset();
    return std::make_unique<Recorder>();
  });
  server->listen(any_port);
  RawSocket peer = RawSocket::connect_to(server->address());
  EXPECT_TRUE(sees_end(peer));
  EXPECT_EQ(server, nullptr);
}

TEST_F(ServerHandlersTest, AConnectionWhoseFactoryDrainsTheServerIsDrainedToo) {
  std::optional<Server> server;
  std::vector<DrainResult> results;
  std::vector<std::string> events;
  server.emplace(loop(), [&]() -> std::unique_ptr<ConnectionHandler> {
    server->drain(1h, [&](DrainResult result) { results.push_back(result); });
    return std::make_unique<MortalHandler>(events);
  });
  server->listen(any_port);
  RawSocket peer = RawSocket::connect_to(server->address());
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(run_until([&] { return !results.empty(); }));
  EXPECT_EQ(results[0].finished, 1u);
  EXPECT_EQ(results[0].cut, 0u);
  loop().run_once(0ms);
  EXPECT_EQ(events, (std::vector<std::string>{"open", "close", "destroyed"}));
}

}  // namespace
}  // namespace millrace::test
