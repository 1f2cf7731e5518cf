// pipe(): two accepted connections, `a` of the peer `left` and `b` of the peer `right`, and what
// passes between the peers.
#include <millrace/pipe.h>

#include "support/one_peer_test.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct PipeTest : OnePeerTest {
  void TearDown() override {
    right.close();
    right_server.reset();
    a = b = {};  // they would keep a part of the loop
    OnePeerTest::TearDown();
  }

  // Two servers, so that each side may lose its owner alone; not piped yet.
  void open(const ServerOptions& options = {}, int peer_buffer = 0) {
    start(options, peer_buffer, peer_buffer);
    a = connection().ref();
    right_server = std::make_unique<Server>(loop(), right_recorder, options);
    right_server->listen(SocketAddress::loopback(0));
    right = RawSocket::connect_to(right_server->address(), peer_buffer, peer_buffer);
    ASSERT_TRUE(run_until([&] { return right_recorder.opened == 1; }));
    b = right_recorder.last->ref();
  }
  void open_piped(const ServerOptions& options = {}, int peer_buffer = 0) {
    open(options, peer_buffer);
    pipe(*a.get(), *b.get());
  }
  bool until_both_closed() {
    return run_until([&] { return recorder.closed == 1 && right_recorder.closed == 1; });
  }
  // Runs the loop until `who` sees a reset.
  bool sees_reset(RawSocket& who) {
    return run_until([&] {
      who.receive_some();
      return who.last_error() == ECONNRESET || who.at_end();
    }) && !who.at_end();
  }
  std::size_t longest_queue() const {
    std::size_t longest = 0;
    for (const ConnectionRef& side : {a, b}) {
      if (const Connection* c = side.get()) longest = std::max(longest, c->queued_bytes());
    }
    return longest;
  }

  RawSocket& left = peer;
  RawSocket right;
  Recorder right_recorder;
  std::unique_ptr<Server> right_server;
  ConnectionRef a;
  ConnectionRef b;
};
using PipeDeathTest = PipeTest;
using Events = std::vector<std::string>;

TEST_F(PipeTest, WhatArrivesOnOneSideIsSentOnTheOtherBothWays) {
  open_piped();
  left.send_all("to the right");
  right.send_all("to the left");
  EXPECT_EQ(receive(right, 12), "to the right");
  EXPECT_EQ(receive(left, 11), "to the left");
  left.send_all("more");
  EXPECT_EQ(receive(right, 4), "more");
}

TEST_F(PipeTest, TheHandlersBeforeGetOnCloseAndNothingElse) {
  open_piped();
  left.send_all("x");
  EXPECT_EQ(receive(right, 1), "x");
  left.end();
  right.end();
  ASSERT_TRUE(until_both_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "close"}));
  EXPECT_EQ(right_recorder.events, (Events{"open", "close"}));
  EXPECT_FALSE(recorder.reasons[0]);
  EXPECT_FALSE(right_recorder.reasons[0]);
}

TEST_F(PipeTest, AHalfCloseIsCarriedOverAndTheOtherWayGoesOn) {
  open_piped();
  left.send_all("the question");
  left.end();
  EXPECT_EQ(receive(right, 100), "the question");
  EXPECT_TRUE(right.at_end());
  EXPECT_EQ(recorder.closed + right_recorder.closed, 0);
  right.send_all("the answer");
  EXPECT_EQ(receive(left, 10), "the answer");
  right.end();
  EXPECT_TRUE(sees_end(left));
  EXPECT_TRUE(until_both_closed());
}

