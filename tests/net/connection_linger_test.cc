// After close() has sent everything: how long a connection waits for the end of its peer.
#include "support/timeouts_test.h"

#include <string>

namespace millrace::test {
namespace {

struct ConnectionLingerTest : TimeoutsTest {
  // Bytes that our kernel takes all of, and of which the peer's has room for a part.
  void send_and_close(ConnectionTimeouts only, const std::string& bytes) {
    ServerOptions options = timeouts(only);
    options.listen.socket.send_buffer_bytes = 1 << 20;
    start(options, 4096);
    connection().send(bytes);
    connection().close();
    loop().run_once(0ms);
    EXPECT_EQ(connection().queued_bytes(), 0u);
  }
};

TEST_F(ConnectionLingerTest, APeerThatDoesNotEndAfterCloseIsWaitedForWhileItSends) {
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

TEST_F(ConnectionLingerTest, APeerThatSendsForEverIsNotWaitedForLongerThanLingerTotal) {
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

TEST_F(ConnectionLingerTest, WhatWasNotAcknowledgedWhenLingeringEndsIsAnError) {
  ConnectionTimeouts t = kOff;
  t.linger = 100s;
  send_and_close(t, pattern(100'000));
  pass(90s);
  EXPECT_EQ(recorder.closed, 0);
  const std::size_t unacknowledged = connection().kernel_queues().send_bytes - 1;  // but for FIN
  std::size_t undelivered = 0;
  recorder.when_close = [&](Connection& c, std::error_code) {
    undelivered = c.stats().undelivered_bytes;
  };
  pass(11s);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], error::linger_timeout);
  EXPECT_GT(undelivered, 0u);
  EXPECT_EQ(undelivered, unacknowledged);
  EXPECT_EQ(recorder.detail,
            "0 bytes queued, " + std::to_string(unacknowledged) + " sent and not acknowledged");
}

TEST_F(ConnectionLingerTest, TheReasonOfCloseOutlivesLingering) {
  ConnectionTimeouts t = kOff;
  t.linger = 100s;
  start(timeouts(t));
  connection().close(std::make_error_code(std::errc::protocol_error));
  EXPECT_TRUE(sees_end(peer));
  pass(101s);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], std::errc::protocol_error);
}

TEST_F(ConnectionLingerTest, APeerThatStillReadsIsWaitedForAndGetsEverything) {
  ConnectionTimeouts t = kOff;
  t.linger = 100s;
  t.linger_total = 10'000s;
  const std::string reply = pattern(100'000);
  send_and_close(t, reply);
  std::string got;
  for (int i = 0; i < 8; ++i) {
    const std::size_t before = connection().kernel_queues().send_bytes;
    ASSERT_TRUE(run_until([&] {
      got += peer.receive_some(1000);
      return connection().kernel_queues().send_bytes < before;
    }));
    pass(90s);
    ASSERT_EQ(recorder.closed, 0) << "after " << (i + 1) * 90 << " s";
  }
  ASSERT_LT(got.size(), reply.size()) << "it read too fast to show anything";
  got += receive(peer, reply.size() - got.size());
  EXPECT_TRUE(same_bytes(got, reply));
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

}  // namespace
}  // namespace millrace::test
