#include <millrace/delimited.h>
#include <millrace/error.h>
#include <millrace/frame_reader.h>
#include <millrace/framing.h>
#include <millrace/header_block.h>
#include <millrace/lines.h>
#include <millrace/net_string.h>
#include <millrace/varint_length.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace millrace {
namespace {

using Frames = std::vector<std::string>;

struct Found {
  Frames frames;
  std::size_t oversized = 0;
  std::optional<FrameError> error;
};

// In pieces of so many bytes.
template <class Codec>
Found found_in(const Codec& codec, std::string_view stream, std::size_t piece_bytes) {
  Found found;
  FrameReader<Codec> reader(codec);
  for (; !stream.empty(); stream.remove_prefix(std::min(piece_bytes, stream.size()))) {
    reader.feed(
        ByteView(stream.substr(0, piece_bytes)),
        [&found](ByteView frame) { found.frames.emplace_back(frame.text()); },
        [&found](const FrameError&) { ++found.oversized; });
  }
  found.error = reader.error();
  return found;
}

template <class Codec>
void expect_skipped_and_then_corrupt(const Codec& codec, std::string_view stream,
                                     std::uint64_t offset) {
  for (std::size_t piece_bytes = 1; piece_bytes <= stream.size(); ++piece_bytes) {
    SCOPED_TRACE(piece_bytes);
    const Found found = found_in(codec, stream, piece_bytes);
    EXPECT_EQ(found.frames, Frames());
    EXPECT_EQ(found.oversized, 1u);
    ASSERT_TRUE(found.error);
    EXPECT_EQ(found.error->code, error::frame_corrupt);
    EXPECT_EQ(found.error->offset, offset);
  }
}

TEST(CodecStrictness, ASkippedNetStringWithoutItsCommaIsCorruptHoweverItIsCut) {
  const NetString codec({.max_payload_bytes = 4, .oversize = Oversize::discard});
  expect_skipped_and_then_corrupt(codec, "5:hello!1:a,", 7);
}

TEST(CodecStrictness, ALoneLineFeedInASkippedLineIsCorruptHoweverItIsCut) {
  const Lines codec(
      {.end = LineEnd::strict_crlf, .max_line_bytes = 2, .oversize = Oversize::discard});
  expect_skipped_and_then_corrupt(codec, "abcdef\ngh\r\na\r\n", 6);
}

TEST(CodecStrictness, ALoneCarriageReturnInASkippedLineIsCorruptHoweverItIsCut) {
  const Lines codec(
      {.end = LineEnd::strict_crlf, .max_line_bytes = 2, .oversize = Oversize::discard});
  expect_skipped_and_then_corrupt(codec, "abcdef\r\rgh\r\na\r\n", 6);
}

TEST(CodecStrictness, AWrongDigitOfANetStringIsSeenAsSoonAsItComes) {
  const Found found = found_in(NetString(), "05", 1);
  ASSERT_TRUE(found.error);
  EXPECT_EQ(found.error->code, error::frame_corrupt);
}

TEST(CodecStrictness, ATooLargeNetStringIsSeenWithItsColon) {
  const Found found = found_in(NetString({.max_payload_bytes = 9}), "10:", 1);
  ASSERT_TRUE(found.error);
  EXPECT_EQ(found.error->code, error::frame_too_large);
}

TEST(CodecStrictness, NoCodecNeedsMoreThanItsLargestFrame) {
  FrameState state;
  const NetString net_string({.max_payload_bytes = 1});
  EXPECT_LE(net_string.decode(std::string(18, '1'), state).needed,
            net_string.largest_frame_bytes());
  const VarintLength varint({.length_bits = 64, .max_payload_bytes = 1});
  EXPECT_LE(varint.decode(std::string(9, '\xff'), state).needed, varint.largest_frame_bytes());
}

TEST(CodecStrictness, APayloadWhoseEndWouldJoinTheDelimiterToAnotherIsNotSent) {
  const Delimited codec({.delimiters = {"||", "a||"}});
  EXPECT_EQ(found_in(codec, "xa||", 4).frames, Frames{"x"});
  EXPECT_THROW(Framing(codec).encode("xa"), std::invalid_argument);
}

TEST(CodecStrictness, ALengthOfAHeaderThatIsCorruptIsNotAnnounced) {
  for (const char* header :
       {"Content-Length: 12x\n\n", "Content-Length: 1\nContent-Length: 1\n\n"}) {
    const Found found = found_in(HeaderBlock(), header, 100);
    ASSERT_TRUE(found.error);
    EXPECT_EQ(found.error->code, error::frame_corrupt);
    EXPECT_EQ(found.error->announced, 0u);
  }
}

TEST(CodecStrictness, AHeaderThatWouldBeSentIsNoLargerThanAllowed) {
  const std::string header = "Content-Length: 99\r\n\r\n";
  HeaderBlockOptions options{
      .bodies_only = true, .max_header_bytes = header.size(), .max_body_bytes = 99};
  const std::string body(99, 'x');
  EXPECT_EQ(Framing(HeaderBlock(options)).encode(body), header + body);
  --options.max_header_bytes;
  EXPECT_THROW(HeaderBlock{options}, std::invalid_argument);
}

TEST(CodecStrictness, NulIsCorruptInAStartLineToo) {
  using namespace std::string_view_literals;
  const Found found = found_in(HeaderBlock({.start_line = true}), "GET\0/\r\n\r\n"sv, 100);
  ASSERT_TRUE(found.error);
  EXPECT_EQ(found.error->code, error::frame_corrupt);
}

TEST(CodecStrictness, ALengthThatMemoryCanHaveIsTooLargeAndNotCorrupt) {
  const Found found =
      found_in(VarintLength({.length_bits = 64}), "\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 100);
  ASSERT_TRUE(found.error);
  EXPECT_EQ(found.error->code, error::frame_too_large);
  EXPECT_EQ(found.error->announced, std::uint64_t{INT64_MAX});
}

}  // namespace
}  // namespace millrace
