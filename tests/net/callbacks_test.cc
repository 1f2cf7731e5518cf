// Callbacks, HandlerFactory and what ConnectionHandler does by itself.
#include <millrace/client.h>

#include "support/one_peer_test.h"

#include <memory>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

using Events = std::vector<std::string>;

struct CallbacksTest : OnePeerTest {
  void start_with(Callbacks callbacks, const ServerOptions& options = {}) {
    server = std::make_unique<Server>(loop(), std::move(callbacks), options);
    server->listen(SocketAddress::loopback(0));
    peer = RawSocket::connect_to(server->address());
    EXPECT_TRUE(run_until([&] { return server->connection_count() == 1; }));
  }
};

TEST_F(CallbacksTest, EachIsCalledLikeTheFunctionOfAHandler) {
  Events events;
  std::error_code reason = error::aborted;
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 3;
  start_with({.on_open = [&](Connection&) { events.push_back("open"); },
              .on_data =
                  [&](Connection& c, ReceiveBuffer& in) {
                    events.push_back("data");
                    c.send(in.view());
                    in.consume_all();
                  },
              .on_drained = [&](Connection&) { events.push_back("drained"); },
              .on_peer_end =
                  [&](Connection& c) {
                    events.push_back("end");
                    c.close();
                  },
              .on_close =
                  [&](Connection&, std::error_code why) {
                    events.push_back("close");
                    reason = why;
                  }},
             options);
  peer.send_all("hello");
  EXPECT_EQ(receive(peer, 5), "hello");
  peer.end();
  EXPECT_TRUE(run_until([&] { return server->connection_count() == 0; }));
  EXPECT_EQ(events, (Events{"open", "data", "drained", "end", "close"}));
  EXPECT_EQ(reason, std::error_code());
}

TEST_F(CallbacksTest, OnDataLeftOutDiscards) {
  start_with({});
  Connection* c = nullptr;
  server->for_each([&](Connection& found) { c = &found; });
  peer.send_all("hello");
  ASSERT_TRUE(run_until([&] { return c->stats().bytes_received == 5; }));
  EXPECT_EQ(c->unconsumed().size(), 0u);
  EXPECT_TRUE(c->is_open());
}

TEST_F(CallbacksTest, OnPeerEndLeftOutSendsWhatIsQueuedAndCloses) {
  const std::string reply = pattern(500'000);
  start_with({.on_data =
                  [&](Connection& c, ReceiveBuffer& in) {
                    in.consume_all();
                    c.send(reply);
                  }},
             small_buffers());
  peer.send_all("x");
  peer.end();
  EXPECT_TRUE(same_bytes(receive(peer, reply.size()), reply));
  EXPECT_TRUE(sees_end(peer));
  EXPECT_TRUE(run_until([&] { return server->connection_count() == 0; }));
}

TEST_F(CallbacksTest, OnDrainedAndOnCloseMayBeLeftOut) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 3;
  start_with({.on_open = [](Connection& c) { c.send("above"); }}, options);
  EXPECT_EQ(receive(peer, 5), "above");
  peer.reset();
  EXPECT_TRUE(run_until([&] { return server->connection_count() == 0; }));
}

TEST_F(CallbacksTest, TheyMayOwnWhatCannotBeCopied) {
  auto text = std::make_unique<std::string>("owned");
  start_with({.on_open = [text = std::move(text)](Connection& c) { c.send(*text); }});
  EXPECT_EQ(receive(peer, 5), "owned");
}

// A handler made for each connection, which says when it goes.
struct OwnHandler : ConnectionHandler {
  explicit OwnHandler(Events& e) : events(e) { events.push_back("made"); }
  ~OwnHandler() override { events.push_back("destroyed"); }
  void on_data(Connection& c, ReceiveBuffer& in) override {
    requests += 1;
    in.consume_all();
    c.send(std::to_string(requests));
  }
  void on_close(Connection&, std::error_code) override { events.push_back("close"); }
  Events& events;
  int requests = 0;
};

