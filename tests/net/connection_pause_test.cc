// pause_reading() and resume_reading(): what is held back, and that holding back costs nothing.
#include "support/one_peer_test.h"

#include <string>
#include <vector>

namespace millrace::test {
namespace {

using Events = std::vector<std::string>;

struct ConnectionPauseTest : OnePeerTest {
  // Paused from the start, so that whatever the peer does finds it so.
  void start_paused() {
    recorder.when_open = [](Connection& c) { c.pause_reading(); };
    start();
    EXPECT_TRUE(connection().reading_paused());
  }
  std::vector<std::string> calls;
  // A handful of wake-ups; a loop that spins has thousands.
  static constexpr std::uint64_t kFew = 5;
};

TEST_F(ConnectionPauseTest, NothingIsDeliveredUntilReadingIsResumed) {
  start_paused();
  peer.send_all("hello");
  EXPECT_LE(run_for(50ms), kFew);
  EXPECT_EQ(recorder.events, Events{"open"});
  connection().resume_reading();
  EXPECT_FALSE(connection().reading_paused());
  ASSERT_TRUE(run_until([&] { return recorder.received == "hello"; }));
}

TEST_F(ConnectionPauseTest, PausingInOnDataHoldsBackTheRestOfTheBufferAndWhatFollows) {
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
    in.consume(1);
    c.pause_reading();
    EXPECT_TRUE(in.stopped());
  };
  start();
  peer.send_all("abc");
  ASSERT_TRUE(run_until([&] { return calls.size() == 1; }));
  peer.send_all("de");
  EXPECT_LE(run_for(50ms), kFew);
  EXPECT_EQ(calls.size(), 1u);
  EXPECT_EQ(connection().unconsumed().text(), "bc");
}

TEST_F(ConnectionPauseTest, WhatWasLeftOverIsDeliveredOnResumeWithoutNewBytes) {
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
    in.consume(1);
    c.pause_reading();
  };
  start();
  peer.send_all("abc");
  ASSERT_TRUE(run_until([&] { return calls.size() == 1; }));
  for (int i = 0; i < 2; ++i) {
    loop().post([&] { connection().resume_reading(); });
    loop().run_once(0ms);  // in the same iteration
  }
  EXPECT_EQ(calls, (std::vector<std::string>{"abc", "bc", "c"}));
  connection().resume_reading();
  run_for(20ms);
  EXPECT_EQ(calls.size(), 3u) << "there is nothing left to deliver";
}

TEST_F(ConnectionPauseTest, OnDataIsNotCalledFromInsideResume) {
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
    if (calls.size() > 1) in.consume_all();
    c.pause_reading();
  };
  start();
  peer.send_all("abc");
  ASSERT_TRUE(run_until([&] { return calls.size() == 1; }));
  connection().resume_reading();
  EXPECT_EQ(calls.size(), 1u);
  loop().run_once(10s);
  EXPECT_EQ(calls.size(), 2u);
}

TEST_F(ConnectionPauseTest, OnResumeLessThanWasExpectedIsNotDelivered) {
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
    if (in.size() < 5) {
      in.expect(5);
      c.pause_reading();
    } else {
      in.consume_all();
    }
  };
  start();
  peer.send_all("abc");
  ASSERT_TRUE(run_until([&] { return calls.size() == 1; }));
  connection().resume_reading();
  run_for(20ms);
  EXPECT_EQ(calls.size(), 1u);
  peer.send_all("de");
  ASSERT_TRUE(run_until([&] { return calls.size() == 2; }));
  EXPECT_EQ(calls[1], "abcde");
}

TEST_F(ConnectionPauseTest, PausingAndResumingInOneCallbackCostsNoSystemCall) {
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    c.pause_reading();
    c.send(in.view());
    in.consume_all();
    c.resume_reading();
  };
  start();
  Faults faults;
  for (int i = 0; i < 10; ++i) {
    peer.send_all("hello");
    EXPECT_EQ(receive(peer, 5), "hello");
  }
  EXPECT_EQ(faults.count(Call::epoll_ctl), 0u);
}

