// Server::drain(): when it ends, whom it cuts, what it says.
#include <millrace/connection.h>
#include <millrace/error.h>
#include <millrace/server.h>

#include "support/loop_test.h"
#include "support/sockets.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct ServerDrainTest : LoopTest {
  void SetUp() override {
    LoopTest::SetUp();
    server.emplace(loop(), recorder);
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
  Function<void(DrainResult)> note() {
    return [this](DrainResult result) { results.push_back(result); };
  }
  bool drains() {
    return run_until([&] { return !results.empty(); });
  }
  // The only result, if it is the only one.
  DrainResult result() {
    EXPECT_EQ(results.size(), 1u);
    return results.empty() ? DrainResult{99, 99} : results[0];
  }

  std::optional<Server> server;
  SocketAddress address;
  std::vector<RawSocket> peers;
  std::vector<DrainResult> results;
};

TEST_F(ServerDrainTest, OfNobodyIsNotTheBusinessOfThoseWhoComeAfterwards) {
  server->drain(1h, note());
  server->listen(any_address());
  address = server->address();
  open(1);
  EXPECT_EQ(results.size(), 1u);
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    c.send(in.view());
    in.consume_all();
  };
  peers[0].send_all("x");
  EXPECT_EQ(receive(peers[0], 1), "x");
}

TEST_F(ServerDrainTest, EndsAsSoonAsTheLastConnectionHas) {
  open(3);
  server->drain(1h, note());
  for (RawSocket& peer : peers) EXPECT_TRUE(sees_end(peer));
  peers.clear();
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().finished, 3u);
  EXPECT_EQ(result().cut, 0u);
  EXPECT_EQ(recorder.reasons, std::vector<std::error_code>(3));
}

TEST_F(ServerDrainTest, AbortsWhoIsStillThereAtTheDeadline) {
  open(3);
  const auto start = loop().now();
  server->drain(100ms, note());
  EXPECT_TRUE(sees_end(peers[0]));
  peers[0].close();
  ASSERT_TRUE(drains());
  EXPECT_GE(loop().now() - start, 100ms);
  EXPECT_EQ(result().finished, 1u);
  EXPECT_EQ(result().cut, 2u);
  EXPECT_EQ(std::count(recorder.reasons.begin(), recorder.reasons.end(), error::drain_deadline), 2);
  EXPECT_EQ(peers[1].send_some("too late"), 0u) << "a reset, not only a FIN";
}

TEST_F(ServerDrainTest, WithDeadlineZeroItAbortsThemAtOnce) {
  open(2);
  server->drain(0ms, note());
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().cut, 2u);
}

TEST_F(ServerDrainTest, WithNothingToDoItStillReportsFromTheLoop) {
  server->drain(1h, note());
  EXPECT_TRUE(results.empty()) << "from inside the call";
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().finished, 0u);
  EXPECT_EQ(result().cut, 0u);
}

TEST_F(ServerDrainTest, NeedsNobodyToTell) {
  open(1);
  server->drain(1h);
  EXPECT_TRUE(sees_end(peers[0]));
  peers.clear();
  EXPECT_TRUE(run_until([&] { return recorder.closed == 1; }));
}

TEST_F(ServerDrainTest, AcceptsNobodyFromThenOn) {
  open(1);
  server->drain(1h, note());
  EXPECT_EQ(server->address(), SocketAddress());
  EXPECT_THROW(RawSocket::connect_to(address), std::runtime_error);
}

TEST_F(ServerDrainTest, LetsEveryByteThatWasQueuedArrive) {
  // More than the kernel takes at once, to a peer that reads only later.
  const std::string large(16 * 1024 * 1024, 'x');
  recorder.when_open = [&](Connection& c) { c.send(large); };
  open(2);
  server->drain(1h, note());
  run_for(20ms);
  EXPECT_EQ(recorder.closed, 0);
  for (RawSocket& peer : peers) EXPECT_EQ(receive(peer, large.size()).size(), large.size());
  for (RawSocket& peer : peers) EXPECT_TRUE(sees_end(peer));
  peers.clear();
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().finished, 2u);
}

TEST_F(ServerDrainTest, ConnectionsThatWereClosingAlreadyAreCountedToo) {
  open(2);
  recorder.last->close();
  server->drain(1h, note());
  for (RawSocket& peer : peers) EXPECT_TRUE(sees_end(peer));
  peers.clear();
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().finished, 2u);
}

