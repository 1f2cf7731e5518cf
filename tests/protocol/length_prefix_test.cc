#include <millrace/length_prefix.h>

#include "every_cut.h"

#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test::length_prefix_test {
namespace {

LengthPrefix framing_of(unsigned width, std::size_t max = 16 * 1024 * 1024,
                        ByteOrder order = ByteOrder::big) {
  return LengthPrefix({.width_bytes = width, .order = order, .max_payload_bytes = max});
}

struct LengthPrefixVectors : FramingVectors {};

TEST_P(LengthPrefixVectors, GiveTheSameWhateverTheCuts) {
  expect_whatever_the_cuts(GetParam().framing, GetParam().stream, GetParam().expected);
}

// What is announced is the payload alone, and so is the limit.
std::vector<Vector> vectors() {
  constexpr auto little = ByteOrder::little;
  const LengthPrefix discarding({.max_payload_bytes = 12, .oversize = Oversize::discard});
  return {
      {"Nothing", framing_of(4), "", gives()},
      {"TwoByteWidth", framing_of(2), hex("000c 48454c4c4f2c20574f524c44"),
       gives().frame("HELLO, WORLD")},
      {"AnEmptyFrameIsAFrame", framing_of(4), hex("00000000 00000001 41"),
       gives().frame("").frame("A")},
      {"ExactlyTheMaximum", framing_of(4, 12), hex("0000000c 303132333435363738396162"),
       gives().frame("0123456789ab")},
      // Ours closes here instead of looking for the next frame behind it: whoever lies about one
      // length is not believed about the next.
      {"OneMoreThanTheMaximum", framing_of(4, 12),
       hex("0000000d 30313233343536373839616263 00000001 41"), gives().too_large(13, 12, 0)},
      {"OneMoreThanTheMaximumIsSkipped", discarding,
       hex("0000000d 30313233343536373839616263 00000001 41"),
       gives().oversized(13, 12, 0).frame("A")},
      {"TooLargeIsSaidBeforeItsBytesCome", framing_of(4, 1), hex("00000002"),
       gives().too_large(2, 1, 0)},
      {"AllOnesInFourBytes", framing_of(4, 1 << 20), hex("ffffffff 7a7a7a7a"),
       gives().too_large(0xffffffff, 1 << 20, 0)},
      {"ANegativeLengthIsCorrupt", framing_of(8, 1 << 20),
       hex("8000000000000000 0000000000000001 41"),
       gives().corrupt("a negative length", 0, 0x8000000000000000)},
      {"AllOnesInEightBytes", framing_of(8, 1 << 20), hex("ffffffffffffffff 7a7a"),
       gives().corrupt("a negative length", 0, 0xffffffffffffffff)},
      {"TheLargestPositiveIsTooLargeNotCorrupt", framing_of(8, 1 << 20), hex("7fffffffffffffff"),
       gives().too_large(0x7fffffffffffffff, 1 << 20, 0)},
      {"LittleEndian", framing_of(4, 1 << 20, little), hex("03000000 616263"),
       gives().frame("abc")},
      {"LittleEndianTwoBytes", framing_of(2, 1 << 20, little), hex("0100 61 0200 6263"),
       gives().frame("a").frame("bc")},
      {"LittleEndianThreeBytes", framing_of(3, 1 << 20, little), hex("010000 61 020000 6263"),
       gives().frame("a").frame("bc")},
      {"LittleEndianEightBytes", framing_of(8, 1 << 20, little), hex("0200000000000000 6869"),
       gives().frame("hi")},
      {"ThreeBytes", framing_of(3), hex("000003 616263"), gives().frame("abc")},
      {"EightBytes", framing_of(8), hex("0000000000000003 616263"), gives().frame("abc")},
      {"SeveralInOneRead", framing_of(2), hex("0001 61 0002 6263"), gives().frame("a").frame("bc")},
      {"TheBeginningOfAFrameIsKept", framing_of(2), hex("0001 61 0002 62"),
       gives().frame("a").left(hex("0002 62"), 2)},
      {"OneByteWidth", framing_of(1), hex("03 616263"), gives().frame("abc")},
      {"TheLargestOfOneByte", framing_of(1), hex("ff") + std::string(255, 'x'),
       gives().frame(std::string(255, 'x'))},
      {"FramesBeforeABadOneAreGiven", framing_of(2, 3), hex("0001 61 0002 6263 0004 64"),
       gives().frame("a").frame("bc").too_large(4, 3, 7)},
  };
}

INSTANTIATE_TEST_SUITE_P(All, LengthPrefixVectors, ::testing::ValuesIn(vectors()), vector_name);

// The format once more, written for clarity.
Outcome reference(unsigned width, ByteOrder order, std::uint64_t max, std::string stream) {
  Outcome outcome;
  std::uint64_t at = 0;
  std::uint64_t announced = 0;
  while (stream.size() >= width) {
    std::uint64_t length = 0;
    for (unsigned i = 0; i < width; ++i) {
      const unsigned byte = order == ByteOrder::big ? i : width - 1 - i;
      length = length * 256 + static_cast<unsigned char>(stream[byte]);
    }
    if (length > INT64_MAX) return outcome.corrupt("a negative length", at, length);
    if (length > max) return outcome.too_large(length, max, at);
    announced = length;
    if (stream.size() - width < length) break;
    outcome.frame(stream.substr(width, length));
    stream.erase(0, width + length);
    at += width + length;
  }
  if (stream.empty()) return outcome;
  outcome.left(stream, stream.size() < width ? 0 : announced);
  outcome.at_end->offset = at;
  return outcome;
}

TEST(LengthPrefixModel, AgreesWithTheReferenceOnRandomStreamsAndCuts) {
  for (unsigned seed = 0; seed < 20'000; ++seed) {
    std::mt19937 random(seed);
    const unsigned width = 1u << (random() % 4);
    const ByteOrder order = random() % 2 ? ByteOrder::big : ByteOrder::little;
    const std::size_t max = 1 + random() % 300;
    const LengthPrefix framing = framing_of(width, max, order);
    std::string stream;
    for (std::size_t n = random() % 6; n > 0; --n) {
      const std::size_t length = random() % (max + 2);  // now and then one too many
      if (length <= framing.max_payload_bytes()) {
        std::byte header[LengthPrefix::kLargestHeaderBytes];
        framing.write_header(header, length);
        stream += ByteView(header, framing.header_bytes()).text();
        for (std::size_t i = 0; i < length; ++i) stream += static_cast<char>(random());
      } else {
        for (std::size_t i = 0; i < width; ++i) stream += static_cast<char>(random());
      }
    }
    stream.resize(stream.size() - random() % (stream.size() + 1) / 4);
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < stream.size();) {
      const std::size_t n = std::min<std::size_t>(1 + random() % 50, stream.size() - at);
      pieces.push_back(stream.substr(at, n));
      at += n;
    }
    ASSERT_TRUE(expect_of_pieces(framing, pieces,
                                 reference(width, order, framing.max_payload_bytes(), stream)))
        << "seed " << seed;
  }
}