TEST_F(ConnectionPauseTest, PausingAndResumingInOnDataDeliversNothingTwice) {
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
    c.pause_reading();
    c.resume_reading();
  };
  start();
  peer.send_all("ab");
  ASSERT_TRUE(run_until([&] { return calls.size() == 1; }));
  peer.send_all("c");
  ASSERT_TRUE(run_until([&] { return calls.size() == 2; }));
  EXPECT_LE(run_for(20ms), kFew);
  EXPECT_EQ(calls, (std::vector<std::string>{"ab", "abc"}));
}

TEST_F(ConnectionPauseTest, PausingAndResumingInOnDataLeavesWhatIsExpected) {
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
    c.pause_reading();
    c.resume_reading();
    if (calls.size() == 2) in.expect(5);
  };
  start();
  for (const char* part : {"ab", "c", "d", "e"}) {
    peer.send_all(part);
    run_for(10ms);
  }
  EXPECT_EQ(calls, (std::vector<std::string>{"ab", "abc", "abcde"}));
}

TEST_F(ConnectionPauseTest, ThePauseReachesTheKernelOnlyWhenSomethingComes) {
  start();
  Faults faults;
  connection().pause_reading();
  run_for(10ms);
  connection().resume_reading();
  run_for(10ms);
  EXPECT_EQ(faults.count(Call::epoll_ctl), 0u);
  connection().pause_reading();
  peer.send_all("hello");
  run_for(10ms);
  EXPECT_EQ(faults.count(Call::epoll_ctl), 1u);
  connection().resume_reading();
  ASSERT_TRUE(run_until([&] { return recorder.received == "hello"; }));
  EXPECT_EQ(faults.count(Call::epoll_ctl), 2u);
}

TEST_F(ConnectionPauseTest, PausingTwiceIsEndedByResumingOnce) {
  start_paused();
  connection().pause_reading();
  peer.send_all("hello");
  connection().resume_reading();
  ASSERT_TRUE(run_until([&] { return recorder.received == "hello"; }));
}

TEST_F(ConnectionPauseTest, ResumingWhatIsNotPausedDeliversNothingTwice) {
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
  };
  start();
  peer.send_all("abc");
  ASSERT_TRUE(run_until([&] { return calls.size() == 1; }));
  connection().resume_reading();
  EXPECT_LE(run_for(20ms), kFew);
  EXPECT_EQ(calls.size(), 1u);
}

TEST_F(ConnectionPauseTest, ThePeerIsSlowedDownByTcp) {
  start_with_small_buffers();
  connection().pause_reading();
  const std::string part = pattern(4096);
  std::size_t sent = 0;
  const auto push = [&] {
    std::size_t n;
    while ((n = peer.send_some(part)) > 0) sent += n;
  };
  // Until nothing has gone for longer than an acknowledgement may be delayed.
  int rounds_stuck = 0;
  ASSERT_TRUE(run_until([&] {
    const std::size_t before = sent;
    push();
    run_for(5ms);
    rounds_stuck = sent == before ? rounds_stuck + 1 : 0;
    return rounds_stuck == 60;
  })) << "still growing";
  EXPECT_LT(sent, 6u << 20);  // the kernels' buffers, of which the peer's may be large
  connection().resume_reading();
  ASSERT_TRUE(run_until([&] { return recorder.received.size() == sent; }));
}

TEST_F(ConnectionPauseTest, SendingGoesOnWhilePausedAndOnDrainedComes) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 10'000;
  start_with_small_buffers(options);
  connection().pause_reading();
  peer.send_all("not read");
  const std::string large = pattern(200'000);
  EXPECT_FALSE(connection().send(large));
  EXPECT_TRUE(same_bytes(receive(peer, large.size()), large));
  EXPECT_TRUE(run_until([&] { return recorder.drained == 1; }));
  EXPECT_LE(run_for(50ms), kFew);
  EXPECT_EQ(recorder.received, "");
}

TEST_F(ConnectionPauseTest, APausedConnectionWithBytesThatWaitDoesNotSpin) {
  start_with_small_buffers();
  connection().pause_reading();
  connection().send(pattern(1 << 20));
  peer.send_all("not read");
  run_for(10ms);
  EXPECT_GT(connection().queued_bytes(), 0u);
  EXPECT_LE(run_for(50ms), kFew);
}