TEST_F(CallbacksTest, AFactoryMakesOneHandlerForEachConnectionWhichOwnsItUntilAfterOnClose) {
  Events events;
  server = std::make_unique<Server>(
      loop(), HandlerFactory([&] { return std::make_unique<OwnHandler>(events); }));
  server->listen(SocketAddress::loopback(0));
  RawSocket first = RawSocket::connect_to(server->address());
  RawSocket second = RawSocket::connect_to(server->address());
  first.send_all("x");
  EXPECT_EQ(receive(first, 1), "1");
  first.send_all("x");
  EXPECT_EQ(receive(first, 1), "2");
  second.send_all("x");
  EXPECT_EQ(receive(second, 1), "1");
  EXPECT_EQ(events, (Events{"made", "made"}));
  first.close();
  ASSERT_TRUE(run_until([&] { return server->connection_count() == 1; }));
  EXPECT_EQ(events, (Events{"made", "made", "close", "destroyed"}));
  server.reset();
  loop().run_once(0ms);
  EXPECT_EQ(events, (Events{"made", "made", "close", "destroyed", "close", "destroyed"}));
}

TEST_F(CallbacksTest, ASwitchedConnectionStillOwnsTheHandlerOfItsFactory) {
  Events events;
  Recorder other;
  server = std::make_unique<Server>(
      loop(), HandlerFactory([&] { return std::make_unique<OwnHandler>(events); }));
  server->listen(SocketAddress::loopback(0));
  peer = RawSocket::connect_to(server->address());
  ASSERT_TRUE(run_until([&] { return server->connection_count() == 1; }));
  server->for_each([&](Connection& c) {
    other.live.insert(&c);
    ++other.opened;
    c.set_handler(other);
  });
  peer.send_all("hello");
  ASSERT_TRUE(run_until([&] { return other.received == "hello"; }));
  EXPECT_EQ(events, Events{"made"});
  peer.close();
  ASSERT_TRUE(run_until([&] { return other.closed == 1; }));
  EXPECT_EQ(events, (Events{"made", "destroyed"}));
}

TEST_F(CallbacksTest, OnConnectFailedMayBeLeftOutInEitherForm) {
  struct Quiet : ConnectionHandler {
    void on_data(Connection&, ReceiveBuffer&) override {}
  };
  RawSocket closed = RawSocket::listen();
  const SocketAddress address = closed.address();
  closed.close();
  Quiet quiet;
  Client lambdas(loop(), Callbacks{});
  Client handler(loop(), quiet);
  for (Client* client : {&lambdas, &handler}) {
    client->connect(address);
    EXPECT_TRUE(run_until([&] { return client->state() == Client::State::idle; }));
  }
}

using CallbacksDeathTest = CallbacksTest;

TEST_F(CallbacksDeathTest, NoHandlerAtAllIsTheCallersMistake) {
  using Owned = std::unique_ptr<ConnectionHandler>;
  EXPECT_DEATH(Server(loop(), Owned()), "a Server needs a handler");
  EXPECT_DEATH(Server(loop(), HandlerFactory()), "a Server needs a handler");
  EXPECT_DEATH(Client(loop(), Owned()), "a Client needs a handler");
  EXPECT_DEATH(Listener(loop(), SocketAddress::loopback(0), {}), "a Listener needs a callback");
}

TEST_F(CallbacksDeathTest, AFactoryThatReturnsNothingIsTheCallersMistake) {
  EXPECT_DEATH(
      {
        EventLoop own;
        Server nobody(own, HandlerFactory([] { return nullptr; }));
        nobody.listen(SocketAddress::loopback(0));
        const RawSocket guest = RawSocket::connect_to(nobody.address());
        own.run_once();
      },
      "a HandlerFactory returned no handler");
}

}  // namespace
}  // namespace millrace::test
