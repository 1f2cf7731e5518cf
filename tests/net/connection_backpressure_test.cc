// Watermarks and the hard cap of the send queue, against a kernel that takes what the test says and
// against peers that read slowly.
#include <millrace/client.h>

#include "support/backpressure_echo.h"
#include "support/limited_peer_test.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct ConnectionBackpressureTest : LimitedPeerTest {};

TEST_F(ConnectionBackpressureTest, BothEdgesComeOncePerCrossingAtTheExactByte) {
  start_with_limits(10, 5);
  Connection& c = connection();
  EXPECT_TRUE(c.send(bytes(10)));
  kernel_takes(0);
  EXPECT_EQ(c.queued_bytes(), 10u);
  EXPECT_FALSE(c.send(bytes(1)));
  EXPECT_FALSE(c.send(bytes(9)));
  EXPECT_FALSE(c.send(bytes(10)));
  EXPECT_EQ(c.queued_bytes(), 30u);
  kernel_takes(24);
  EXPECT_EQ(c.queued_bytes(), 6u);
  EXPECT_EQ(recorder.drained, 0);
  kernel_takes(1);
  EXPECT_EQ(c.queued_bytes(), 5u);
  EXPECT_EQ(recorder.drained, 1);
  kernel_takes(1);
  kernel_takes(4);
  EXPECT_EQ(c.queued_bytes(), 0u);
  EXPECT_EQ(recorder.drained, 1);
  EXPECT_FALSE(c.send(bytes(11)));
  kernel_takes(6);
  EXPECT_EQ(recorder.drained, 2);
}

TEST_F(ConnectionBackpressureTest, WithoutACrossingThereIsNoOnDrained) {
  start_with_limits(10, 5);
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(connection().send(bytes(10)));
    kernel_takes(0);
    kernel_takes(3);
    kernel_takes(7);
  }
  EXPECT_EQ(recorder.drained, 0);
}

TEST_F(ConnectionBackpressureTest, AQueueBetweenTheWatermarksIsStillToldToSendOn) {
  start_with_limits(10, 5);
  EXPECT_FALSE(connection().send(bytes(11)));
  kernel_takes(4);
  EXPECT_EQ(recorder.drained, 0);
  EXPECT_TRUE(connection().send(bytes(3)));  // 10 now
  EXPECT_FALSE(connection().send(bytes(1)));
  kernel_takes(6);
  EXPECT_EQ(recorder.drained, 1);
}

TEST_F(ConnectionBackpressureTest, TheLowWatermarkIsHalfOfTheHighOneByDefault) {
  start_with_limits(100);
  EXPECT_FALSE(connection().send(bytes(101)));
  kernel_takes(50);
  EXPECT_EQ(connection().queued_bytes(), 51u);
  EXPECT_EQ(recorder.drained, 0);
  kernel_takes(1);
  EXPECT_EQ(recorder.drained, 1);
}

TEST_F(ConnectionBackpressureTest, EveryKindOfSendCounts) {
  start_with_limits(10, 5);
  Connection& c = connection();
  EXPECT_TRUE(c.send("1234"));
  EXPECT_TRUE(c.send_together("5", "6"));
  EXPECT_TRUE(c.send(SharedBytes(ByteView("78"))));
  EXPECT_TRUE(c.send(std::string("90")));
  EXPECT_EQ(c.queued_bytes(), 10u);
  EXPECT_FALSE(c.send(SharedBytes(ByteView("1"))));
  EXPECT_FALSE(c.send_together("2", ""));
  EXPECT_EQ(receive(peer, 12), "123456789012");
  EXPECT_EQ(recorder.drained, 1);
}

TEST_F(ConnectionBackpressureTest, WhoeverWasToldToStopIsToldWhenToGoOnThoughThePeerIsFast) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 1000;
  int refused = 0;
  recorder.when_open = [&](Connection& c) { refused += c.send(bytes(2000)) ? 0 : 1; };
  start(options);
  EXPECT_EQ(refused, 1);
  EXPECT_EQ(recorder.drained, 1);
}

