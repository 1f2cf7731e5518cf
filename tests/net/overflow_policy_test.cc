// What becomes of a message for which the send queue has no room: ConnectionLimits::overflow. The
// kernel takes what the test says.
#include <millrace/framed_connection.h>
#include <millrace/send_writer.h>

#include "support/limited_peer_test.h"

#include <random>
#include <string>

namespace millrace::test {
namespace {

struct OverflowPolicyTest : LimitedPeerTest {
  ConnectionStats stats() { return connection().stats(); }
  const Framing framing;
};

TEST_F(OverflowPolicyTest, ByDefaultTwiceTheHighWatermarkIsTakenAndOneByteMoreClosesOnce) {
  start_with_limits(10, 5, 20, Overflow::close);
  EXPECT_TRUE(connection().send(bytes(20)) == SendResult::above_watermark);
  EXPECT_TRUE(connection().is_open());
  EXPECT_TRUE(connection().send(bytes(1)) == SendResult::closed);
  EXPECT_FALSE(connection().is_open());
  EXPECT_TRUE(connection().send(bytes(1)) == SendResult::closed);
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons, std::vector<std::error_code>{error::send_queue_overflow});
  EXPECT_EQ(recorder.drained, 0);
}

TEST_F(OverflowPolicyTest, ARefusedMessageLeavesNoTraceAndTheConnectionLivesOn) {
  start_with_limits(10, 5, 20, Overflow::refuse);
  EXPECT_FALSE(connection().send("12345678901234567890").state() == SendResult::refused);
  EXPECT_TRUE(connection().send("no") == SendResult::refused);
  EXPECT_TRUE(connection().send(SharedBytes(ByteView(bytes(20)))) == SendResult::refused);
  EXPECT_TRUE(connection().send(SharedBytes(ByteView(bytes(1000)))) == SendResult::too_large);
  EXPECT_TRUE(connection().send(bytes(100'000)) == SendResult::too_large);
  EXPECT_EQ(connection().queued_bytes(), 20u);
  EXPECT_EQ(receive(peer, 20), "12345678901234567890");
  EXPECT_EQ(recorder.drained, 1);
  EXPECT_TRUE(connection().send("yes") == SendResult::sent);
  EXPECT_EQ(receive(peer, 3), "yes");
  EXPECT_EQ(stats().dropped_messages, 0u);
  EXPECT_EQ(recorder.closed, 0);
}

TEST_F(OverflowPolicyTest, ARefusedSenderIsToldToTryAgainAtTheLowWatermark) {
  start_with_limits(10, 5, 20, Overflow::refuse);
  connection().send(bytes(18));
  EXPECT_TRUE(connection().send(bytes(3)) == SendResult::refused);
  kernel_takes(12);
  EXPECT_EQ(recorder.drained, 0);
  kernel_takes(1);
  EXPECT_EQ(connection().queued_bytes(), 5u);
  EXPECT_EQ(recorder.drained, 1);
}

TEST_F(OverflowPolicyTest, WithTheHardLimitBelowTheHighWatermarkTheRefusedHearOnDrainedToo) {
  start_with_limits(1000, 500, 20, Overflow::refuse);
  EXPECT_TRUE(connection().send(bytes(18)) == SendResult::sent);
  EXPECT_TRUE(connection().send(bytes(3)) == SendResult::refused);
  kernel_takes(17);
  EXPECT_EQ(recorder.drained, 0) << "long below the low watermark: nothing can be told from that";
  kernel_takes(1);
  EXPECT_EQ(recorder.drained, 1);
}

TEST_F(OverflowPolicyTest, WhoTriesAgainInOnDrainedUntilItIsTakenDoesNotSpin) {
  int tries = 0;
  int taken = 0;
  recorder.when_drained = [&](Connection& c) {
    ++tries;
    taken += c.send(bytes(15)).accepted() ? 1 : 0;
  };
  start_with_limits(1000, 0, 20, Overflow::refuse);
  connection().send(bytes(10));
  EXPECT_TRUE(connection().send(bytes(15)) == SendResult::refused);
  for (int i = 0; i < 10; ++i) kernel_takes(0);
  EXPECT_EQ(tries, 0);
  for (int i = 0; i < 10; ++i) kernel_takes(1);
  EXPECT_EQ(tries, 1);
  EXPECT_EQ(taken, 1);
  EXPECT_EQ(receive(peer, 25).size(), 25u);
}

TEST_F(OverflowPolicyTest, AMessageLargerThanTheLimitIsNotToBeTriedAgain) {
  start_with_limits(10, 5, 20, Overflow::refuse);
  recorder.when_drained = [](Connection& c) { c.send(bytes(21)); };
  EXPECT_TRUE(connection().send(bytes(21)) == SendResult::too_large);
  EXPECT_LE(run_for(20ms), 2u);
  EXPECT_EQ(recorder.drained, 0);
  EXPECT_TRUE(connection().send(bytes(20)).accepted());
  EXPECT_EQ(receive(peer, 20).size(), 20u);
}

TEST_F(OverflowPolicyTest, AMessageLargerThanTheLimitIsDroppedWithoutASpin) {
  start_with_limits(10, 5, 20, Overflow::drop_newest);
  recorder.when_drained = [](Connection& c) { c.send(bytes(21)); };
  EXPECT_TRUE(connection().send(bytes(21)) == SendResult::too_large);
  EXPECT_LE(run_for(20ms), 2u);
  EXPECT_EQ(recorder.drained, 0);
  EXPECT_EQ(connection().stats().dropped_bytes, 21u);
}

TEST_F(OverflowPolicyTest, ARefusalInsideACallbackIsFollowedByOnDrainedWhenTheQueueHasGone) {
  recorder.when_open = [](Connection& c) {
    EXPECT_TRUE(c.send(bytes(20)) == SendResult::above_watermark);
    EXPECT_TRUE(c.send(bytes(1)) == SendResult::refused);
  };
  start_with_limits(10, 5, 20, Overflow::refuse);
  EXPECT_EQ(recorder.drained, 1);
  EXPECT_EQ(receive(peer, 20).size(), 20u);
}

TEST_F(OverflowPolicyTest, AFrameIsQueuedWholeOrNotAtAll) {
  for (const std::size_t payload : {10u, 2000u}) {
    // Room for one frame and the header of another.
    start_with_limits(5000, 1, payload + 4 + 4, Overflow::refuse);
    FramedConnection framed(connection(), framing);
    const std::string one(payload, '1');
    EXPECT_TRUE(framed.send_frame(one) == SendResult::sent);
    EXPECT_TRUE(framed.send_frame(ByteView(one)) == SendResult::refused);
    EXPECT_TRUE(framed.send_frame(SharedBytes(ByteView(one))) == SendResult::refused);
    EXPECT_EQ(connection().queued_bytes(), payload + 4);
    EXPECT_EQ(receive(peer, payload + 4).substr(4), one);
    ASSERT_TRUE(run_until([&] { return connection().queued_bytes() == 0; }));
    EXPECT_TRUE(framed.send_frame(SharedBytes(ByteView(one))) == SendResult::sent);
    EXPECT_EQ(receive(peer, payload + 4).substr(4), one);
  }
}

TEST_F(OverflowPolicyTest, WhatAWriterIsRefusedLeavesNoTraceAndItsRoomStays) {
  start_with_limits(10, 5, 20, Overflow::refuse);
  connection().send("before ");
  {
    SendWriter writer = connection().writer(18);
    EXPECT_GE(writer.room().size(), 18u);
    std::byte* room = writer.room().data();
    std::memset(room, 'n', 18);
    EXPECT_TRUE(writer.commit(14) == SendResult::refused);
    EXPECT_EQ(writer.room().data(), room);
    EXPECT_TRUE(writer.commit(13) == SendResult::above_watermark);
    EXPECT_TRUE(writer.commit(1) == SendResult::refused);
  }
  EXPECT_EQ(receive(peer, 20), "before nnnnnnnnnnnnn");
  EXPECT_TRUE(run_until([&] { return recorder.drained == 1; }));
}

TEST_F(OverflowPolicyTest, DroppedMessagesAreCountedWithTheirBytes) {
  start_with_limits(10, 5, 20, Overflow::drop_newest);
  FramedConnection framed(connection(), framing);
  EXPECT_EQ(stats().dropped_messages, 0u);
  EXPECT_TRUE(connection().send("12345678901234567890") == SendResult::above_watermark);
  EXPECT_TRUE(connection().send("a") == SendResult::dropped);
  EXPECT_TRUE(connection().send_together("b", "cd") == SendResult::dropped);
  EXPECT_TRUE(framed.send_frame("e") == SendResult::dropped);
  EXPECT_TRUE(framed.send_frame(SharedBytes(ByteView(bytes(1000)))) == SendResult::too_large);
  EXPECT_TRUE(connection().send(std::string(5000, '.')) == SendResult::too_large);
  EXPECT_EQ(stats().dropped_messages, 5u);
  EXPECT_EQ(stats().dropped_bytes, 1u + 3 + 5 + 1004 + 5000);
  EXPECT_EQ(connection().queued_bytes(), 20u);
  EXPECT_EQ(receive(peer, 20), "12345678901234567890");
  EXPECT_EQ(recorder.drained, 1) << "a handler that paused for it must hear when to go on";
  connection().send("the newest is gone, what comes later is not");
  connection().send("!");
  EXPECT_EQ(receive(peer, 1), "!");
  EXPECT_EQ(stats().dropped_messages, 6u);
}

TEST_F(OverflowPolicyTest, EachCommitOfAWriterIsAMessageThatIsTakenOrDropped) {
  start_with_limits(10, 5, 20, Overflow::drop_newest);
  {
    SendWriter writer = connection().writer(100);
    std::memset(writer.room().data(), 'n', 100);
    EXPECT_TRUE(writer.commit(60) == SendResult::too_large);
    EXPECT_TRUE(writer.commit(15) == SendResult::above_watermark);
    EXPECT_TRUE(writer.commit(6) == SendResult::dropped);
    EXPECT_FALSE(writer.commit(0) == SendResult::dropped);
  }
  { SendWriter nothing_committed = connection().writer(100); }
  EXPECT_EQ(stats().dropped_messages, 2u);
  EXPECT_EQ(stats().dropped_bytes, 66u);
  EXPECT_EQ(connection().queued_bytes(), 15u);
  EXPECT_EQ(receive(peer, 15), std::string(15, 'n'));
}

TEST_F(OverflowPolicyTest, WhatWasDroppedCanStillBeAskedForInOnClose) {
  std::uint64_t dropped = 0;
  recorder.when_close = [&](Connection& c, std::error_code) {
    dropped = c.stats().dropped_messages;
  };
  start_with_limits(10, 5, 20, Overflow::drop_newest);
  connection().send(bytes(21));
  connection().close();
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(dropped, 1u);
  EXPECT_FALSE(recorder.reasons[0]) << "a dropped message is no reason to end";
}

TEST_F(OverflowPolicyTest, ASlowReaderOfAFeedGetsWholeFramesAndTheQueueStaysWithinItsLimit) {
  ServerOptions options;
  options.connection.limits = {.high_watermark_bytes = 64 * 1024,
                               .send_queue_bytes = 128 * 1024,
                               .overflow = Overflow::drop_newest};
  start_with_small_buffers(options);
  FramedConnection framed(connection(), framing);
  std::mt19937 random(7);
  std::string wanted;
  std::string got;
  std::uint64_t dropped = 0;
  for (int i = 0; i < 5000; ++i) {
    const std::string news(random() % 2000, static_cast<char>('a' + i % 26));
    std::byte header[LengthPrefix::kLargestHeaderBytes];
    LengthPrefix().write_header(header, news.size());
    const SendResult result =
        i % 2 == 0 ? framed.send_frame(news) : framed.send_frame(SharedBytes(ByteView(news)));
    if (result.accepted()) wanted += std::string(ByteView(header, 4).text()) + news;
    dropped += result == SendResult::dropped ? 1 : 0;
    ASSERT_LE(connection().queued_bytes(), 128u * 1024);
    if (i % 10 == 0) loop().run_once(0ms);
    if (i % 40 == 0) got += peer.receive_some(4096);
  }
  EXPECT_GT(dropped, 100u);
  EXPECT_EQ(stats().dropped_messages, dropped);
  got += receive(peer, wanted.size() - got.size());
  EXPECT_TRUE(same_bytes(got, wanted));
}

TEST_F(OverflowPolicyTest, ALimitOfMoreThanTheWatermarkIsOneEdgeAndBackIsTheOther) {
  start_with_limits(256, 128, 1024, Overflow::refuse);
  Connection& c = connection();
  EXPECT_TRUE(c.send(bytes(128)));
  EXPECT_TRUE(c.send(bytes(2)));
  EXPECT_FALSE(c.send(bytes(127)));
  kernel_takes(128);
  EXPECT_EQ(recorder.drained, 0);
  kernel_takes(2);
  EXPECT_EQ(recorder.drained, 1);
  EXPECT_TRUE(c.send(bytes(1)));
}

// Elsewhere limits can be changed under a connection that is over or under them; with us they are
// those that its owner was made with, for ever.
TEST_F(OverflowPolicyTest, TheLimitsAreFixedAtConstruction) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 10;
  start(options);
  options.connection.limits.high_watermark_bytes = 20;
  EXPECT_TRUE(connection().send(bytes(10)));
  EXPECT_FALSE(connection().send(bytes(1)));
  const RawSocket later = connect();
  EXPECT_TRUE(connection().send(bytes(10)));
  EXPECT_FALSE(connection().send(bytes(1)));
}

}  // namespace
}  // namespace millrace::test