TEST(LengthPrefix, SaysHowManyBytesItNeeds) {
  const LengthPrefix framing;
  EXPECT_EQ(framing.decode(ByteView()).needed, 4u);
  EXPECT_EQ(framing.decode(hex("0000")).needed, 4u);
  EXPECT_EQ(framing.decode(hex("00000064")).needed, 104u);
  EXPECT_EQ(framing.decode(hex("00000064 61")).needed, 104u);
}

TEST(LengthPrefix, FramesAreViewsIntoTheInput) {
  const std::string stream = hex("00000001 41");
  const Decoded decoded = LengthPrefix().decode(stream);
  EXPECT_EQ(static_cast<const void*>(decoded.frame.data()), stream.data() + 4);
}

std::string header(const LengthPrefix& framing, std::size_t payload) {
  std::byte bytes[LengthPrefix::kLargestHeaderBytes];
  framing.write_header(bytes, payload);
  return std::string(ByteView(bytes, framing.header_bytes()).text());
}

TEST(LengthPrefix, WritesHeadersOfEveryWidthInEitherOrder) {
  EXPECT_EQ(header(framing_of(1), 1), hex("01"));
  EXPECT_EQ(header(framing_of(2), 1), hex("0001"));
  EXPECT_EQ(header(framing_of(4), 1), hex("00000001"));
  EXPECT_EQ(header(framing_of(8), 1), hex("0000000000000001"));
  EXPECT_EQ(header(framing_of(2, 1 << 20, ByteOrder::little), 258), hex("0201"));
  EXPECT_EQ(header(framing_of(4, 1 << 20, ByteOrder::little), 1), hex("01000000"));
  EXPECT_EQ(header(framing_of(8, 1 << 20, ByteOrder::little), 1), hex("0100000000000000"));
}

