// The end of a server: destroyed, told to stop or to drain, inside each of its own callbacks, with
// none and with a thousand connections.
#include <millrace/connection.h>
#include <millrace/error.h>
#include <millrace/server.h>

#include "support/loop_test.h"
#include "support/sockets.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

struct ServerEndTest : LoopTest {
  void SetUp() override {
    raise_descriptor_limit(8192);
    LoopTest::SetUp();
    server = std::make_unique<Server>(loop(), recorder);
    server->listen(any_address());
    address = server->address();
  }
  void TearDown() override {
    server.reset();
    peers.clear();
    LoopTest::TearDown();
  }
  void open(int n) {
    peers = connect_peers(address, static_cast<std::size_t>(n));
    ASSERT_TRUE(run_until([&] { return recorder.opened == n; }));
  }
  // How many connections were told that their owner is gone.
  auto orphans() const {
    return std::count(recorder.reasons.begin(), recorder.reasons.end(), error::owner_destroyed);
  }

  std::unique_ptr<Server> server;
  SocketAddress address;
  std::vector<RawSocket> peers;
};

TEST_F(ServerEndTest, EveryOnCloseRunsBeforeTheDestructorReturns) {
  open(1000);
  server.reset();
  EXPECT_EQ(recorder.closed, 1000);
  EXPECT_EQ(orphans(), 1000);
}

TEST_F(ServerEndTest, InsideATimerEveryOnCloseRunsBeforeTheDestructorReturns) {
  open(1000);
  int closed_then = 0;
  const Timer timer = loop().after(1ms, [&] {
    server.reset();
    closed_then = recorder.closed;
  });
  ASSERT_TRUE(run_until([&] { return server == nullptr; }));
  EXPECT_EQ(closed_then, 1000);
}

TEST_F(ServerEndTest, FromAnotherThreadItIsDestroyedByATaskAndCallbacksRunInTheLoop) {
  open(1000);
  const auto home = std::this_thread::get_id();
  int elsewhere = 0;
  recorder.when_close = [&](Connection&, std::error_code) {
    elsewhere += std::this_thread::get_id() != home;
  };
  std::thread other([ref = loop().ref(), this] { ref.post([this] { server.reset(); }); });
  EXPECT_TRUE(run_until([&] { return recorder.closed == 1000; }));
  other.join();
  EXPECT_EQ(elsewhere, 0);
  EXPECT_EQ(orphans(), 1000);
}

TEST_F(ServerEndTest, FromAnotherThreadAcceptingIsStoppedByATask) {
  std::thread other([ref = loop().ref(), this] { ref.post([this] { server->stop_accepting(); }); });
  // Accepts while the task is on its way.
  ASSERT_TRUE(run_until([&] {
    if (server->address() == SocketAddress()) return true;
    peers.push_back(RawSocket::connect_to(address));
    return false;
  }));
  other.join();
  EXPECT_EQ(server->stats().accepted, server->connection_count());
}

TEST_F(ServerEndTest, WhatTheKernelHasTakenStillArrives) {
  open(1);
  recorder.last->send("last words");
  recorder.last->flush();
  server.reset();
  EXPECT_EQ(receive(peers[0], 10), "last words");
  EXPECT_TRUE(sees_end(peers[0]));
}

TEST_F(ServerEndTest, AListenerWithAQueueIsDestroyedAndTheQueueReset) {
  ServerOptions options;
  options.max_connections = 0;
  auto idle = std::make_unique<Server>(loop(), recorder, options);
  idle->listen(any_address());
  auto waiting = connect_peers(idle->address(), 3);
  idle.reset();
  for (RawSocket& peer : waiting) {
    EXPECT_FALSE(sees_end(peer));
    EXPECT_EQ(peer.last_error(), ECONNRESET);
  }
}

TEST_F(ServerEndTest, InsideOnDataTheOthersCloseAtOnceAndThisOneWhenTheCallbackReturns) {
  open(5);
  int closed_inside = -1;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    server.reset();
    closed_inside = recorder.closed;
    EXPECT_FALSE(c.is_open());
    EXPECT_EQ(c.peer(), peers[2].address()) << "it is valid until its on_close";
    in.consume_all();
  };
  peers[2].send_all("x");
  ASSERT_TRUE(run_until([&] { return recorder.closed == 5; }));
  EXPECT_EQ(closed_inside, 4);
  EXPECT_EQ(orphans(), 5);
}

TEST_F(ServerEndTest, InsideForEachTheVisitEnds) {
  open(5);
  int visits = 0;
  server->for_each([&](Connection&) {
    ++visits;
    server.reset();
  });
  EXPECT_EQ(visits, 1);
  EXPECT_EQ(recorder.closed, 5);
}

TEST_F(ServerEndTest, AnOnCloseInsideTheDestructorMayTouchTheOtherConnections) {
  open(5);
  recorder.when_close = [&](Connection& c, std::error_code) {
    for (Connection* other : recorder.live) {
      EXPECT_NE(other, &c);
      other->send("x");
      other->abort();
      other->close();
    }
  };
  server.reset();
  EXPECT_EQ(recorder.closed, 5);
}

TEST_F(ServerEndTest, AnOnCloseThatThrowsDoesNotKeepTheOthersFromTheirs) {
  int exceptions = 0;
  loop().set_exception_hook([&](std::exception_ptr, std::string_view) { ++exceptions; });
  open(5);
  recorder.when_close = [](Connection&, std::error_code) { throw std::runtime_error("no"); };
  server.reset();
  EXPECT_EQ(recorder.closed, 5);
  EXPECT_EQ(exceptions, 5);
}