TEST_F(ConnectionBackpressureTest, RandomSendsAndDrainsGiveTheEdgesOfTheModel) {
  for (unsigned seed = 1; seed <= 20; ++seed) {
    std::mt19937 random(seed);
    const std::size_t high = 10 + random() % 50;
    const std::size_t low = 1 + random() % high;
    start_with_limits(high, low);
    std::size_t queued = 0;
    bool above = false;
    int drained = recorder.drained;
    for (int step = 0; step < 400; ++step) {
      if (random() % 2 == 0) {
        const std::size_t n = 1 + random() % 20;
        queued += n;
        ASSERT_EQ(connection().send(bytes(n)) == SendResult::sent, queued <= high)
            << "seed " << seed;
        above |= queued > high;
      } else if (queued > 0) {
        const std::size_t n = random() % (queued + 1);
        kernel_takes(n);
        queued -= n;
        if (above && queued <= low) {
          ++drained;
          above = false;
        }
      }
      ASSERT_EQ(connection().queued_bytes(), queued) << "seed " << seed;
      ASSERT_EQ(recorder.drained, drained) << "seed " << seed << " step " << step;
    }
  }
}

TEST_F(ConnectionBackpressureTest, TrySendRefusesAboveTheHighWatermarkAndQueuesNothing) {
  start_with_limits(10, 5);
  Connection& c = connection();
  EXPECT_TRUE(c.try_send(bytes(10)));
  EXPECT_TRUE(c.try_send(bytes(5)).accepted());  // was not above it
  EXPECT_FALSE(c.try_send(bytes(1)).accepted());
  EXPECT_EQ(c.queued_bytes(), 15u);
  kernel_takes(10);
  EXPECT_EQ(recorder.drained, 1);
  EXPECT_TRUE(c.try_send(bytes(1)));
  EXPECT_EQ(c.queued_bytes(), 6u);
  EXPECT_TRUE(c.is_open());
}

TEST_F(ConnectionBackpressureTest, TheQueueMayBeAsLongAsTheHardCapAndNoLonger) {
  start_with_limits(10, 5, 1000);
  Connection& c = connection();
  kernel_takes(0);
  EXPECT_FALSE(c.send(bytes(1000)));
  EXPECT_TRUE(c.is_open());
  EXPECT_FALSE(c.send(bytes(1)));
  EXPECT_FALSE(c.is_open());
  EXPECT_EQ(c.queued_bytes(), 1000u);
  EXPECT_FALSE(c.send(bytes(1)));
  EXPECT_EQ(recorder.closed, 0) << "from inside send()";
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::send_queue_overflow);
  EXPECT_NE(recorder.detail.find("1000 bytes"), std::string::npos) << recorder.detail;
  EXPECT_EQ(recorder.drained, 0);
}

