// Reading from a connection as soon as it is accepted: where peers speak first, and no longer where
// they do not.
#include "first_read.h"

#include <millrace/server.h>

#include "support/loop_test.h"
#include "support/sockets.h"

#include <memory>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

TEST(FirstRead, IsTriedWhileItFindsSomethingAtLeastTwiceInThree) {
  FirstRead first;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(first.worth_trying()) << i;
    first.tried(i % 3 != 2);
  }
}

TEST(FirstRead, IsHardlyTriedWhereNothingIsFoundAndAgainWhenThatChanges) {
  FirstRead first;
  const auto tries_in = [&first](int connections, bool found) {
    int tries = 0;
    for (int i = 0; i < connections; ++i) {
      if (!first.worth_trying()) continue;
      first.tried(found);
      ++tries;
    }
    return tries;
  };
  EXPECT_LE(tries_in(6400, false), 101);
  tries_in(64 * 16, true);
  EXPECT_EQ(tries_in(100, true), 100);
}

struct FirstReadTest : LoopTest {
  void TearDown() override {
    server.reset();
    LoopTest::TearDown();
  }
  void listen() {
    server = std::make_unique<Server>(loop(), recorder);
    server->listen(SocketAddress::loopback(0));
  }
  // A peer whose first bytes are there before it is accepted.
  RawSocket speaks_first(const std::string& text) {
    RawSocket peer = RawSocket::connect_to(server->address());
    peer.send_all(text);
    return peer;
  }
  Recorder recorder;
  std::unique_ptr<Server> server;
};

TEST_F(FirstReadTest, WhatIsThereIsDeliveredAndAnsweredInTheTurnThatAccepts) {
  listen();
  recorder.when_data = send_back;
  RawSocket peer = speaks_first("hello");
  loop().run_once(1s);
  EXPECT_EQ(recorder.events, (std::vector<std::string>{"open", "data"}));
  EXPECT_EQ(peer.receive_some(), "hello");
}

TEST_F(FirstReadTest, PeersThatWaitToBeSpokenToCostNoReceiveEach) {
  listen();
  recorder.when_open = [](Connection& c) { c.send("welcome"); };
  Faults faults;
  std::vector<RawSocket> peers;
  for (int i = 1; i <= 30; ++i) {
    peers.push_back(RawSocket::connect_to(server->address()));
    ASSERT_TRUE(run_until([&] { return recorder.opened == i; }));
  }
  EXPECT_LE(faults.count(Call::recv), 1u);
}

TEST_F(FirstReadTest, ThePeersEndBehindItsBytesIsToldToo) {
  listen();
  recorder.when_data = send_back;
  RawSocket peer = speaks_first("hello");
  peer.end();
  EXPECT_EQ(receive(peer, 5), "hello");
  EXPECT_TRUE(run_until([&] { return recorder.closed == 1; }));
  EXPECT_EQ(recorder.peer_ended, 1);
}

TEST_F(FirstReadTest, NothingIsReadWhenOnOpenHasPausedOrEnded) {
  listen();
  recorder.when_open = [](Connection& c) { c.pause_reading(); };
  const RawSocket paused = speaks_first("hello");
  loop().run_once(1s);
  EXPECT_EQ(recorder.opened, 1);
  recorder.when_open = [](Connection& c) { c.abort(); };
  const RawSocket aborted = speaks_first("hello");
  EXPECT_TRUE(run_until([&] { return recorder.closed == 1; }));
  EXPECT_TRUE(recorder.received.empty());
}

TEST_F(FirstReadTest, TheServerMayBeDestroyedByTheFirstBytes) {
  listen();
  recorder.when_data = [this](Connection&, ReceiveBuffer& in) {
    in.consume_all();
    server.reset();
  };
  const RawSocket peer = speaks_first("hello");
  EXPECT_TRUE(run_until([&] { return recorder.closed == 1; }));
}

}  // namespace
}  // namespace millrace::test
