// abort(), and every way of ending in every state: on_close once, with the right reason.
#include "support/one_peer_test.h"
#include "support/sockets.h"

#include <cerrno>
#include <string>
#include <tuple>
#include <vector>

#include <sys/socket.h>

namespace millrace::test {
namespace {

struct ConnectionAbortTest : OnePeerTest {};

TEST_F(ConnectionAbortTest, AbortDropsWhatIsQueuedAndResets) {
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    c.send("dropped");
    c.abort();
    EXPECT_FALSE(c.is_open());
  };
  start();
  peer.send_all("x");
  EXPECT_FALSE(sees_end(peer));
  EXPECT_EQ(peer.last_error(), ECONNRESET);
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::aborted);
}

TEST_F(ConnectionAbortTest, AbortPassesOnReasonAndDetail) {
  start();
  connection().abort(std::make_error_code(std::errc::protocol_error), "a bad header");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::protocol_error);
  EXPECT_EQ(recorder.detail, "a bad header");
}

TEST_F(ConnectionAbortTest, AbortAfterTheOwnEndStillResets) {
  start();
  connection().end();
  ASSERT_TRUE(sees_end(peer));
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::aborted);
  EXPECT_EQ(socket_option(peer.fd(), SOL_SOCKET, SO_ERROR), EPIPE)
      << "what the kernel makes of a reset for who has seen the end";
}

// The bytes arrive after the I/O phase of the iteration in which the timer ends the connection.
TEST_F(ConnectionAbortTest, WhatHasArrivedBeforeATimerEndsTheConnectionIsNotDelivered) {
  for (const bool by_abort : {false, true}) {
    start();
    const Timer timer = loop().after(0ms, [&] {
      peer.send_all("too late");
      by_abort ? connection().abort() : connection().close();
    });
    const int closed = recorder.closed + 1;
    loop().run_once(0ms);
    peer.close();
    ASSERT_TRUE(until_closed(closed));
    EXPECT_EQ(recorder.received, "");
  }
}

TEST_F(ConnectionAbortTest, AbortFromOutsideTakesEffectInTheSameIteration) {
  start();
  loop().post([&] {
    connection().abort();
    EXPECT_EQ(recorder.closed, 0);
  });
  loop().run_once(0ms);
  EXPECT_EQ(recorder.closed, 1);
}

TEST_F(ConnectionAbortTest, OnCloseIsToldHowMuchWasLost) {
  std::size_t lost = 0;
  recorder.when_close = [&](Connection& c, std::error_code) { lost = c.stats().queued_bytes; };
  start_with_small_buffers();
  connection().send(pattern(100'000));
  run_for(10ms);
  const std::size_t queued = connection().queued_bytes();
  EXPECT_GT(queued, 0u);
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(lost, queued);
}

TEST_F(ConnectionAbortTest, AbortWhileTheQueueIsBeingClosedCutsItShort) {
  start_with_small_buffers();
  connection().send(pattern(1 << 20));
  connection().close();
  run_for(10ms);
  EXPECT_EQ(recorder.closed, 0);
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::aborted);
}

enum class ConnectionState {
  fresh,
  queued,
  blocked,
  paused,
  ended,
  peer_ended,
  closing,
  closing_blocked
};
enum class Ending { none, end, close, abort };

void PrintTo(ConnectionState state, std::ostream* out) {
  static const char* const names[] = {"fresh", "queued",     "blocked", "paused",
                                      "ended", "peer_ended", "closing", "closing_blocked"};
  *out << names[static_cast<int>(state)];
}
void PrintTo(Ending ending, std::ostream* out) {
  static const char* const names[] = {"none", "end", "close", "abort"};
  *out << names[static_cast<int>(ending)];
}

struct ConnectionEndingTest
    : OnePeerTest,
      ::testing::WithParamInterface<std::tuple<ConnectionState, Ending, Ending>> {
  void bring_into(ConnectionState state) {
    recorder.when_peer_end = [](Connection&) {};
    const bool blocked =
        state == ConnectionState::blocked || state == ConnectionState::closing_blocked;
    start_with_small_buffers();
    Connection& c = connection();
    if (blocked) c.send(pattern(100'000));
    if (state == ConnectionState::closing || state == ConnectionState::closing_blocked) c.close();
    if (state == ConnectionState::paused) c.pause_reading();
    if (state == ConnectionState::ended) c.end();
    if (state == ConnectionState::peer_ended) {
      peer.end();
      EXPECT_TRUE(run_until([&] { return recorder.peer_ended == 1; }));
    }
    run_for(5ms);
    EXPECT_EQ(c.queued_bytes() > 0, blocked);
    if (state == ConnectionState::queued) c.send("not sent yet");
  }
  static void apply(Connection& c, Ending ending) {
    if (ending == Ending::end) c.end();
    if (ending == Ending::close) c.close();
    if (ending == Ending::abort) c.abort();
  }
};

TEST_P(ConnectionEndingTest, OnCloseComesOnceWithTheRightReason) {
  const auto [state, first, second] = GetParam();
  bring_into(state);
  const std::size_t before = recorder.events.size();
  Connection& c = connection();
  apply(c, first);
  apply(c, second);
  EXPECT_EQ(recorder.events.size(), before) << "a callback from inside";
  const bool aborted = first == Ending::abort || second == Ending::abort;
  EXPECT_EQ(c.is_open(), first != Ending::close && second != Ending::close && !aborted &&
                             state != ConnectionState::closing &&
                             state != ConnectionState::closing_blocked);
  // The peer takes everything, then ends.
  std::string got;
  run_until([&] {
    got += peer.receive_some();
    return peer.at_end() || (peer.last_error() != 0 && peer.last_error() != EAGAIN);
  });
  if (aborted) {
    // A peer that has seen our FIN before is not told of the reset by reading.
    const bool fin_sent = state == ConnectionState::ended || state == ConnectionState::closing;
    EXPECT_EQ(peer.last_error(), fin_sent ? 0 : ECONNRESET);
  } else {
    const bool blocked =
        state == ConnectionState::blocked || state == ConnectionState::closing_blocked;
    EXPECT_EQ(got.size(), blocked ? 100'000 : state == ConnectionState::queued ? 12u : 0u);
  }
  peer.close();
  ASSERT_TRUE(until_closed());
  run_for(5ms);
  EXPECT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], aborted ? make_error_code(error::aborted) : std::error_code());
}

INSTANTIATE_TEST_SUITE_P(
    EveryStateAndTwoEndings, ConnectionEndingTest,
    ::testing::Combine(::testing::Values(ConnectionState::fresh, ConnectionState::queued,
                                         ConnectionState::blocked, ConnectionState::paused,
                                         ConnectionState::ended, ConnectionState::peer_ended,
                                         ConnectionState::closing,
                                         ConnectionState::closing_blocked),
                       ::testing::Values(Ending::end, Ending::close, Ending::abort),
                       ::testing::Values(Ending::none, Ending::end, Ending::close, Ending::abort)),
    [](const auto& test) {
      return ::testing::PrintToString(std::get<0>(test.param)) + "_" +
             ::testing::PrintToString(std::get<1>(test.param)) + "_" +
             ::testing::PrintToString(std::get<2>(test.param));
    });

}  // namespace
}  // namespace millrace::test
