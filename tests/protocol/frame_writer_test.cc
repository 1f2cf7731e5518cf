// Frames serialised straight into the send queue.
#include <millrace/framings.h>

#include "support/framed_test.h"
#include "support/one_peer_test.h"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct FrameWriterTest : OnePeerTest {
  // What arrives of one frame that `fill` writes.
  std::string written(const Framing& framing, const std::function<void(FrameWriter&)>& fill,
                      std::size_t expected = 256) {
    start();
    FramedConnection c(connection(), framing);
    {
      FrameWriter writer = c.frame_writer(expected);
      fill(writer);
      EXPECT_TRUE(writer.commit().accepted());
    }
    const ConnectionStats stats = connection().stats();
    return receive(peer, stats.bytes_sent + stats.queued_bytes);
  }
  static void put(FrameWriter& writer, std::string_view text) { writer.write(text); }
};
using FrameWriterDeathTest = FrameWriterTest;

TEST_F(FrameWriterTest, EveryWayToWriteFillsTheSameFrame) {
  const auto fill = [](FrameWriter& w) {
    w.write("bytes ");
    w.put(std::uint16_t{0x4142}, ByteOrder::big);
    w.put(std::uint16_t{0x4142}, ByteOrder::little);
    w.put(std::uint8_t{' '});
    w.put(std::byte{'i'});
    const std::span<std::byte> room = w.room(1);
    EXPECT_GE(room.size(), 1u);
    std::memcpy(room.data(), "n", 1);
    w.advance(1);
    const std::span<std::byte> all = w.next();
    EXPECT_GE(all.size(), 6u);
    std::memcpy(all.data(), " place", 6);
    w.back_up(all.size() - 6);
    const std::string_view text = " and characters";
    std::copy(text.begin(), text.end(), w.out());
    EXPECT_EQ(w.payload().text(), "bytes ABBA in place and characters");
    EXPECT_EQ(w.bytes(), 34u);
  };
  EXPECT_EQ(written(LengthPrefix(), fill), frame("bytes ABBA in place and characters"));
}