TEST_F(PipeTest, TheEndOfTheStreamComesBehindAllThatASlowReaderHasNotTakenYet) {
  open_piped(small_buffers(), 4096);
  const std::string all = pattern(300'000);
  std::string_view rest = all;
  std::string got;
  ASSERT_TRUE(run_until([&] {
    if (!rest.empty()) {
      rest.remove_prefix(left.send_some(rest));
      if (rest.empty()) left.end();
    }
    got += right.receive_some(1000);
    return right.at_end();
  }));
  EXPECT_TRUE(same_bytes(got, all));
  EXPECT_EQ(recorder.closed + right_recorder.closed, 0);
}

TEST_F(PipeTest, BothPeersMayEndAtOnceWithBytesStillUnderWay) {
  open_piped(small_buffers(), 4096);
  left.send_some(pattern(1000, 1));
  left.end();
  right.send_some(pattern(1000, 2));
  right.end();
  EXPECT_TRUE(same_bytes(receive(right, 2000), pattern(1000, 1)));
  EXPECT_TRUE(same_bytes(receive(left, 2000), pattern(1000, 2)));
  EXPECT_TRUE(left.at_end());
  EXPECT_TRUE(right.at_end());
  EXPECT_TRUE(until_both_closed());
}

TEST_F(PipeTest, AResetOfOnePeerResetsTheOther) {
  open_piped();
  left.send_all("cut");
  EXPECT_EQ(receive(right, 3), "cut");
  left.reset();
  EXPECT_TRUE(sees_reset(right));
  ASSERT_TRUE(until_both_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
  EXPECT_EQ(right_recorder.reasons[0], std::errc::connection_reset);
  EXPECT_EQ(right_recorder.detail, "on the other side of its pipe");
}

TEST_F(PipeTest, AnAbortOfOneSideResetsBothPeers) {
  open_piped();
  b.get()->abort();
  EXPECT_TRUE(sees_reset(left));
  EXPECT_TRUE(sees_reset(right));
  ASSERT_TRUE(until_both_closed());
  EXPECT_EQ(recorder.reasons[0], error::aborted);
}

TEST_F(PipeTest, ATimeoutOfOneSideCutsTheOther) {
  ServerOptions options = small_buffers();
  options.connection.timeouts.write_stall = 20ms;
  open_piped(options, 4096);
  const std::string all = pattern(500'000);
  std::string_view rest = all;
  for (int i = 0; i < 20; ++i) {
    rest.remove_prefix(left.send_some(rest));
    loop().run_once(0ms);
  }
  ASSERT_TRUE(until_both_closed()) << "right does not read";
  EXPECT_EQ(right_recorder.reasons[0], error::write_stalled);
  EXPECT_TRUE(sees_reset(left));
}

TEST_F(PipeTest, AWriteThatFailsResetsTheSource) {
  open_piped();
  Faults faults;
  faults.on(Call::send, Fault::fail(EPIPE), {.times = 1});
  left.send_all("x");
  left.end();
  ASSERT_TRUE(until_both_closed());
  EXPECT_EQ(right_recorder.reasons[0], std::errc::broken_pipe);
  EXPECT_TRUE(sees_reset(left));
}

TEST_F(PipeTest, AnExceptionOfAnOldHandlersOnCloseHarmsNobody) {
  recorder.when_close = [](Connection&, std::error_code) { throw std::runtime_error("on_close"); };
  open_piped();
  left.end();
  right.end();
  EXPECT_TRUE(until_both_closed());
}

TEST_F(PipeTest, ALocalCloseOfOneSideClosesTheOtherInOrder) {
  open_piped();
  right.send_all("last words");
  EXPECT_EQ(receive(left, 10), "last words");
  left.send_all("x");
  EXPECT_EQ(receive(right, 1), "x");
  a.get()->close();
  EXPECT_TRUE(sees_end(left));
  left.end();
  EXPECT_TRUE(sees_end(right));
  right.end();
  ASSERT_TRUE(until_both_closed());
  EXPECT_FALSE(recorder.reasons[0]);
  EXPECT_FALSE(right_recorder.reasons[0]);
}

TEST_F(PipeTest, ALocalCloseStillDeliversWhatBothSidesHadReceived) {
  open_piped(small_buffers(), 4096);
  const std::string sent = pattern(50'000);
  std::string_view rest = sent;
  ASSERT_TRUE(run_until([&] {
    rest.remove_prefix(left.send_some(rest));
    return rest.empty() && a.get()->kernel_queues().receive_bytes == 0;
  }));
  a.get()->close();
  left.end();
  EXPECT_TRUE(same_bytes(receive(right, sent.size()), sent));
  EXPECT_TRUE(sees_end(right));
  right.end();
  EXPECT_TRUE(until_both_closed());
}

TEST_F(PipeTest, WhatWasReceivedAndNotConsumedGoesFirst) {
  recorder.when_data = [](Connection&, ReceiveBuffer& in) {
    if (in.size() > 6) in.consume(in.size() - 6);
  };
  open();
  left.send_all("HEAD world, ");
  ASSERT_TRUE(run_until([&] { return a.get()->unconsumed() == "orld, "; }));
  pipe(*a.get(), *b.get());
  left.send_all("again");
  EXPECT_EQ(receive(right, 11), "orld, again");
}

TEST_F(PipeTest, CalledInOnDataTheRestOfTheBufferGoesToTheOtherSide) {
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    in.consume(8);
    pipe(c, *b.get());
    EXPECT_TRUE(in.stopped());
  };
  open();
  left.send_all("CONNECT\nhello");
  EXPECT_EQ(receive(right, 5), "hello");
  EXPECT_EQ(recorder.events, (Events{"open", "data"}));
  right.send_all("hi");
  EXPECT_EQ(receive(left, 2), "hi");
}

TEST_F(PipeTest, CalledInOnOpenOfTheSecondSide) {
  right_recorder.when_open = [&](Connection& c) { pipe(c, *a.get()); };
  recorder.when_open = [](Connection& c) { c.pause_reading(); };
  start();
  a = connection().ref();
  left.send_all("early");
  loop().run_once(0ms);
  right_server = std::make_unique<Server>(loop(), right_recorder);
  right_server->listen(SocketAddress::loopback(0));
  right = RawSocket::connect_to(right_server->address());
  right.send_all("and back");
  EXPECT_EQ(receive(right, 5), "early");
  EXPECT_EQ(receive(left, 8), "and back");
  EXPECT_FALSE(a.get()->reading_paused());
}

TEST_F(PipeTest, APeerThatHadEndedBeforeIsCarriedOverBehindItsBytes) {
  recorder.when_data = [](Connection&, ReceiveBuffer&) {};
  recorder.when_peer_end = [](Connection&) {};
  open();
  left.send_all("all there is");
  left.end();
  ASSERT_TRUE(run_until([&] { return recorder.peer_ended == 1; }));
  pipe(*b.get(), *a.get());
  EXPECT_EQ(receive(right, 100), "all there is");
  EXPECT_TRUE(right.at_end());
  right.send_all("thanks");
  right.end();
  EXPECT_EQ(receive(left, 100), "thanks");
  EXPECT_TRUE(left.at_end());
  EXPECT_TRUE(until_both_closed());
}

TEST_F(PipeTest, BothPeersHadEndedBefore) {
  for (Recorder* one : {&recorder, &right_recorder}) {
    one->when_data = [](Connection&, ReceiveBuffer&) {};
    one->when_peer_end = [](Connection&) {};
  }
  open();
  left.send_all("L");
  left.end();
  right.send_all("R");
  right.end();
  ASSERT_TRUE(run_until([&] { return recorder.peer_ended + right_recorder.peer_ended == 2; }));
  pipe(*a.get(), *b.get());
  EXPECT_EQ(receive(left, 100), "R");
  EXPECT_EQ(receive(right, 100), "L");
  EXPECT_TRUE(left.at_end() && right.at_end());
  EXPECT_TRUE(until_both_closed());
}

TEST_F(PipeTest, WithOneThatIsClosingTheOtherIsClosedInOrder) {
  open();
  b.get()->send("the last");
  a.get()->close();
  pipe(*a.get(), *b.get());
  EXPECT_EQ(receive(right, 100), "the last");
  EXPECT_TRUE(right.at_end());
  right.end();
  EXPECT_TRUE(sees_end(left));
  left.end();
  ASSERT_TRUE(until_both_closed());
  EXPECT_FALSE(right_recorder.reasons[0]);
}

TEST_F(PipeTest, WithOneThatHasFailedTheOtherIsReset) {
  open();
  b.get()->abort();
  pipe(*a.get(), *b.get());
  EXPECT_TRUE(sees_reset(left));
  ASSERT_TRUE(until_both_closed());
  EXPECT_EQ(recorder.reasons[0], error::aborted);
}

TEST_F(PipeTest, WithTwoThatAreNoLongerOpenNothingHappens) {
  open();
  a.get()->abort();
  b.get()->close();
  pipe(*a.get(), *b.get());
  right.end();
  ASSERT_TRUE(until_both_closed());
  EXPECT_FALSE(right_recorder.reasons[0]);
}

TEST_F(PipeTest, CalledInOnCloseOfOneTheOtherIsResetLikeIt) {
  recorder.when_close = [&](Connection& c, std::error_code) { pipe(c, *b.get()); };
  open();
  left.reset();
  EXPECT_TRUE(sees_reset(right));
  EXPECT_TRUE(until_both_closed());
  EXPECT_EQ(right_recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(PipeTest, TheOwnerOfOneSideMayGoAtAnyTime) {
  open_piped();
  left.send_all("x");
  EXPECT_EQ(receive(right, 1), "x");
  right_server.reset();
  EXPECT_EQ(right_recorder.closed, 1);
  EXPECT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::owner_destroyed);
  EXPECT_TRUE(sees_reset(left));
}

TEST_F(PipeTest, TheOwnersMayGoInTheOnCloseOfTheOther) {
  recorder.when_close = [&](Connection&, std::error_code) { right_server.reset(); };
  right_recorder.when_close = [&](Connection&, std::error_code) { server.reset(); };
  open_piped();
  left.reset();
  EXPECT_TRUE(until_both_closed());
}

TEST_F(PipeTest, BothOwnersMayGoBeforeTheLoopRunsAgain) {
  open_piped();
  left.send_all("x");
  server.reset();
  right_server.reset();
  EXPECT_EQ(recorder.closed + right_recorder.closed, 2);
}

TEST_F(PipeTest, AFastSourceIsHeldBackByASlowSinkBothWays) {
  constexpr std::size_t kHigh = 64 * 1024;
  ServerOptions options = small_buffers();
  options.connection.limits.high_watermark_bytes = kHigh;
  open_piped(options, 4096);
  constexpr std::size_t kTotal = 20 << 20;
  const std::string text[2] = {pattern(kTotal, 1), pattern(kTotal, 2)};
  RawSocket* const peers[2] = {&left, &right};
  std::string_view rest[2] = {text[0], text[1]};
  std::string got[2];
  std::size_t longest = 0;
  unsigned turn = 0;
  ASSERT_TRUE(run_until(
      [&] {
        ++turn;
        for (int i = 0; i < 2; ++i) {
          if (!rest[i].empty()) {
            rest[i].remove_prefix(peers[i]->send_some(rest[i]));
            if (rest[i].empty()) peers[i]->end();
          }
          // Each rests while the other reads, long enough for the queue to fill.
          if (turn / 128 % 2 == static_cast<unsigned>(i)) got[1 - i] += peers[i]->receive_some();
        }
        longest = std::max(longest, longest_queue());
        return left.at_end() && right.at_end();
      },
      120s));
  EXPECT_TRUE(same_bytes(got[0], text[0]));
  EXPECT_TRUE(same_bytes(got[1], text[1]));
  EXPECT_GT(longest, kHigh) << "it was never put to the test";
  EXPECT_LE(longest, kHigh + 64 * 1024);
  EXPECT_TRUE(until_both_closed());
}

TEST_F(PipeTest, ASourceThatIsHeldBackCostsNoWakeUps) {
  ServerOptions options = small_buffers();
  options.connection.limits.high_watermark_bytes = 10'000;
  open_piped(options, 4096);
  const std::string all = pattern(200'000);
  std::string_view rest = all;
  for (int i = 0; i < 100; ++i) {
    rest.remove_prefix(left.send_some(rest));
    loop().run_once(0ms);
  }
  EXPECT_FALSE(rest.empty());
  EXPECT_LE(run_for(50ms), 10u);
  std::string got;
  ASSERT_TRUE(run_until([&] {
    if (!rest.empty()) rest.remove_prefix(left.send_some(rest));
    got += right.receive_some();
    return got.size() == all.size();
  }));
  EXPECT_TRUE(same_bytes(got, all));
}

TEST_F(PipeTest, NothingIsLostWhenTheHardLimitIsSmallerThanWhatArrives) {
  for (const Overflow overflow : {Overflow::close, Overflow::refuse, Overflow::drop_newest}) {
    PipeTest::TearDown();
    PipeTest::SetUp();
    recorder = Recorder();
    right_recorder = Recorder();
    ServerOptions options;
    options.listen.socket.send_buffer_bytes = 4096;
    options.connection.limits.send_queue_bytes = 1000;
    options.connection.limits.overflow = overflow;
    open_piped(options, 4096);
    const std::string all = pattern(300'000);
    std::string_view rest = all;
    std::string got;
    std::size_t longest = 0;
    ASSERT_TRUE(run_until([&] {
      if (!rest.empty()) {
        rest.remove_prefix(left.send_some(rest));
        if (rest.empty()) left.end();
      }
      got += right.receive_some();
      longest = std::max(longest, longest_queue());
      return right.at_end() || recorder.closed > 0;
    }));
    EXPECT_TRUE(same_bytes(got, all));
    EXPECT_LE(longest, 1000u);
    right.end();
    EXPECT_TRUE(until_both_closed());
  }
}

TEST_F(PipeTest, ASinkThatWasLongBeforeThePipeHoldsItBack) {
  ServerOptions options = small_buffers();
  options.connection.limits.high_watermark_bytes = 10'000;
  open(options, 4096);
  const std::string before = pattern(100'000, 5);
  EXPECT_FALSE(b.get()->send(before));
  left.send_all("behind it");
  pipe(*a.get(), *b.get());
  run_for(5ms);
  EXPECT_LE(b.get()->queued_bytes(), before.size());
  EXPECT_EQ(receive(right, before.size() + 9), before + "behind it");
  EXPECT_EQ(right_recorder.drained, 0) << "that is the pipe's affair now";
}

TEST_F(PipeTest, ManyPipesInOneLoopAreAllForgottenInTheEnd) {
  struct Pair {
    RawSocket left, right;
  };
  listen();
  std::vector<Pair> pairs;
  for (int i = 0; i < 50; ++i) {
    Pair pair;
    pair.left = connect();
    Connection& one = connection();
    pair.right = connect();
    pipe(one, connection());
    pairs.push_back(std::move(pair));
  }
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    pairs[i].left.send_all(std::to_string(i));
    EXPECT_EQ(receive(pairs[i].right, std::to_string(i).size()), std::to_string(i));
    if (i % 3 == 0) pairs[i].left.reset();
    if (i % 3 == 1) pairs[i].right.close();
  }
  pairs.clear();
  EXPECT_TRUE(until_closed(100));
}

TEST_F(PipeDeathTest, AConnectionAndItselfIsTheCallersMistake) {
  open();
  EXPECT_DEATH(pipe(*a.get(), *a.get()), "pipe: a connection and itself");
}

TEST_F(PipeDeathTest, ConnectionsOfDifferentLoopsAreTheCallersMistake) {
  start();
  EventLoop other;
  Recorder others;
  {
    Server elsewhere(other, others);
    elsewhere.listen(SocketAddress::loopback(0));
    const RawSocket third = RawSocket::connect_to(elsewhere.address());
    while (others.opened == 0) other.run_once(10ms);
    EXPECT_DEATH(pipe(connection(), *others.last), "of different loops");
  }
  other.run_once(0ms);
}

}  // namespace
}  // namespace millrace::test
