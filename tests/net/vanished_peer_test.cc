// Peers that are gone without a word: no FIN, no RST, no ACK. Only clocks find them.
#include <millrace/client.h>

#include "support/timeouts_test.h"

#include <string>

namespace millrace::test {
namespace {

struct VanishedPeerTest : TimeoutsTest {
  // Skips the test where the kernel lets nobody drop a TCP socket's segments without privileges;
  // what vanished peers cost is shown there on the simulated kernel (tests/sim), which needs none.
  bool vanish() { return peer.vanish(); }
  static constexpr const char* kNotAllowed = "dropping segments needs privileges here";

  static ServerOptions with(const SocketOptions& socket, ConnectionTimeouts only = kOff) {
    ServerOptions options = timeouts(only);
    options.listen.socket = socket;
    return options;
  }
  // In real time, and without spinning meanwhile.
  void expect_noticed(std::errc why) {
    const std::uint64_t before = loop().stats().iterations;
    const TimePoint end = Clock::now() + 30s;
    while (recorder.closed == 0 && Clock::now() < end) loop().run_once(100ms);
    EXPECT_LE(loop().stats().iterations - before, 350u) << "it spins";
    ASSERT_EQ(recorder.closed, 1);
    EXPECT_EQ(recorder.reasons[0], why);
  }
};

TEST_F(VanishedPeerTest, KeepaliveFindsOneThoughNothingIsSent) {
  SocketOptions socket;
  socket.keepalive_idle = 1s;
  socket.keepalive_interval = 1s;
  socket.keepalive_probes = 1;
  start(with(socket));
  if (!vanish()) GTEST_SKIP() << kNotAllowed;
  expect_noticed(std::errc::timed_out);
}

TEST_F(VanishedPeerTest, KeepaliveFindsOneWhileReadingIsPausedToo) {
  SocketOptions socket;
  socket.keepalive_idle = 1s;
  socket.keepalive_interval = 1s;
  socket.keepalive_probes = 1;
  start(with(socket));
  connection().pause_reading();
  if (!vanish()) GTEST_SKIP() << kNotAllowed;
  expect_noticed(std::errc::timed_out);
}

TEST_F(VanishedPeerTest, UserTimeoutFindsOneThatAcknowledgesNothing) {
  SocketOptions socket;
  socket.user_timeout = 400ms;
  start(with(socket));
  if (!vanish()) GTEST_SKIP() << kNotAllowed;
  std::size_t undelivered = 0;
  recorder.when_close = [&](Connection& c, std::error_code) {
    undelivered = c.stats().undelivered_bytes;
  };
  connection().send("never acknowledged");
  expect_noticed(std::errc::timed_out);
  EXPECT_EQ(undelivered, 18u);
}

TEST_F(VanishedPeerTest, WriteStallFindsOneForWhomBytesWait) {
  ConnectionTimeouts t = kOff;
  t.write_stall = 1000s;
  ServerOptions options = timeouts(t);
  start_with_small_buffers(options);
  if (!vanish()) GTEST_SKIP() << kNotAllowed;
  connection().send(pattern(1 << 20));
  run_for(5ms);
  ASSERT_GT(connection().queued_bytes(), 0u);
  pass(900s);
  EXPECT_TRUE(is_open());
  std::size_t undelivered = 0;
  std::uint64_t sent = 0;
  recorder.when_close = [&](Connection& c, std::error_code) {
    undelivered = c.stats().undelivered_bytes;
    sent = c.stats().bytes_sent;
  };
  pass(101s);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], error::write_stalled);
  EXPECT_EQ(undelivered, 1u << 20) << "nothing of it was acknowledged";
  EXPECT_EQ(recorder.detail, std::to_string((1 << 20) - sent) + " bytes queued, " +
                                 std::to_string(sent) + " sent and not acknowledged");
}

TEST_F(VanishedPeerTest, LingeringEndsWithWhatWasNotAcknowledged) {
  ConnectionTimeouts t = kOff;
  t.linger = 1000s;
  start(timeouts(t));
  if (!vanish()) GTEST_SKIP() << kNotAllowed;
  connection().send("never acknowledged");
  connection().close();
  loop().run_once(0ms);
  pass(900s);
  EXPECT_EQ(recorder.closed, 0);
  pass(101s);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], error::linger_timeout);
  EXPECT_EQ(recorder.detail, "0 bytes queued, 18 sent and not acknowledged");
}

TEST_F(VanishedPeerTest, ADrainDoesNotWaitForOne) {
  start(timeouts(kOff));
  if (!vanish()) GTEST_SKIP() << kNotAllowed;
  connection().send("never acknowledged");
  std::size_t cut = 0;
  server->drain(1000s, [&](DrainResult result) { cut = result.cut; });
  pass(900s);
  EXPECT_EQ(recorder.closed, 0);
  pass(101s);
  EXPECT_EQ(cut, 1u);
}

}  // namespace
}  // namespace millrace::test