TEST(LengthPrefix, RefusesToWriteMoreThanItsMaximumNamingBoth) {
  try {
    header(framing_of(2), 70'000);
    FAIL() << "70,000 bytes do not fit into a length of two bytes";
  } catch (const std::length_error& e) {
    EXPECT_STREQ(e.what(), "frame of 70000 bytes to send, limit 65535");
  }
  EXPECT_THROW(header(framing_of(4, 100), 101), std::length_error);
  EXPECT_EQ(header(framing_of(4, 100), 100), hex("00000064"));
}

TEST(LengthPrefix, WhatTheWidthCannotExpressLowersTheMaximum) {
  EXPECT_EQ(framing_of(1).max_payload_bytes(), 255u);
  EXPECT_EQ(framing_of(2).max_payload_bytes(), 65'535u);
  EXPECT_EQ(framing_of(4, SIZE_MAX).max_payload_bytes(), 0xffffffffu);
  EXPECT_EQ(framing_of(8, SIZE_MAX).max_payload_bytes(), static_cast<std::size_t>(INT64_MAX) - 8)
      << "header and all";
  EXPECT_EQ(LengthPrefix().max_payload_bytes(), 16u * 1024 * 1024);
}

TEST(LengthPrefix, ABadConfigurationIsNamed) {
  for (const unsigned width : {0u, 5u, 6u, 7u, 9u, 16u}) {
    try {
      framing_of(width);
      FAIL() << width;
    } catch (const std::invalid_argument& e) {
      EXPECT_EQ(std::string(e.what()), "LengthPrefixOptions::width_bytes is " +
                                           std::to_string(width) + ": not 1, 2, 3, 4 or 8");
    }
  }
  try {
    framing_of(4, 0);
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_STREQ(e.what(), "LengthPrefixOptions::max_payload_bytes is 0: no payload fits");
  }
}

TEST(FrameErrorText, NamesTheNumbers) {
  EXPECT_EQ((FrameError{error::frame_too_large, 99, 10, 7}).text(),
            "frame of 99 bytes announced, limit 10, at byte 7 of the stream");
  EXPECT_EQ((FrameError{error::frame_truncated, 99, 10, 7}).text(),
            "stream ended inside a frame of 99 bytes, at byte 7 of the stream");
  EXPECT_EQ((FrameError{error::frame_truncated, 0, 10, 7}).text(),
            "stream ended inside a frame, at byte 7 of the stream");
  EXPECT_EQ((FrameError{error::frame_too_large, 0, 10, 7, "no delimiter"}).text(),
            "frame of more than 10 bytes, no delimiter, at byte 7 of the stream");
  EXPECT_EQ((FrameError{error::frame_corrupt, 0, 0, 7, "no comma"}).text(),
            "corrupt frame, no comma, at byte 7 of the stream");
}

}  // namespace
}  // namespace millrace::test::length_prefix_test
