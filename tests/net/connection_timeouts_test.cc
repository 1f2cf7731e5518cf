// The timeouts of a connection, with a clock that the test moves.
#include "support/timeouts_test.h"

#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct ConnectionTimeoutsTest : TimeoutsTest {
  // A peer that does not read, and bytes that wait for it.
  void start_blocked(ConnectionTimeouts only) {
    start_with_small_buffers(timeouts(only));
    block();
  }
  void block() {
    connection().send(pattern(1 << 20));
    until_stuck();
    EXPECT_GT(connection().queued_bytes(), 0u);
  }
  // Until everything that has left is acknowledged and the kernels' buffers are full: the peer's
  // late ACKs are progress too. Several looks in a row: a busy machine's ACKs may be later still.
  void until_stuck() {
    int stuck = 0;
    EXPECT_TRUE(run_until([&] {
      const std::uint64_t sent = connection().stats().bytes_sent;
      run_for(5ms);
      const KernelQueues q = connection().kernel_queues();
      const bool acknowledged = over_unix() || q.send_bytes == q.send_unsent_bytes;
      const bool now = acknowledged && connection().stats().bytes_sent == sent;
      stuck = now ? stuck + 1 : 0;
      return stuck == 4;
    }));
  }
  // The peer reads until the kernel has taken more of what waits.
  void make_progress() {
    const std::uint64_t sent = connection().stats().bytes_sent;
    EXPECT_TRUE(run_until([&] {
      peer.receive_some();
      return connection().stats().bytes_sent > sent;
    }));
    until_stuck();
  }
  void drain() {
    EXPECT_EQ(receive(peer, 1 << 20).size(), 1u << 20);
    EXPECT_EQ(connection().queued_bytes(), 0u);
  }
};

TEST_F(ConnectionTimeoutsTest, ASilentConnectionIsClosedWithAnOrderlyEnd) {
  ConnectionTimeouts t = kOff;
  t.idle = 1000s;
  start(timeouts(t));
  pass(900s);
  EXPECT_TRUE(is_open());
  pass(101s);
  EXPECT_FALSE(connection().is_open());
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::idle_timeout);
}

TEST_F(ConnectionTimeoutsTest, BytesInEitherDirectionRestartTheIdleTimeout) {
  ConnectionTimeouts t = kOff;
  t.idle = 1000s;
  start(timeouts(t));
  for (int i = 0; i < 3; ++i) {
    pass(900s);
    connection().send("x");
    EXPECT_EQ(receive(peer, 1), "x");
    pass(900s);
    ASSERT_TRUE(is_open());
    const std::size_t received = recorder.received.size();
    peer.send_all("y");
    ASSERT_TRUE(run_until([&] { return recorder.received.size() > received; }));
  }
  pass(900s);
  EXPECT_TRUE(is_open());
  pass(101s);
  EXPECT_FALSE(connection().is_open());
}

TEST_F(ConnectionTimeoutsTest, AResetThatComesBetweenTheReadAndTheTimeoutIsAReset) {
  ConnectionTimeouts t = kOff;
  t.idle = 1000s;
  start(timeouts(t));
  // Due in the same turn, and first: when the turn's events were waited for there was no reset.
  const Timer before = loop().after(999s, [this] { peer.reset(); });
  pass(1001s);
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.peer_ended, 0) << "a stream that was cut looks complete";
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(ConnectionTimeoutsTest, APausedConnectionIsIdleToo) {
  ConnectionTimeouts t = kOff;
  t.idle = 1000s;
  start(timeouts(t));
  connection().pause_reading();
  peer.send_all("not read");
  pass(1001s);
  EXPECT_FALSE(connection().is_open());
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::idle_timeout);
}

TEST_F(ConnectionTimeoutsTest, TheIdleTimeoutNeverCutsAReplyThatIsStillBeingSent) {
  ConnectionTimeouts t = kOff;
  t.idle = 1000s;
  start_with_small_buffers(timeouts(t));
  const std::string reply = pattern(200'000);
  connection().send(reply);
  run_for(5ms);
  ASSERT_GT(connection().queued_bytes(), 0u);
  for (int i = 0; i < 5; ++i) pass(1500s);
  EXPECT_TRUE(is_open());
  EXPECT_TRUE(same_bytes(receive(peer, reply.size()), reply));
}

TEST_F(ConnectionTimeoutsTest, AnIdleTimeoutHoldsAgainOnceABlockedQueueHasDrained) {
  ConnectionTimeouts t = kOff;
  t.idle = 1000s;
  t.write_stall = 30'000s;
  start_blocked(t);
  drain();
  pass(900s);
  EXPECT_TRUE(is_open());
  pass(101s);
  EXPECT_FALSE(connection().is_open());
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::idle_timeout);
}