TEST_F(ServerDrainTest, OnesThatEndedBeforeAreNot) {
  open(3);
  peers[0].close();
  ASSERT_TRUE(run_until([&] { return recorder.closed == 1; }));
  server->drain(0ms, note());
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().finished, 0u);
  EXPECT_EQ(result().cut, 2u);
}

TEST_F(ServerDrainTest, OnesThatEndInErrorDuringItHaveEndedByThemselves) {
  open(2);
  server->drain(1h, note());
  for (RawSocket& peer : peers) peer.reset();
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().finished, 2u);
  EXPECT_EQ(result().cut, 0u);
}

TEST_F(ServerDrainTest, CalledInsideTheLastOnCloseItStillReports) {
  open(1);
  recorder.when_close = [&](Connection&, std::error_code) { server->drain(1h, note()); };
  peers.clear();
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().finished, 1u);
}

TEST_F(ServerDrainTest, CalledInsideOnDataItClosesThatConnectionToo) {
  open(2);
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    c.send("bye");
    server->drain(1h, note());
  };
  peers[0].send_all("shut down");
  EXPECT_EQ(receive(peers[0], 3), "bye");
  for (RawSocket& peer : peers) EXPECT_TRUE(sees_end(peer));
  peers.clear();
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().finished, 2u);
}

TEST_F(ServerDrainTest, AsksEachOpenConnectionOnceAndFromTheLoop) {
  open(3);
  server->drain(1h, note());
  EXPECT_EQ(recorder.drains, 0) << "from inside the call";
  server->drain(1h);
  for (RawSocket& peer : peers) EXPECT_TRUE(sees_end(peer));
  EXPECT_EQ(recorder.drains, 3);
  peers.clear();
  ASSERT_TRUE(drains());
  EXPECT_EQ(recorder.drains, 3);
}

TEST_F(ServerDrainTest, WhoFinishesItsWorkFirstIsWaitedFor) {
  recorder.when_drain = [](Connection& c) { c.send("finishing;"); };
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    c.send(in.view());
    in.consume_all();
    c.close();
  };
  open(2);
  server->drain(1h, note());
  for (RawSocket& peer : peers) {
    EXPECT_EQ(receive(peer, 10), "finishing;");
    run_for(5ms);
    EXPECT_TRUE(results.empty());
    peer.send_all("the last request");
    EXPECT_EQ(receive(peer, 16), "the last request");
    EXPECT_TRUE(sees_end(peer));
    peer.close();
  }
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().finished, 2u);
  EXPECT_EQ(result().cut, 0u);
}

TEST_F(ServerDrainTest, WhoNeverFinishesIsCutAtTheDeadline) {
  recorder.when_drain = [&](Connection& c) {
    if (c.id() % 2 == 0) c.close();
  };
  open(4);
  server->drain(50ms, note());
  run_for(5ms);
  EXPECT_EQ(recorder.drains, 4);
  for (RawSocket& peer : peers) peer.end();
  recorder.when_peer_end = [](Connection&) {};
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().finished + result().cut, 4u);
  EXPECT_GT(result().cut, 0u);
  EXPECT_EQ(static_cast<std::size_t>(std::count(recorder.reasons.begin(), recorder.reasons.end(),
                                                error::drain_deadline)),
            result().cut);
}

TEST_F(ServerDrainTest, AsksWhoHasPausedReadingButNotWhoIsClosing) {
  open(2);
  recorder.last->close();
  server->for_each([](Connection& c) { c.pause_reading(); });
  server->drain(1h, note());
  for (RawSocket& peer : peers) EXPECT_TRUE(sees_end(peer));
  EXPECT_EQ(recorder.drains, 1);
  peers.clear();
  ASSERT_TRUE(drains());
}

TEST_F(ServerDrainTest, AsksTheHandlerOfTheMomentAndNoneAfterIt) {
  Recorder next;
  next.when_drain = [](Connection&) {};
  next.when_close = [this](Connection& c, std::error_code why) { recorder.on_close(c, why); };
  Recorder third;
  third.when_close = next.when_close;
  open(1);
  next.live.insert(recorder.last);
  third.live.insert(recorder.last);
  recorder.last->set_handler(next);
  server->drain(1h, note());
  run_for(5ms);
  EXPECT_EQ(next.drains, 1);
  recorder.last->set_handler(third);
  server->drain(1h);
  run_for(5ms);
  EXPECT_EQ(recorder.drains + third.drains, 0);
  next.live.clear();
  peers.clear();
  ASSERT_TRUE(drains());
}

