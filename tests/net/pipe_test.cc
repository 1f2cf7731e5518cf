// pipe(): what passes between two peers, and that a fast one is held back by a slow one.
#include "support/pipe_test.h"

#include <string>
#include <vector>

namespace millrace::test {
namespace {

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

TEST_F(PipeDeathTest, AConnectionThatHasAPipeIsTheCallersMistake) {
  open_piped();
  EXPECT_DEATH(pipe(*b.get(), *a.get()), "pipe: a connection that has a pipe");
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