TEST_F(ConnectionTimeoutsTest, AnIdleTimeoutThatPassedWhileTheQueueWasBlockedHoldsAgainToo) {
  ConnectionTimeouts t = kOff;
  t.idle = 1000s;
  start_blocked(t);
  pass(1001s);
  EXPECT_TRUE(is_open());
  drain();
  pass(900s);
  EXPECT_TRUE(is_open());
  pass(101s);
  EXPECT_FALSE(connection().is_open());
}

TEST_F(ConnectionTimeoutsTest, BytesThatTheLoopHasNotReadYetAreNoSilence) {
  ConnectionTimeouts t = kOff;
  t.idle = 1000s;
  start(timeouts(t));
  peer.send_all("x");
  // The timer comes before the bytes, as it may after the loop has stood still.
  faults.on(Call::epoll_wait, Fault::fail(EINTR));
  pass(1001s);
  EXPECT_TRUE(is_open());
  EXPECT_EQ(recorder.received, "x");
}

TEST_F(ConnectionTimeoutsTest, APeerThatTakesNothingIsAborted) {
  ConnectionTimeouts t = kOff;
  t.write_stall = 1000s;
  start_blocked(t);
  pass(900s);
  EXPECT_TRUE(is_open());
  const std::string detail = std::to_string(connection().queued_bytes()) + " bytes queued, " +
                             std::to_string(connection().kernel_queues().send_bytes) +
                             " sent and not acknowledged";
  pass(101s);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], error::write_stalled);
  EXPECT_EQ(recorder.detail, detail);
  EXPECT_FALSE(sees_end(peer));
  EXPECT_EQ(peer.last_error(), ECONNRESET);
}

TEST_F(ConnectionTimeoutsTest, SlowProgressRestartsTheStallTimeout) {
  ConnectionTimeouts t = kOff;
  t.write_stall = 1000s;
  start_blocked(t);
  for (int i = 0; i < 5; ++i) {
    pass(900s);
    ASSERT_TRUE(is_open()) << i;
    make_progress();
  }
  ASSERT_GT(connection().queued_bytes(), 0u);
  pass(900s);
  EXPECT_TRUE(is_open());
  pass(101s);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], error::write_stalled);
}

TEST_F(ConnectionTimeoutsTest, TheStallTimeoutStartsWhenBytesBeginToWait) {
  ConnectionTimeouts t = kOff;
  t.write_stall = 1000s;
  start_with_small_buffers(timeouts(t));
  pass(5000s);
  connection().send("taken at once");
  pass(5000s);
  EXPECT_TRUE(is_open()) << "nothing waits";
  block();
  EXPECT_TRUE(is_open());
  pass(900s);
  EXPECT_TRUE(is_open());
  pass(101s);
  ASSERT_EQ(recorder.closed, 1);
}

TEST_F(ConnectionTimeoutsTest, WhatThePeerSendsDoesNotRestartTheStallTimeout) {
  ConnectionTimeouts t = kOff;
  t.write_stall = 1000s;
  start_blocked(t);
  pass(600s);
  peer.send_all("still here");
  ASSERT_TRUE(run_until([&] { return recorder.received == "still here"; }));
  EXPECT_TRUE(is_open());
  pass(401s);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], error::write_stalled);
}

TEST_F(ConnectionTimeoutsTest, ReadinessWithoutRoomDoesNotRestartTheStallTimeout) {
  ConnectionTimeouts t = kOff;
  t.write_stall = 1000s;
  start(timeouts(t));
  // epoll says all the time that there is room.
  faults.on(Call::send, Fault::fail(EAGAIN), {.times = 1 << 20});
  faults.on(Call::sendmsg, Fault::fail(EAGAIN), {.times = 1 << 20});
  connection().send("x");
  loop().run_once(0ms);
  pass(900s);
  EXPECT_TRUE(is_open());
  pass(101s);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], error::write_stalled);
}