TEST_F(FrameWriterTest, EveryFramingIsFilledInByCommit) {
  const std::vector<Framing> framings{
      LengthPrefix(),
      LengthPrefix({.width_bytes = 8, .order = ByteOrder::little}),
      LengthField({.offset_bytes = 2, .width_bytes = 3, .strip_bytes = 5}),
      LengthField({.offset_bytes = 2, .width_bytes = 3, .strip_bytes = 9}),
      LengthField({.offset_bytes = 3, .width_bytes = 2}),
      LengthField({.offset_bytes = 3, .width_bytes = 2, .strip_bytes = 1}),
      VarintLength(),
      NetString(),
      Lines({.end = LineEnd::strict_crlf}),
      Delimited("||"),
      HeaderBlock({.bodies_only = true}),
      Checksummed(NetString()),
      Checksummed(VarintLength())};
  for (const std::size_t n : {5u, 100u, 127u, 128u, 300u, 20'000u, 65'000u}) {
    for (const std::size_t expected : {0u, 1u, 256u, 300u, 40'000u}) {
      const std::string payload(n, 'p');
      for (const Framing& framing : framings) {
        EXPECT_TRUE(same_bytes(written(
                                   framing, [&](FrameWriter& w) { w.write(payload); }, expected),
                               framing.encode(payload)));
        peer.close();
        server.reset();
      }
    }
  }
}

TEST_F(FrameWriterTest, APayloadOfMegabytesGrowsWhereItLies) {
  const std::string payload = pattern(3'000'000);
  const std::string wanted = Framing(VarintLength()).encode(payload);
  EXPECT_TRUE(same_bytes(written(VarintLength(),
                                 [&](FrameWriter& w) {
                                   std::string_view rest = payload;
                                   for (std::size_t step = 1; !rest.empty(); step = step * 2 + 1) {
                                     w.write(rest.substr(0, step));
                                     rest.remove_prefix(std::min(step, rest.size()));
                                   }
                                 }),
                         wanted));
}

TEST_F(FrameWriterTest, NextOffersAllTheRoomThereIsAndMoreOfItEachTime) {
  const std::string payload = pattern(400'000);
  int calls = 0;
  const std::string got = written(
      LengthPrefix(),
      [&](FrameWriter& w) {
        std::string_view rest = payload;
        while (!rest.empty()) {
          const std::span<std::byte> all = w.next();
          ++calls;
          const std::size_t n = std::min(all.size(), rest.size());
          std::memcpy(all.data(), rest.data(), n);
          rest.remove_prefix(n);
          w.back_up(all.size() - n);
        }
      },
      1);
  EXPECT_TRUE(same_bytes(got, frame(payload)));
  EXPECT_LE(calls, 20);
}

TEST_F(FrameWriterTest, AbandonedItLeavesNoTrace) {
  start();
  const Framing framing;
  FramedConnection c(connection(), framing);
  c.send_frame("before");
  for (const std::size_t n : {0u, 10u, 5'000u, 500'000u}) {
    FrameWriter writer = c.frame_writer(10);
    writer.write(std::string(n, 'x'));
  }
  c.send_frame("after");
  EXPECT_EQ(receive(peer, 19), frame("before") + frame("after"));
  EXPECT_EQ(loop().services().blocks().live_blocks(), 0u);
}

TEST_F(FrameWriterTest, APayloadThatCannotBeAFrameIsRefusedAndNothingIsQueued) {
  start();
  const Framing small = LengthPrefix({.max_payload_bytes = 3});
  const Framing lines = Lines();
  const Framing records = FixedLength(4);
  for (const Framing* framing : {&small, &lines, &records}) {
    FramedConnection c(connection(), *framing);
    FrameWriter writer = c.frame_writer();
    writer.write("two\nlines");
    EXPECT_THROW(writer.commit(), std::logic_error);
  }
  EXPECT_EQ(connection().queued_bytes(), 0u);
  FramedConnection c(connection(), lines);
  c.send_frame("fine");
  EXPECT_EQ(receive(peer, 5), "fine\n");
}

TEST_F(FrameWriterTest, TheHardLimitTakesTheFrameWholeOrNotAtAll) {
  ServerOptions options;
  options.connection.limits = {
      .high_watermark_bytes = 1000, .send_queue_bytes = 20, .overflow = Overflow::refuse};
  start(options);
  const Framing framing;
  FramedConnection c(connection(), framing);
  const auto write = [&](std::size_t n) {
    FrameWriter writer = c.frame_writer();
    writer.write(std::string(n, 'x'));
    return writer.commit();
  };
  EXPECT_TRUE(write(17) == SendResult::too_large);
  EXPECT_TRUE(write(10) == SendResult::sent) << "what was expected does not count, what came does";
  EXPECT_TRUE(write(3) == SendResult::refused);
  EXPECT_TRUE(write(2) == SendResult::sent);
  EXPECT_EQ(receive(peer, 20), frame(std::string(10, 'x')) + frame("xx"));
}

TEST_F(FrameWriterTest, OnAClosedConnectionItIsWrittenToNowhere) {
  start();
  const Framing framing;
  FramedConnection c(connection(), framing);
  connection().close();
  {
    FrameWriter writer = c.frame_writer();
    writer.write(std::string(100'000, 'x'));
    EXPECT_TRUE(writer.commit() == SendResult::closed);
  }
  peer.end();
  EXPECT_TRUE(until_closed());
}

TEST_F(FrameWriterTest, TheOwnerMayGoWhileOneIsOpen) {
  Server other(loop(), recorder);
  other.listen(SocketAddress::loopback(0));
  start();
  const ConnectionRef ref = connection().ref();
  const Framing framing;
  recorder.when_data = [&](Connection& talker, ReceiveBuffer& in) {
    in.consume_all();
    FramedConnection c(*ref.get(), framing);
    FrameWriter writer = c.frame_writer(1000);
    writer.write(std::string(1000, 'x'));
    server.reset();
    talker.send(std::string(900, 'y'));  // must not get the memory that is still written to
    writer.write(std::string(24, 'z'));
    EXPECT_EQ(writer.payload().text(), std::string(1000, 'x') + std::string(24, 'z'));
    EXPECT_TRUE(writer.commit() == SendResult::closed);
  };
  RawSocket talker = RawSocket::connect_to(other.address());
  talker.send_all("x");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(receive(talker, 900), std::string(900, 'y'));
  EXPECT_EQ(recorder.reasons[0], error::owner_destroyed);
}

TEST_F(FrameWriterTest, SendFramesQueuesAllOrNone) {
  ServerOptions options;
  options.connection.limits = {
      .high_watermark_bytes = 1000, .send_queue_bytes = 30, .overflow = Overflow::refuse};
  start(options);
  const Framing framing = NetString({.max_payload_bytes = 9});
  FramedConnection c(connection(), framing);
  EXPECT_TRUE(c.send_frames({}));
  EXPECT_TRUE(c.send_frames({"one", "", "three"}));
  EXPECT_EQ(connection().queued_bytes(), 6u + 3 + 8);
  EXPECT_TRUE(c.send_frames({"123456", "1234"}) == SendResult::refused);
  EXPECT_THROW(c.send_frames({"fine", "0123456789"}), std::length_error);
  const std::vector<ByteView> list{"a", "b"};
  EXPECT_TRUE(c.send_frames(list));
  EXPECT_EQ(receive(peer, 25), "3:one,0:,5:three,1:a,1:b,");
}

TEST_F(FrameWriterTest, ABroadcastSharesItsPayloadBehindEveryHeader) {
  start();
  const std::string text = pattern(5'000);
  const SharedBytes payload{ByteView(text)};
  const Framing framings[] = {LengthPrefix(), VarintLength(), NetString(),
                              HeaderBlock({.bodies_only = true})};
  for (const Framing& framing : framings) {
    FramedConnection c(connection(), framing);
    EXPECT_TRUE(c.send_frame(payload));
    EXPECT_EQ(payload.owners(), 2u) << "queued, not copied";
    const std::string wanted = framing.encode(text);
    EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
    EXPECT_TRUE(run_until([&] { return payload.owners() == 1; }));
  }
  // Of what lies partly in the header a part cannot be shared.
  const Framing whole = LengthField({.width_bytes = 4});
  FramedConnection c(connection(), whole);
  EXPECT_TRUE(c.send_frame(payload));
  EXPECT_EQ(payload.owners(), 1u);
  const std::string wanted = whole.encode(text);
  EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
}

TEST_F(FrameWriterDeathTest, ASendWhileOneIsOpenIsCaught) {
  start();
  const Framing framing;
  FramedConnection c(connection(), framing);
  EXPECT_DEATH(
      {
        FrameWriter writer = c.frame_writer();
        writer.write("x");
        c.send_frame("y");
        writer.commit();
      },
      "something was sent or flushed");
}

TEST_F(FrameWriterDeathTest, MoreThanWasThereIsCaught) {
  start();
  const Framing framing;
  FramedConnection c(connection(), framing);
  EXPECT_DEATH(c.frame_writer(1).advance(100'000), "advance\\(\\) of more than room");
  EXPECT_DEATH(c.frame_writer(1).back_up(1), "back_up\\(\\) of more than was written");
}

TEST_F(FrameWriterDeathTest, ASecondOneAndASecondCommitAreCaught) {
  start();
  const Framing framing;
  FramedConnection c(connection(), framing);
  FrameWriter writer = c.frame_writer();
  EXPECT_DEATH(c.frame_writer(), "something was sent or flushed");
  EXPECT_DEATH(connection().flush(), "something was sent or flushed");
  writer.write("x");
  EXPECT_TRUE(writer.commit());
  EXPECT_DEATH(writer.commit(), "commit\\(\\) of a frame that was committed");
  EXPECT_TRUE(c.send_frame("y")) << "after commit() anything may be sent";
  EXPECT_EQ(receive(peer, 10), frame("x") + frame("y"));
}

TEST_F(FrameWriterTest, AnExpectationThatNoMemoryHasIsRefused) {
  start();
  const Framing framing;
  FramedConnection c(connection(), framing);
  EXPECT_THROW(c.frame_writer(SIZE_MAX), std::bad_alloc);
  EXPECT_THROW(c.frame_writer(SIZE_MAX - 40), std::bad_alloc);
  EXPECT_TRUE(c.send_frame("fine"));
}

}  // namespace
}  // namespace millrace::test
