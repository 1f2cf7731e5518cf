// The timeouts of a connection, with a clock that the test moves.
#include "support/one_peer_test.h"

#include <string>
#include <vector>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

// Timeouts are hundreds of seconds here: the little real time that passes besides does not matter.
struct ConnectionTimeoutsTest : OnePeerTest {
  // All off, but for what is set.
  static ServerOptions timeouts(ConnectionTimeouts only) {
    ServerOptions options;
    options.connection.timeouts = only;
    return options;
  }
  static constexpr ConnectionTimeouts kOff{0ms, 0ms, 0ms, 0ms, 0ms};

  void pass(std::chrono::nanoseconds time) {
    faults.advance_clock(time);
    for (int i = 0; i < 4; ++i) loop().run_once(0ms);
  }
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
  // late ACKs are progress too.
  void until_stuck() {
    EXPECT_TRUE(run_until([&] {
      const std::uint64_t sent = connection().stats().bytes_sent;
      run_for(5ms);
      const KernelQueues q = connection().kernel_queues();
      return q.send_bytes == q.send_unsent_bytes && connection().stats().bytes_sent == sent;
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
  bool is_open() { return recorder.closed == 0 && connection().is_open(); }

  Faults faults;
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

TEST_F(ConnectionTimeoutsTest, APeerThatTakesNothingIsAborted) {
  ConnectionTimeouts t = kOff;
  t.write_stall = 1000s;
  start_blocked(t);
  pass(900s);
  EXPECT_TRUE(is_open());
  pass(101s);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], error::write_stalled);
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

TEST_F(ConnectionTimeoutsTest, APeerThatDoesNotEndAfterCloseIsWaitedForWhileItSends) {
  ConnectionTimeouts t = kOff;
  t.linger = 100s;
  t.linger_total = 1000s;
  start(timeouts(t));
  connection().close();
  EXPECT_TRUE(sees_end(peer));
  for (int i = 0; i < 9; ++i) {
    pass(90s);
    ASSERT_EQ(recorder.closed, 0) << "after " << i * 90 << " s";
    const std::uint64_t before = connection().stats().bytes_received;
    peer.send_all("x");
    ASSERT_TRUE(run_until([&] { return connection().stats().bytes_received > before; }));
  }
  pass(101s);
  ASSERT_EQ(recorder.closed, 1);
  // It has acknowledged everything: nothing was lost.
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionTimeoutsTest, APeerThatSendsForEverIsNotWaitedForLongerThanLingerTotal) {
  ConnectionTimeouts t = kOff;
  t.linger = 100s;
  t.linger_total = 1000s;
  start(timeouts(t));
  connection().close();
  EXPECT_TRUE(sees_end(peer));
  for (int i = 0; i < 11; ++i) {
    ASSERT_EQ(recorder.closed, 0) << "after " << i * 90 << " s";
    const std::uint64_t before = connection().stats().bytes_received;
    peer.send_all("x");
    ASSERT_TRUE(run_until([&] { return connection().stats().bytes_received > before; }));
    pass(90s);
  }
  pass(20s);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionTimeoutsTest, WhatWasNotAcknowledgedWhenLingeringEndsIsAnError) {
  ConnectionTimeouts t = kOff;
  t.linger = 100s;
  ServerOptions options = timeouts(t);
  options.listen.socket.send_buffer_bytes = 1 << 20;
  // Our kernel takes all of it, the peer's has room for a part.
  start(options, 4096);
  connection().send(pattern(100'000));
  connection().close();
  loop().run_once(0ms);
  ASSERT_EQ(connection().queued_bytes(), 0u);
  pass(90s);
  EXPECT_EQ(recorder.closed, 0);
  pass(11s);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], error::linger_timeout);
}

TEST_F(ConnectionTimeoutsTest, TheReasonOfCloseOutlivesLingering) {
  ConnectionTimeouts t = kOff;
  t.linger = 100s;
  start(timeouts(t));
  connection().close(std::make_error_code(std::errc::protocol_error));
  EXPECT_TRUE(sees_end(peer));
  pass(101s);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], std::errc::protocol_error);
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
