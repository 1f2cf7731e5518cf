#include <millrace/framed_server.h>
#include <millrace/framings.h>

#include "support/framed_test.h"
#include "support/one_peer_test.h"

#include <stdexcept>
#include <string>

namespace millrace::test::checksummed_test {
namespace {

using ChecksummedTest = FramedTest;

TEST(Crc32c, IsThatOfTheKnownVectors) {
  std::string rising(32, '\0');
  std::string falling(32, '\0');
  for (int i = 0; i < 32; ++i) {
    rising[static_cast<std::size_t>(i)] = static_cast<char>(i);
    falling[static_cast<std::size_t>(i)] = static_cast<char>(31 - i);
  }
  for (const auto crc : {crc32c, crc32c_portable}) {
    EXPECT_EQ(crc("", 0), 0u);
    EXPECT_EQ(crc("123456789", 0), 0xe3069283u);
    // RFC 3720, B.4.
    EXPECT_EQ(crc(ByteView(std::string(32, '\0')), 0), 0x8a9136aau);
    EXPECT_EQ(crc(ByteView(std::string(32, '\xff')), 0), 0x62a8ab43u);
    EXPECT_EQ(crc(ByteView(rising), 0), 0x46dd794eu);
    EXPECT_EQ(crc(ByteView(falling), 0), 0x113fdb5cu);
  }
}

TEST(Crc32c, IsTheSameWithAndWithoutTheInstructionAndInPieces) {
  const std::string bytes = pattern(300);
  for (std::size_t from = 0; from < 9; ++from) {
    for (std::size_t n = 0; n + from <= bytes.size(); n += 7) {
      const ByteView view = ByteView(bytes).from(from).first(n);
      const std::uint32_t crc = crc32c(view);
      EXPECT_EQ(crc, crc32c_portable(view));
      EXPECT_EQ(crc, crc32c(view.from(n / 3), crc32c(view.first(n / 3))));
      EXPECT_EQ(crc, crc32c_portable(view.from(n / 3), crc32c_portable(view.first(n / 3))));
    }
  }
}

TEST_F(ChecksummedTest, TheChecksumStandsBehindThePayloadInsideTheFrame) {
  EXPECT_EQ(Framing(Checksummed(LengthPrefix())).encode("123456789"),
            bytes_of("\0\0\0\x0d") + "123456789" + "\xe3\x06\x92\x83");
  EXPECT_EQ(Framing(Checksummed(VarintLength(), ByteOrder::little)).encode("123456789"),
            "\x0d" + std::string("123456789") + "\x83\x92\x06\xe3");
  EXPECT_EQ(Framing(Checksummed(NetString())).encode("123456789"),
            std::string("13:123456789") + "\xe3\x06\x92\x83,");
  EXPECT_EQ(Framing(Checksummed(FixedLength(4))).encode(""), std::string(4, '\0'));
}

TEST_F(ChecksummedTest, EveryFlippedBitIsFound) {
  const Checksummed codec{LengthPrefix()};
  const std::string good = Framing(codec).encode("a payload of some bytes");
  FrameState state;
  EXPECT_EQ(codec.decode(ByteView(good), state).frame, "a payload of some bytes");
  for (std::size_t bit = 4 * 8; bit < good.size() * 8; ++bit) {
    std::string flipped = good;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ 1 << bit % 8);
    const Decoded found = codec.decode(ByteView(flipped), state);
    ASSERT_EQ(found.status, Decoded::failed) << bit;
    EXPECT_EQ(found.error, error::frame_checksum);
  }
}

TEST_F(ChecksummedTest, AFrameWithoutRoomForOneIsCorrupt) {
  FrameState state;
  const Decoded found = Checksummed(LengthPrefix()).decode(ByteView(frame("abc")), state);
  EXPECT_EQ(found.status, Decoded::failed);
  EXPECT_EQ(found.error, error::frame_corrupt);
}

TEST_F(ChecksummedTest, TheLimitInsideCountsTheChecksumToo) {
  const Framing framing = Checksummed(LengthPrefix({.max_payload_bytes = 10}));
  EXPECT_NO_THROW(framing.encode("123456"));
  EXPECT_THROW(framing.encode("1234567"), std::length_error);
}

TEST_F(ChecksummedTest, AHeaderThatIsNotStrippedIsRefused) {
  EXPECT_NO_THROW(Checksummed(LengthField({.strip_bytes = 4})));
  try {
    Checksummed(LengthField({.strip_bytes = 3}));
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_STREQ(e.what(),
                 "Checksummed: LengthFieldOptions::strip_bytes is 3, less than the header's 4");
  }
}

TEST_F(ChecksummedTest, AServerGivesWhatWasRightAndClosesWhatWasWrong) {
  const Framing framing = Checksummed(LengthPrefix());
  FramedServer server(loop(), keep(), framing);
  RawSocket peer = connect(server);
  std::string wrong = framing.encode("wrong");
  wrong[6] ^= 1;
  peer.send_all(framing.encode("one") + framing.encode("two") + wrong + framing.encode("three"));
  ASSERT_TRUE(run_until([&] { return bad_frames == 1; }));
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(frames, (std::vector<std::string>{"one", "two"}));
  EXPECT_EQ(reason, error::frame_checksum);
  EXPECT_EQ(bad.offset, 22u);
  EXPECT_NE(detail.find("frame does not match its checksum of 5 bytes, at byte 22"),
            std::string::npos)
      << detail;
}

}  // namespace
}  // namespace millrace::test::checksummed_test