TEST_F(ConnectionTimeoutsTest, AClosingConnectionWhoseQueueStallsIsAborted) {
  ConnectionTimeouts t = kOff;
  t.write_stall = 1000s;
  start_blocked(t);
  connection().close();
  pass(900s);
  EXPECT_EQ(recorder.closed, 0);
  pass(101s);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], error::write_stalled);
}

TEST_F(ConnectionTimeoutsTest, LifetimeEndsAConnectionHoweverBusyItIs) {
  ConnectionTimeouts t = kOff;
  t.lifetime = 1000s;
  start(timeouts(t));
  for (int i = 0; i < 9; ++i) {
    pass(100s);
    ASSERT_TRUE(is_open());
    connection().send("x");
    EXPECT_EQ(receive(peer, 1), "x");
  }
  pass(101s);
  EXPECT_FALSE(connection().is_open());
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::lifetime_exceeded);
}

TEST_F(ConnectionTimeoutsTest, ALifetimeMayBeMonths) {
  ConnectionTimeouts t = kOff;
  t.lifetime = 60 * 24h;
  start(timeouts(t));
  for (int day = 0; day < 59; ++day) pass(24h);
  EXPECT_TRUE(is_open());
  pass(25h);
  EXPECT_FALSE(connection().is_open());
}

TEST_F(ConnectionTimeoutsTest, WhatWasQueuedWhenTheLifetimeEndedStillArrives) {
  ConnectionTimeouts t = kOff;
  t.lifetime = 1000s;
  start_with_small_buffers(timeouts(t));
  const std::string reply = pattern(200'000);
  connection().send(reply);
  pass(1001s);
  EXPECT_FALSE(connection().is_open());
  EXPECT_TRUE(same_bytes(receive(peer, reply.size()), reply));
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::lifetime_exceeded);
}

TEST_F(ConnectionTimeoutsTest, ZeroSwitchesEachOfThemOff) {
  start_blocked(kOff);
  RawSocket silent = connect();
  RawSocket lingering = connect();
  connection().close();
  EXPECT_TRUE(sees_end(lingering));
  for (int day = 0; day < 30; ++day) pass(24h);
  EXPECT_EQ(recorder.closed, 0);
  peer.reset();
  lingering.reset();
  silent.reset();
  ASSERT_TRUE(until_closed(3));
}

TEST_F(ConnectionTimeoutsTest, TheNearestOfSeveralDeadlinesWins) {
  ConnectionTimeouts t = kOff;
  t.idle = 500s;
  t.lifetime = 800s;
  t.write_stall = 200s;
  start(timeouts(t));
  pass(400s);
  peer.send_all("x");
  ASSERT_TRUE(run_until([&] { return recorder.received == "x"; }));
  // Idle is due at 900 s now, the lifetime at 800 s.
  pass(300s);
  EXPECT_TRUE(is_open());
  pass(101s);
  EXPECT_FALSE(connection().is_open());
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::lifetime_exceeded);
}

TEST_F(ConnectionTimeoutsTest, ConnectionsOfOneServerTimeOutEachForItself) {
  ConnectionTimeouts t = kOff;
  t.idle = 1000s;
  start(timeouts(t));
  pass(500s);
  RawSocket second = connect();
  pass(501s);
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(connection().is_open()) << "the second has 500 s left";
  pass(500s);
  EXPECT_TRUE(sees_end(second));
  second.close();
  ASSERT_TRUE(until_closed(2));
}

TEST_F(ConnectionTimeoutsTest, WithTheRealClockTheLoopWakesUpForATimeoutAndNotBefore) {
  ConnectionTimeouts t = kOff;
  t.idle = 60ms;
  start(timeouts(t));
  const TimePoint begin = Clock::now();
  peer.send_all("x");
  ASSERT_TRUE(run_until([&] { return recorder.received == "x"; }));
  const std::uint64_t wakeups = loop().stats().iterations;
  while (connection().is_open()) loop().run_once(5s);
  EXPECT_GE(Clock::now() - begin, 60ms);
  EXPECT_LE(loop().stats().iterations - wakeups, 5u);
  EXPECT_TRUE(sees_end(peer));
}

}  // namespace
}  // namespace millrace::test