TEST_F(ServerDrainTest, WhatHasArrivedIsDeliveredBeforeOnDrain) {
  open(1);
  recorder.last->pause_reading();
  peers[0].send_all("request");
  run_for(5ms);
  recorder.events.clear();
  recorder.when_data = [](Connection&, ReceiveBuffer& in) { in.consume_all(); };
  recorder.last->resume_reading();
  run_for(5ms);
  server->drain(1h, note());
  EXPECT_TRUE(sees_end(peers[0]));
  peers.clear();
  ASSERT_TRUE(drains());
  EXPECT_EQ(recorder.events, (std::vector<std::string>{"data", "drain", "close"}));
}

TEST_F(ServerDrainTest, OnDrainMayDestroyTheServer) {
  recorder.when_drain = [&](Connection&) { server.reset(); };
  open(3);
  server->drain(1h, note());
  ASSERT_TRUE(run_until([&] { return recorder.closed == 3; }));
  EXPECT_EQ(recorder.drains, 1);
  EXPECT_TRUE(results.empty());
}

TEST_F(ServerDrainTest, OnDrainThatThrowsEndsItsConnectionOnly) {
  int hooked = 0;
  loop().set_exception_hook([&](std::exception_ptr, std::string_view kind) {
    EXPECT_EQ(kind, "on_drain");
    ++hooked;
  });
  recorder.when_drain = [&](Connection& c) {
    if (recorder.drains == 1) throw std::runtime_error("no");
    c.close();
  };
  open(3);
  server->drain(1h, note());
  run_for(5ms);
  peers.clear();
  ASSERT_TRUE(drains());
  EXPECT_EQ(hooked, 1);
  EXPECT_EQ(result().finished, 3u);
  EXPECT_EQ(std::count(recorder.reasons.begin(), recorder.reasons.end(), error::handler_exception),
            1);
}

TEST_F(ServerDrainTest, WhoWaitedToBeAcceptedIsOpenedAndAskedRightAfter) {
  peers = connect_peers(address, 100);
  server->drain(1h, note());
  EXPECT_THROW(RawSocket::connect_to(address), std::runtime_error) << "the port is free at once";
  for (RawSocket& peer : peers) EXPECT_TRUE(sees_end(peer));
  EXPECT_EQ(recorder.opened, 100);
  EXPECT_EQ(recorder.drains, 100);
  for (std::size_t i = 0; i < 200; i += 2) {
    ASSERT_EQ(recorder.events[i], "open");
    ASSERT_EQ(recorder.events[i + 1], "drain");
  }
  EXPECT_TRUE(results.empty());
  peers.clear();
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().finished, 100u);
  EXPECT_EQ(result().cut, 0u);
}

TEST_F(ServerDrainTest, WhoWaitedToBeAcceptedIsServedByAHandlerThatFinishesFirst) {
  recorder.when_drain = [](Connection&) {};
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    c.send(in.view());
    in.consume_all();
    c.close();
  };
  peers = connect_peers(address, 3);
  for (RawSocket& peer : peers) peer.send_all("request");
  server->drain(1h, note());
  for (RawSocket& peer : peers) EXPECT_EQ(receive(peer, 7), "request");
  for (RawSocket& peer : peers) EXPECT_TRUE(sees_end(peer));
  peers.clear();
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().finished, 3u);
}

TEST_F(ServerDrainTest, WithDeadlineZeroWhoWaitedToBeAcceptedIsCutToo) {
  peers = connect_peers(address, 3);
  server->drain(0ms, note());
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().cut, 3u);
  EXPECT_EQ(recorder.opened, 0);
  EXPECT_EQ(server->stats().dropped, 3u);
  EXPECT_EQ(server->stats().accepted, 3u);
}

TEST_F(ServerDrainTest, AFactoryThatRefusesThemAllEndsItToo) {
  loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  Server refusing(loop(), HandlerFactory([]() -> std::unique_ptr<ConnectionHandler> {
                    throw std::runtime_error("no more");
                  }));
  refusing.listen(any_address());
  peers = connect_peers(refusing.address(), 2);
  refusing.drain(1h, note());
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().finished + result().cut, 0u);
  EXPECT_EQ(refusing.stats().refused, 2u);
}

