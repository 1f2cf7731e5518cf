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
    server->listen(SocketAddress::loopback(0));
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