TEST_F(ConnectionPauseTest, ThePeersEndWaitsUntilReadingIsResumedAndDoesNotSpin) {
  start_paused();
  peer.end();
  EXPECT_LE(run_for(100ms), kFew);
  EXPECT_EQ(recorder.events, Events{"open"});
  connection().resume_reading();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "end", "close"}));
}

TEST_F(ConnectionPauseTest, DataBeforeThePeersEndComesBeforeItOnResume) {
  start_paused();
  peer.send_all("last words");
  peer.end();
  EXPECT_LE(run_for(100ms), kFew);
  EXPECT_EQ(recorder.events, Events{"open"});
  connection().resume_reading();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.received, "last words");
  EXPECT_EQ(recorder.events, (Events{"open", "data", "end", "close"}));
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionPauseTest, AResetIsNoticedWhilePausedAndDoesNotSpin) {
  start_paused();
  peer.reset();
  EXPECT_LE(run_for(100ms), kFew);
  ASSERT_EQ(recorder.events, (Events{"open", "close"}));
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(ConnectionPauseTest, DataBeforeAResetWaitsUntilReadingIsResumedAndDoesNotSpin) {
  start_paused();
  peer.send_all("last words");
  run_for(10ms);
  peer.reset();
  EXPECT_LE(run_for(100ms), kFew);
  EXPECT_EQ(recorder.events, Events{"open"});
  connection().resume_reading();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.received, "last words");
  EXPECT_EQ(recorder.events, (Events{"open", "data", "close"}));
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(ConnectionPauseTest, ClosingWhatWasForgottenAfterAResetStillWorks) {
  start_paused();
  peer.send_all("never read");
  peer.reset();
  run_for(20ms);
  EXPECT_EQ(recorder.closed, 0);
  connection().close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "close"}));
}

TEST_F(ConnectionPauseTest, AHangUpWithUnreadDataWaitsForResumeAndDoesNotSpin) {
  start_paused();
  connection().end();
  ASSERT_TRUE(sees_end(peer));
  peer.send_all("the answer");
  peer.close();
  EXPECT_LE(run_for(100ms), kFew);
  EXPECT_EQ(recorder.events, Events{"open"});
  connection().resume_reading();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.received, "the answer");
  EXPECT_EQ(recorder.events, (Events{"open", "data", "end", "close"}));
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionPauseTest, WhatOneReceiveBringsMayWaitBeyondReceiveBytes) {
  ServerOptions options;
  options.connection.limits.receive_bytes = 100;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    recorder.received += in.view().first(1).text();
    in.consume(1);
    c.pause_reading();
  };
  start(options);
  const std::string all = pattern(3000);
  peer.send_all(all);
  ASSERT_TRUE(run_until([&] { return recorder.received.size() == 1; }));
  recorder.when_data = {};
  EXPECT_EQ(recorder.closed, 0);
  ASSERT_EQ(connection().unconsumed().size(), 2999u);
  connection().resume_reading();
  ASSERT_TRUE(run_until([&] { return recorder.received.size() == 3000; }));
  EXPECT_TRUE(same_bytes(recorder.received, all));
}

TEST_F(ConnectionPauseTest, WhenBothSidesHaveEndedAPausedConnectionIsOverAtOnce) {
  start_paused();
  connection().end();
  ASSERT_TRUE(sees_end(peer));
  peer.close();
  EXPECT_LE(run_for(50ms), kFew);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], std::error_code());
  EXPECT_EQ(recorder.peer_ended, 0) << "paused";
}

TEST_F(ConnectionPauseTest, PausingAfterCloseNeitherHoldsBackTheEndNorSpins) {
  start();
  connection().send("reply");
  connection().close();
  connection().pause_reading();
  EXPECT_FALSE(connection().reading_paused());
  EXPECT_EQ(receive(peer, 5), "reply");
  peer.send_all("discarded");
  EXPECT_LE(run_for(50ms), kFew);
  connection().resume_reading();
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.received, "");
}

TEST_F(ConnectionPauseTest, ClosingAPausedConnectionDiscardsWhatThePeerSends) {
  start_paused();
  peer.send_all("never read");
  run_for(10ms);
  connection().send("reply");
  connection().close();
  EXPECT_EQ(receive(peer, 5), "reply");
  EXPECT_TRUE(sees_end(peer)) << "unread input became a reset";
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "close"}));
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

}  // namespace
}  // namespace millrace::test