TEST_F(ServerDrainTest, LambdasHearOfItToo) {
  int heard = 0;
  Server lambdas(loop(), {.on_drain = [&](Connection& c) { ++heard, c.send("bye"), c.close(); }});
  Server silent(loop(), Callbacks{});
  lambdas.listen(any_address());
  silent.listen(any_address());
  RawSocket one = RawSocket::connect_to(lambdas.address());
  RawSocket other = RawSocket::connect_to(silent.address());
  ASSERT_TRUE(
      run_until([&] { return lambdas.connection_count() == 1 && silent.connection_count() == 1; }));
  lambdas.drain(1h);
  silent.drain(1h);
  EXPECT_EQ(receive(one, 3), "bye");
  EXPECT_TRUE(sees_end(one));
  EXPECT_TRUE(sees_end(other)) << "left out it does what ConnectionHandler does";
  EXPECT_EQ(heard, 1);
}

TEST_F(ServerDrainTest, ASecondOneMayBringTheDeadlineForward) {
  open(2);
  server->drain(1h);
  server->drain(0ms, note());
  ASSERT_TRUE(drains());
  EXPECT_EQ(result().cut, 2u);
}

TEST_F(ServerDrainTest, AfterOneThatHasEndedThereCanBeAnother) {
  server->drain(1h, note());
  ASSERT_TRUE(drains());
  server->listen(address);
  open(1);
  server->drain(0ms, note());
  ASSERT_TRUE(run_until([&] { return results.size() == 2; }));
  EXPECT_EQ(results[1].cut, 1u);
}

TEST_F(ServerDrainTest, ItsCallbackMayDestroyTheServer) {
  open(2);
  bool done = false;
  server->drain(0ms, [&](DrainResult) {
    server.reset();
    done = true;
  });
  ASSERT_TRUE(run_until([&] { return done; }));
  EXPECT_EQ(recorder.closed, 2);
}

TEST_F(ServerDrainTest, ItsCallbackMayDestroyTheServerWhenNothingWasToBeDone) {
  bool done = false;
  server->drain(1h, [&](DrainResult) {
    server.reset();
    done = true;
  });
  ASSERT_TRUE(run_until([&] { return done; }));
}

TEST_F(ServerDrainTest, ItsCallbackMayStartAnother) {
  server->drain(1h, [&](DrainResult) { server->drain(1h, note()); });
  EXPECT_TRUE(drains());
}

TEST_F(ServerDrainTest, WhatItsCallbackThrowsGoesToTheHook) {
  std::vector<std::string> kinds;
  loop().set_exception_hook(
      [&](std::exception_ptr, std::string_view kind) { kinds.emplace_back(kind); });
  server->drain(1h, [](DrainResult) { throw std::runtime_error("no"); });
  ASSERT_TRUE(run_until([&] { return !kinds.empty(); }));
  EXPECT_EQ(kinds, std::vector<std::string>{"drain"});
}

TEST_F(ServerDrainTest, TheServerDestroyedMeanwhileNothingIsReported) {
  open(1);
  server->drain(10ms, note());
  server.reset();
  EXPECT_EQ(recorder.reasons, std::vector<std::error_code>{error::owner_destroyed});
  run_for(30ms);
  EXPECT_TRUE(results.empty());
}

TEST_F(ServerDrainTest, ALoopThatOnlyDrainsEndsByItself) {
  open(3);
  server->drain(1h, [&](DrainResult) { loop().stop(); });
  peers.clear();
  loop().run();
  EXPECT_EQ(recorder.closed, 3);
}

TEST_F(ServerDrainTest, BegunInOnCloseOfOneThatWasCutTheOthersStillCountAsCut) {
  recorder.when_drain = [](Connection&) {};
  recorder.when_close = [&](Connection&, std::error_code) {
    if (recorder.closed == 1) server->drain(1h, note());
  };
  open(3);
  server->drain(1ms, note());
  ASSERT_TRUE(drains());
  ASSERT_EQ(results.size(), 2u);
  for (const DrainResult& one : results) {
    EXPECT_EQ(one.cut, 3u);
    EXPECT_EQ(one.finished, 0u);
  }
}

TEST_F(ServerDrainTest, TheCallbackOfAnEarlierOneIsCalledToo) {
  open(1);
  server->drain(1h, note());
  server->drain(0ms, note());
  ASSERT_TRUE(drains());
  run_for(20ms);
  EXPECT_EQ(results.size(), 2u);
  for (const DrainResult& one : results) EXPECT_EQ(one.cut, 1u);
}

}  // namespace
}  // namespace millrace::test