TEST_F(ServerEndTest, TwoServersMayGoInsideOneCallback) {
  Recorder others;
  auto second = std::make_unique<Server>(loop(), others);
  second->listen(any_address());
  auto more = connect_peers(second->address(), 3);
  open(3);
  ASSERT_TRUE(run_until([&] { return others.opened == 3; }));
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    in.consume_all();
    second.reset();
    server.reset();
  };
  peers[0].send_all("x");
  EXPECT_TRUE(run_until([&] { return recorder.closed == 3 && others.closed == 3; }));
}

TEST_F(ServerEndTest, AReplyThatWasCutOffDoesNotLookComplete) {
  ServerOptions options;
  options.listen.socket.send_buffer_bytes = 4096;
  server = std::make_unique<Server>(loop(), recorder, options);
  server->listen(any_address());
  RawSocket peer = RawSocket::connect_to(server->address(), 4096);
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  recorder.last->send(std::string(1 << 20, 'x'));
  run_for(10ms);
  ASSERT_GT(recorder.last->queued_bytes(), 0u);
  server.reset();
  EXPECT_FALSE(sees_end(peer)) << "it must be a reset";
  EXPECT_EQ(peer.last_error(), ECONNRESET);
}

TEST_F(ServerEndTest, WithNoConnectionsAndNotListeningItJustGoes) {
  Server silent(loop(), recorder);
  server.reset();
  EXPECT_EQ(recorder.closed, 0);
}

TEST_F(ServerEndTest, BeforeTheLoopHasRunConnectionsThatWaitAreReset) {
  peers = connect_peers(address, 2);
  server.reset();
  for (RawSocket& peer : peers) {
    EXPECT_FALSE(sees_end(peer));
    EXPECT_EQ(peer.last_error(), ECONNRESET);
  }
  EXPECT_EQ(recorder.opened, 0);
}

// What a server is told, inside which of its callbacks.
enum class ServerAct { destroy, stop_accepting, drain, listen };
enum class ServerCallback { open, data, drained, peer_end, close };

class ServerActTest : public ServerEndTest,
                      public ::testing::WithParamInterface<std::tuple<ServerAct, ServerCallback>> {
 protected:
  void act() {
    if (acted || !server) return;
    acted = true;
    switch (std::get<ServerAct>(GetParam())) {
      case ServerAct::destroy:
        return server.reset();
      case ServerAct::stop_accepting:
        return server->stop_accepting();
      case ServerAct::drain:
        return server->drain(50ms, [this](DrainResult) { drained = true; });
      case ServerAct::listen:
        return server->listen(any_address());
    }
  }
  bool accepting() const { return server && server->address() != SocketAddress(); }

  bool acted = false;
  bool drained = false;
};

TEST_P(ServerActTest, EveryConnectionEndsOnceAndNothingIsLost) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 4;
  server = std::make_unique<Server>(loop(), recorder, options);
  server->listen(any_address());
  address = server->address();
  const ServerCallback where = std::get<ServerCallback>(GetParam());
  const auto at = [this, where](ServerCallback here) {
    if (here == where) act();
  };
  recorder.when_open = [&](Connection&) { at(ServerCallback::open); };
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    c.send(in.view());
    in.consume_all();
    at(ServerCallback::data);
  };
  recorder.when_drained = [&](Connection&) { at(ServerCallback::drained); };
  recorder.when_peer_end = [&](Connection& c) {
    at(ServerCallback::peer_end);
    c.close();
  };
  recorder.when_close = [&](Connection&, std::error_code) { at(ServerCallback::close); };

  peers = connect_peers(address, 4);
  for (RawSocket& peer : peers) peer.send_all("hello");
  for (RawSocket& peer : peers) peer.end();
  ASSERT_TRUE(run_until([&] {
    return acted && recorder.opened == recorder.closed && (recorder.opened == 4 || !accepting());
  }));
  const ServerAct what = std::get<ServerAct>(GetParam());
  if (what == ServerAct::drain) {
    EXPECT_TRUE(run_until([&] { return drained; }));
  }
  if (what == ServerAct::listen) {
    EXPECT_EQ(recorder.opened, 4);
  }
  if (server) {
    EXPECT_EQ(server->connection_count(), 0u);
  }
}

std::string server_act_name(
    const ::testing::TestParamInfo<std::tuple<ServerAct, ServerCallback>>& test) {
  constexpr const char* kActs[] = {"Destroy", "StopAccepting", "Drain", "Listen"};
  constexpr const char* kPlaces[] = {"OnOpen", "OnData", "OnDrained", "OnPeerEnd", "OnClose"};
  const auto [act, where] = test.param;
  return std::string(kActs[static_cast<int>(act)]) + "In" + kPlaces[static_cast<int>(where)];
}

INSTANTIATE_TEST_SUITE_P(
    Inside, ServerActTest,
    ::testing::Combine(::testing::Values(ServerAct::destroy, ServerAct::stop_accepting,
                                         ServerAct::drain, ServerAct::listen),
                       ::testing::Values(ServerCallback::open, ServerCallback::data,
                                         ServerCallback::drained, ServerCallback::peer_end,
                                         ServerCallback::close)),
    server_act_name);

#ifndef NDEBUG
using ServerDeathTest = ServerEndTest;

TEST_F(ServerDeathTest, UsedFromAnotherThreadWhileTheLoopRunsItStopsTheProgramNamingBoth) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        loop().post([&] { std::thread([&] { server.reset(); }).join(); });
        loop().run_once(0ms);
      },
      "thread [0-9]+ used a loop that runs in thread [0-9]+");
}
#endif

}  // namespace
}  // namespace millrace::test
