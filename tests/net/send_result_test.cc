// What each way of sending says of what became of the bytes. On a fresh connection outside of its
// callbacks nothing below 64 KiB leaves before the loop runs: the queue is what was sent.
#include <millrace/framed_connection.h>
#include <millrace/send_result.h>
#include <millrace/send_writer.h>

#include "support/one_peer_test.h"

#include <string>
#include <vector>

#include <fcntl.h>

namespace millrace::test {
namespace {

// A way to send `n` bytes in all.
struct Way {
  const char* name;
  SendResult (*send)(Connection& c, std::size_t n);
  friend void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }
};

SendResult through_writer(Connection& c, std::size_t n) {
  SendWriter writer = c.writer(n);
  return writer.commit(n);
}

SendResult by_frame(Connection& c, std::size_t n) {
  static const Framing framing;
  return FramedConnection(c, framing).send_frame(ByteView(std::string(n - 4, '.')));
}

SendResult by_shared_frame(Connection& c, std::size_t n) {
  static const Framing framing;
  return FramedConnection(c, framing).send_frame(SharedBytes(ByteView(std::string(n - 4, '.'))));
}

const Way kWays[] = {
    {"Bytes", [](Connection& c, std::size_t n) { return c.send(ByteView(std::string(n, '.'))); }},
    {"Together",
     [](Connection& c, std::size_t n) { return c.send_together("1", std::string(n - 1, '.')); }},
    {"Shared", [](Connection& c,
                  std::size_t n) { return c.send(SharedBytes(ByteView(std::string(n, '.')))); }},
    {"TogetherShared",
     [](Connection& c, std::size_t n) {
       return c.send_together("1", SharedBytes(ByteView(std::string(n - 1, '.'))));
     }},
    {"Owned", [](Connection& c, std::size_t n) { return c.send(std::string(n, '.')); }},
    {"Try", [](Connection& c, std::size_t n) { return c.try_send(std::string(n, '.')); }},
    {"Writer", through_writer},
    {"Frame", by_frame},
    {"SharedFrame", by_shared_frame},
};

class SendResultTest : public OnePeerTest, public ::testing::WithParamInterface<Way> {
 protected:
  void start_with_limits(std::size_t high, std::size_t cap, Overflow overflow = Overflow::close) {
    ServerOptions options;
    options.connection.limits.high_watermark_bytes = high;
    options.connection.limits.send_queue_bytes = cap;
    options.connection.limits.overflow = overflow;
    start(options);
  }
  SendResult send(std::size_t n) { return GetParam().send(connection(), n); }
};

INSTANTIATE_TEST_SUITE_P(EachWay, SendResultTest, ::testing::ValuesIn(kWays),
                         [](const auto& way) { return way.param.name; });

TEST_P(SendResultTest, SentUpToTheHighWatermarkAndAboveWatermarkBehindIt) {
  for (const std::size_t high : {100u, 2000u, 60'000u}) {
    start_with_limits(high, 1 << 20);
    EXPECT_TRUE(send(high - 10) == SendResult::sent);
    EXPECT_TRUE(send(10) == SendResult::sent);
    const SendResult above = send(10);
    EXPECT_TRUE(above == SendResult::above_watermark);
    EXPECT_TRUE(above.accepted());
    EXPECT_FALSE(above);
    EXPECT_EQ(connection().queued_bytes(), high + 10);
    EXPECT_EQ(receive(peer, high + 10).size(), high + 10);
    EXPECT_TRUE(run_until([&] { return connection().queued_bytes() == 0; }));
  }
  EXPECT_EQ(recorder.drained, 3);
}

TEST_P(SendResultTest, RefusedWholeWhenThereIsNoRoomAndOnDrainedFollows) {
  for (const std::size_t cap : {100u, 2000u, 60'000u}) {
    start_with_limits(cap, cap, Overflow::refuse);
    const int drained = recorder.drained;
    EXPECT_TRUE(send(cap - 10) == SendResult::sent);
    const SendResult refused = send(11);
    EXPECT_TRUE(refused == SendResult::refused);
    EXPECT_FALSE(refused.accepted());
    EXPECT_FALSE(refused);
    EXPECT_EQ(connection().queued_bytes(), cap - 10);
    EXPECT_TRUE(send(10) == SendResult::sent) << "what fits is still taken";
    EXPECT_EQ(receive(peer, cap).size(), cap);
    EXPECT_TRUE(run_until([&] { return recorder.drained == drained + 1; }));
    EXPECT_TRUE(send(10) == SendResult::sent);
    EXPECT_EQ(receive(peer, 10).size(), 10u);
  }
}

TEST_P(SendResultTest, ClosedOnceTheConnectionNoLongerSends) {
  for (void (*stop)(Connection&) :
       {+[](Connection& c) { c.end(); }, +[](Connection& c) { c.close(); },
        +[](Connection& c) { c.abort(); }}) {
    start_with_limits(100, 1000);
    stop(connection());
    for (const std::size_t n : {10u, 700u, 5000u}) {
      const SendResult closed = send(n);
      EXPECT_TRUE(closed == SendResult::closed) << n;
      EXPECT_FALSE(closed.accepted());
      EXPECT_FALSE(closed);
    }
    EXPECT_EQ(connection().queued_bytes(), 0u);
  }
}

TEST_P(SendResultTest, InsideACallbackTheResultsAreTheSame) {
  std::vector<SendResult> results;
  recorder.when_open = [&](Connection& c) {
    for (const std::size_t n : {90u, 10u, 10u}) results.push_back(GetParam().send(c, n));
    c.close();
    results.push_back(GetParam().send(c, 10));
  };
  start_with_limits(100, 1000);
  EXPECT_TRUE(results ==
              (std::vector<SendResult>{SendResult::sent, SendResult::sent,
                                       SendResult::above_watermark, SendResult::closed}));
  EXPECT_EQ(receive(peer, 110).size(), 110u);
}

using SendResultOddityTest = SendResultTest;

TEST_F(SendResultOddityTest, AFileIsTakenAboveTheWatermarkToo) {
  start_with_limits(100, 1000, Overflow::refuse);
  const auto zeros = [] { return UniqueFd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)); };
  EXPECT_TRUE(connection().send_file(zeros(), 0, 50) == SendResult::sent);
  EXPECT_TRUE(connection().send_file(zeros(), 0, 5000) == SendResult::above_watermark)
      << "no memory, no hard limit";
  EXPECT_TRUE(connection().send(std::string(1000, '.')) == SendResult::above_watermark);
  EXPECT_TRUE(connection().send(".") == SendResult::refused);
  EXPECT_EQ(receive(peer, 6050).size(), 6050u);
  connection().close();
  EXPECT_TRUE(connection().send_file(zeros(), 0, 50) == SendResult::closed);
}

TEST_F(SendResultOddityTest, NoBytesAreSentAtOnceUnlessSomebodyWasToldToStop) {
  start_with_limits(100, 1000);
  EXPECT_TRUE(connection().send("") == SendResult::sent);
  connection().send(std::string(101, '.'));
  EXPECT_TRUE(connection().send("") == SendResult::above_watermark);
  connection().end();
  EXPECT_TRUE(connection().send("") == SendResult::closed);
}

TEST_F(SendResultOddityTest, AWriteThatFailsSaysClosed) {
  start();
  Faults faults;
  faults.on(Call::send, Fault::fail(EPIPE), {.times = 1});
  faults.on(Call::sendmsg, Fault::fail(EPIPE), {.times = 1});
  bool checked = false;
  loop().post([&] {
    connection().send("x");
    connection().flush();
    EXPECT_TRUE(connection().send("y") == SendResult::closed);
    checked = true;
  });
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(checked);
}

TEST_F(SendResultOddityTest, TrySendRefusesAboveTheWatermarkWhateverThePolicySays) {
  for (const Overflow overflow : {Overflow::close, Overflow::refuse, Overflow::drop_newest}) {
    start_with_limits(100, 1000, overflow);
    EXPECT_TRUE(connection().try_send(std::string(101, '.')) == SendResult::above_watermark);
    EXPECT_TRUE(connection().try_send(".") == SendResult::refused);
    EXPECT_TRUE(connection().try_send(std::string(1001, '.')) == SendResult::too_large);
    EXPECT_TRUE(connection().is_open());
    EXPECT_EQ(connection().queued_bytes(), 101u);
    EXPECT_EQ(connection().stats().dropped_messages, 0u);
    EXPECT_EQ(receive(peer, 101).size(), 101u);
  }
}

TEST_F(SendResultOddityTest, TrySendOfWhatNeverFitsIsNotToldToTryAgain) {
  recorder.when_drained = [](Connection& c) { c.try_send(std::string(1001, '.')); };
  start_with_limits(1000, 1000);
  EXPECT_TRUE(connection().try_send(std::string(1001, '.')) == SendResult::too_large);
  EXPECT_LE(run_for(20ms), 2u);
  EXPECT_EQ(recorder.drained, 0);
}

TEST_F(SendResultOddityTest, TrySendThatDoesNotFitIsToldWhenToTryAgain) {
  start_with_limits(1000, 1000);
  EXPECT_TRUE(connection().try_send(std::string(600, '.')) == SendResult::sent);
  EXPECT_TRUE(connection().try_send(std::string(600, '.')) == SendResult::refused);
  EXPECT_EQ(receive(peer, 600).size(), 600u);
  EXPECT_TRUE(run_until([&] { return recorder.drained == 1; }));
}

}  // namespace
}  // namespace millrace::test