TEST_F(ConnectionBackpressureTest, EveryKindOfSendIsHeldToTheHardCap) {
  const std::string large(2000, '.');
  const std::function<SendResult(Connection&)> sends[] = {
      [&](Connection& c) { return c.send(ByteView(large)); },
      [&](Connection& c) { return c.send_together(ByteView(large).first(900), large); },
      [&](Connection& c) { return c.send(SharedBytes(ByteView(large))); },
      [&](Connection& c) { return c.send(std::string(5000, '.')); },
      [&](Connection& c) { return c.send(ByteView(pattern(200'000))); },
  };
  for (const auto& send : sends) {
    start_with_limits(100, 50, 1000);
    const int closed = recorder.closed;
    EXPECT_FALSE(send(connection()));
    ASSERT_TRUE(until_closed(closed + 1));
    EXPECT_EQ(recorder.reasons.back(), error::send_queue_overflow);
  }
}

TEST_F(ConnectionBackpressureTest, TrySendOfMoreThanTheHardCapQueuesNothing) {
  start_with_limits(100, 50, 1000);
  EXPECT_FALSE(connection().try_send(std::string(2000, '.')));
  EXPECT_TRUE(connection().is_open());
  EXPECT_EQ(connection().queued_bytes(), 0u);
  EXPECT_TRUE(connection().try_send("x"));
}

TEST_F(ConnectionBackpressureTest, WhoIgnoresTheWatermarkIsClosedAtTheHardCapAndUsesNoMoreMemory) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 100'000;
  options.connection.limits.send_queue_bytes = 1'000'000;
  const std::string part = pattern(10'000);
  std::size_t most = 0;
  int refused = 0;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    for (int i = 0; i < 1000; ++i) {
      refused += c.send(part) ? 0 : 1;
      most = std::max(most, c.queued_bytes());
    }
  };
  start_with_small_buffers(options);
  peer.send_all("x");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::send_queue_overflow);
  EXPECT_GE(refused, 900);
  EXPECT_GT(most, 900'000u);
  EXPECT_LE(most, 1'000'000u);
}

TEST_F(ConnectionBackpressureTest, TenMegabytesAndOneByteReachASlowReaderAndTheQueueIsEmptyThen) {
  start_with_small_buffers();
  const std::string large = pattern(10 << 20);
  EXPECT_FALSE(connection().send(large));
  EXPECT_FALSE(connection().send("!"));
  loop().run_once(0ms);
  EXPECT_GT(connection().queued_bytes(), 9u << 20);
  EXPECT_TRUE(same_bytes(receive(peer, large.size() + 1), large + "!"));
  EXPECT_TRUE(run_until([&] { return connection().queued_bytes() == 0; }));
  EXPECT_EQ(recorder.drained, 1);
  EXPECT_EQ(loop().services().blocks().live_blocks(), 0u);
}

TEST_F(ConnectionBackpressureTest, ASourceThatObeysTheWatermarkKeepsTheQueueShort) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 64 * 1024;
  const std::string all = pattern(5'000'000);
  std::size_t sent = 0;
  std::size_t longest = 0;
  const auto pump = [&](Connection& c) {
    bool go_on = true;
    while (go_on && sent < all.size()) {
      const std::size_t n = std::min<std::size_t>(10'000, all.size() - sent);
      go_on = c.send(ByteView(all).from(sent).first(n)) == SendResult::sent;
      sent += n;
      longest = std::max(longest, c.queued_bytes());
    }
    if (sent == all.size()) c.end();
  };
  recorder.when_open = pump;
  recorder.when_drained = pump;
  start_with_small_buffers(options);
  EXPECT_TRUE(same_bytes(receive(peer, all.size()), all));
  EXPECT_LE(longest, 64u * 1024 + 10'000);
  EXPECT_GE(recorder.drained, 10);
  EXPECT_TRUE(sees_end(peer));
}

TEST_F(ConnectionBackpressureTest, AnEchoThatStopsReadingWhileItsQueueIsLongStaysSmall) {
  BackpressureEcho echo(recorder);
  start_with_small_buffers(BackpressureEcho::options());
  const std::string all = pattern(5'000'000);
  std::string_view rest = all;
  std::string got;
  ASSERT_TRUE(run_until(
      [&] {
        if (!rest.empty()) rest.remove_prefix(peer.send_some(rest.substr(0, 16 * 1024)));
        got += peer.receive_some();
        return got.size() == all.size();
      },
      60s));
  EXPECT_TRUE(same_bytes(got, all));
  EXPECT_LE(echo.longest_queue(), BackpressureEcho::kLongestQueue);
}

TEST_F(ConnectionBackpressureTest, TheKernelIsAskedToWatchForRoomOnlyWhileItRefusesBytes) {
  start_with_limits(1000);
  Faults faults;
  const auto controls = [&] { return faults.count(Call::epoll_ctl); };
  connection().send("taken at once");
  loop().run_once(0ms);
  EXPECT_EQ(controls(), 0u);
  faults.on(Call::send, Fault::fail(EAGAIN), {.fd = fd, .times = 5});
  connection().send("refused");
  loop().run_once(0ms);
  EXPECT_EQ(controls(), 1u);
  connection().send(" and waiting");
  for (int i = 0; i < 4; ++i) loop().run_once(0ms);
  EXPECT_EQ(controls(), 1u);
  EXPECT_EQ(connection().queued_bytes(), 19u);
  loop().run_once(0ms);
  EXPECT_EQ(connection().queued_bytes(), 0u);
  EXPECT_EQ(controls(), 2u);
  EXPECT_LE(run_for(20ms), 2u);
}

using ConnectionBackpressureDeathTest = ConnectionBackpressureTest;

TEST_F(ConnectionBackpressureDeathTest, ALowWatermarkAboveTheHighOneIsTheCallersMistake) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 10;
  options.connection.limits.low_watermark_bytes = 11;
  EXPECT_DEATH(Server(loop(), recorder, options), "the low watermark is above the high one");
  ClientOptions client_options;
  client_options.connection = options.connection;
  EXPECT_DEATH(Client(loop(), recorder, client_options), "the low watermark is above the high one");
}

}  // namespace
}  // namespace millrace::test
