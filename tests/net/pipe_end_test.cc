// pipe(): how the end of one side becomes that of the other, whenever it comes.
#include "support/captured_log.h"
#include "support/pipe_test.h"

#include <stdexcept>
#include <string>

namespace millrace::test {
namespace {

using PipeEndTest = PipeTest;

TEST_F(PipeEndTest, AHalfCloseIsCarriedOverAndTheOtherWayGoesOn) {
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

TEST_F(PipeEndTest, TheEndOfTheStreamComesBehindAllThatASlowReaderHasNotTakenYet) {
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

TEST_F(PipeEndTest, BothPeersMayEndAtOnceWithBytesStillUnderWay) {
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

TEST_F(PipeEndTest, WhatWaitsWithASourceThatIsOverStillGoesToTheSink) {
  ServerOptions options = small_buffers();
  options.connection.limits.high_watermark_bytes = 10'000;
  open(options, 4096);
  const std::string before = pattern(100'000);
  EXPECT_FALSE(b.get()->send(before));
  left.send_all("behind it");
  right.end();
  pipe(*a.get(), *b.get());
  ASSERT_TRUE(run_until([&] { return a.get()->unconsumed() == "behind it"; }));
  EXPECT_TRUE(sees_end(left));
  left.end();
  ASSERT_TRUE(until_closed()) << "both ways of this side have ended";
  EXPECT_EQ(receive(right, 200'000), before + "behind it");
  EXPECT_TRUE(right.at_end());
  EXPECT_TRUE(until_both_closed());
}

TEST_F(PipeEndTest, AResetOfOnePeerResetsTheOther) {
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

TEST_F(PipeEndTest, AnAbortOfOneSideResetsBothPeers) {
  open_piped();
  b.get()->abort();
  EXPECT_TRUE(sees_reset(left));
  EXPECT_TRUE(sees_reset(right));
  ASSERT_TRUE(until_both_closed());
  EXPECT_EQ(recorder.reasons[0], error::aborted);
}

TEST_F(PipeEndTest, ATimeoutOfOneSideCutsTheOther) {
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

TEST_F(PipeEndTest, ATimeoutThatWouldCloseGracefullyResetsItsOwnPeerToo) {
  ServerOptions options;
  options.connection.timeouts.idle = 20ms;
  open_piped(options);
  left.end();  // so that closing would be a plain end of the stream
  EXPECT_TRUE(sees_reset(left)) << "right may have had more to say";
  ASSERT_TRUE(until_both_closed());
  const std::vector<std::error_code> both{recorder.reasons[0], right_recorder.reasons[0]};
  EXPECT_EQ(both, std::vector<std::error_code>(2, error::idle_timeout));
}

TEST_F(PipeEndTest, AServerThatDrainsLetsItGoOnUntilTheStreamEnds) {
  open_piped();
  DrainResult result;
  bool drained = false;
  server->drain(60s, [&](DrainResult r) {
    result = r;
    drained = true;
  });
  run_for(5ms);
  left.send_all("still here");
  EXPECT_EQ(receive(right, 10), "still here");
  left.end();
  right.end();
  ASSERT_TRUE(until_both_closed());
  ASSERT_TRUE(run_until([&] { return drained; }));
  EXPECT_EQ(result.finished, 1u);
  EXPECT_EQ(result.cut, 0u);
}

TEST_F(PipeEndTest, AWriteThatFailsResetsTheSource) {
  open_piped();
  Faults faults;
  faults.on(Call::send, Fault::fail(EPIPE), {.times = 1});
  left.send_all("x");
  left.end();
  ASSERT_TRUE(until_both_closed());
  EXPECT_EQ(right_recorder.reasons[0], std::errc::broken_pipe);
  EXPECT_TRUE(sees_reset(left));
}

TEST_F(PipeEndTest, AnExceptionOfAnOldHandlersOnCloseHarmsNobody) {
  const CapturedLog log;
  recorder.when_close = [](Connection&, std::error_code) { throw std::runtime_error("on_close"); };
  open_piped();
  left.end();
  right.end();
  EXPECT_TRUE(until_both_closed());
}

TEST_F(PipeEndTest, ALocalCloseOfOneSideClosesTheOtherInOrder) {
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

TEST_F(PipeEndTest, ALocalCloseStillDeliversWhatBothSidesHadReceived) {
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

TEST_F(PipeEndTest, ADrainOfEitherServerLetsTheStreamsComeToTheirEnds) {
  open_piped(small_buffers(), 4096);
  const std::string all = pattern(300'000);
  std::string_view rest = all;
  std::string got;
  int drained = 0;
  const auto count = [&](DrainResult result) { drained += static_cast<int>(result.finished); };
  ASSERT_TRUE(run_until([&] {
    rest.remove_prefix(left.send_some(rest.substr(0, 1000)));
    if (rest.size() == 200'000) {
      server->drain(1h, count);
      right_server->drain(1h, count);
    }
    if (rest.empty()) left.end();
    got += right.receive_some(5000);
    return right.at_end();
  }));
  EXPECT_TRUE(same_bytes(got, all));
  right.send_all("thanks");
  right.end();
  EXPECT_EQ(receive(left, 100), "thanks");
  EXPECT_TRUE(run_until([&] { return drained == 2; }));
}

TEST_F(PipeEndTest, TheDeadlineOfADrainResetsBothPeers) {
  open_piped();
  left.send_all("cut");
  EXPECT_EQ(receive(right, 3), "cut");
  server->drain(1ms);
  EXPECT_TRUE(sees_reset(right));
  EXPECT_TRUE(sees_reset(left));
  ASSERT_TRUE(until_both_closed());
  EXPECT_EQ(right_recorder.reasons[0], error::drain_deadline);
}

TEST_F(PipeEndTest, APeerThatHadEndedBeforeIsCarriedOverBehindItsBytes) {
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

TEST_F(PipeEndTest, BothPeersHadEndedBefore) {
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

TEST_F(PipeEndTest, WithOneThatIsClosingTheOtherIsClosedInOrder) {
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

TEST_F(PipeEndTest, WithOneThatHasFailedTheOtherIsReset) {
  open();
  b.get()->abort();
  pipe(*a.get(), *b.get());
  EXPECT_TRUE(sees_reset(left));
  ASSERT_TRUE(until_both_closed());
  EXPECT_EQ(recorder.reasons[0], error::aborted);
}

TEST_F(PipeEndTest, WithTwoThatAreNoLongerOpenNothingHappens) {
  open();
  a.get()->abort();
  b.get()->close();
  pipe(*a.get(), *b.get());
  right.end();
  ASSERT_TRUE(until_both_closed());
  EXPECT_FALSE(right_recorder.reasons[0]);
}

TEST_F(PipeEndTest, CalledInOnCloseOfOneTheOtherIsResetLikeIt) {
  recorder.when_close = [&](Connection& c, std::error_code) { pipe(c, *b.get()); };
  open();
  left.reset();
  EXPECT_TRUE(sees_reset(right));
  EXPECT_TRUE(until_both_closed());
  EXPECT_EQ(right_recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(PipeEndTest, TheOwnerOfOneSideMayGoAtAnyTime) {
  open_piped();
  left.send_all("x");
  EXPECT_EQ(receive(right, 1), "x");
  right_server.reset();
  EXPECT_EQ(right_recorder.closed, 1);
  EXPECT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::owner_destroyed);
  EXPECT_TRUE(sees_reset(left));
}

TEST_F(PipeEndTest, TheOwnersMayGoInTheOnCloseOfTheOther) {
  recorder.when_close = [&](Connection&, std::error_code) { right_server.reset(); };
  right_recorder.when_close = [&](Connection&, std::error_code) { server.reset(); };
  open_piped();
  left.reset();
  EXPECT_TRUE(until_both_closed());
}

TEST_F(PipeEndTest, BothOwnersMayGoBeforeTheLoopRunsAgain) {
  open_piped();
  left.send_all("x");
  server.reset();
  right_server.reset();
  EXPECT_EQ(recorder.closed + right_recorder.closed, 2);
}

}  // namespace
}  // namespace millrace::test
