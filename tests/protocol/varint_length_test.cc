#include <millrace/varint_length.h>

#include "every_cut.h"

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test::varint_length_test {
namespace {

constexpr std::size_t kMiB = 1 << 20;
constexpr const char* kMoreThan32 = "a length of more than 32 bits";
constexpr const char* kMoreThan64 = "a length of more than 64 bits";
constexpr const char* kTooManyBytes = "a length with more bytes than it needs";
constexpr const char* kBeyond = "a length beyond all bounds";

VarintLength limit(std::size_t max, Oversize oversize = Oversize::fail) {
  return VarintLength({.max_payload_bytes = max, .oversize = oversize});
}
VarintLength bits64(std::size_t max, Oversize oversize = Oversize::fail) {
  return VarintLength({.length_bits = 64, .max_payload_bytes = max, .oversize = oversize});
}
std::string x(std::size_t n) {
  return std::string(n, 'x');
}

struct VarintLengthVectors : FramingVectors {};

TEST_P(VarintLengthVectors, GiveTheSameWhateverTheCuts) {
  expect_whatever_the_cuts(GetParam().framing, GetParam().stream, GetParam().expected);
}

// What Netty's ProtobufVarint32FrameDecoder is tested with, and the edges of the format.
std::vector<Vector> vectors_of_the_table() {
  return {
      {"FourBytes", VarintLength(), hex("04 01010101"), gives().frame(hex("01010101"))},
      {"TwoBytesOfLength", VarintLength(), hex("fe0f") + std::string(2046, 1),
       gives().frame(std::string(2046, 1))},
      {"FourBytesOfLength", VarintLength(), hex("80808001") + std::string(2'097'152, 7),
       gives().frame(std::string(2'097'152, 7))},
      {"WaitsForTheLength", VarintLength(), hex("808080"), gives().left(hex("808080"))},
      {"WaitsForTheFifthByte", VarintLength(), hex("80808080"), gives().left(hex("80808080"))},
      {"TheFifthByteDecides", VarintLength(), hex("80808080 01 41"),
       gives().too_large(0x10000000, 16 * kMiB, 0)},
      {"NoFifthByteGoesOn", VarintLength(), hex("8080808080"), gives().corrupt(kMoreThan32, 0)},
      {"TheLargestOf32Bits", VarintLength(), hex("ffffffff0f"),
       gives().too_large(0xffffffff, 16 * kMiB, 0)},
      {"BitsBeyond32", VarintLength(), hex("ffffffff1f"), gives().corrupt(kMoreThan32, 0)},
      {"ALongZero", VarintLength(), hex("8000"), gives().corrupt(kTooManyBytes, 0)},
  };
}

INSTANTIATE_TEST_SUITE_P(Table, VarintLengthVectors, ::testing::ValuesIn(vectors_of_the_table()),
                         vector_name);

std::vector<Vector> vectors() {
  return {
      {"Nothing", VarintLength(), "", gives()},
      {"EmptyFrames", VarintLength(), hex("00 00 01 41 00"),
       gives().frame("").frame("").frame("A").frame("")},
      {"IncompleteAfterAFrame", VarintLength(), hex("01 41 03 4243"),
       gives().frame("A").left(hex("03 4243"), 3)},
      {"TheLargestOfOneByte", VarintLength(), hex("7f") + x(127), gives().frame(x(127))},
      {"TheSmallestOfTwoBytes", VarintLength(), hex("8001") + x(128), gives().frame(x(128))},
      {"TheHeadersExample", VarintLength(), hex("ac02") + x(300), gives().frame(x(300))},
      {"TheLargestOfTwoBytes", VarintLength(), hex("ff7f"), gives().left(hex("ff7f"), 16'383)},
      {"TheSmallestOfThreeBytes", VarintLength(), hex("808001"),
       gives().left(hex("808001"), 16'384)},
      {"ALongOne", VarintLength(), hex("8100 41"), gives().corrupt(kTooManyBytes, 0)},
      {"ALongOneOfFiveBytes", VarintLength(), hex("8180808000 41"),
       gives().corrupt(kTooManyBytes, 0)},
      {"AFrameBeforeABadOne", VarintLength(), hex("01 41 8000 01 42"),
       gives().frame("A").corrupt(kTooManyBytes, 2)},
      {"ExactlyTheLimit", limit(3), hex("03 616263"), gives().frame("abc")},
      {"OneMoreThanTheLimit", limit(3), hex("04 61626364"), gives().too_large(4, 3, 0)},
      {"ExactlyTheLimitInTwoBytes", limit(200), hex("c801") + x(200), gives().frame(x(200))},
      {"OneMoreInTwoBytes", limit(200), hex("c901"), gives().too_large(201, 200, 0)},
      {"ALimitOfOneByteWithALengthOfFive", limit(1), hex("8080808001"),
       gives().too_large(0x10000000, 1, 0)},
      {"Bits64TheSixthByteCounts", bits64(kMiB), hex("808080808001"),
       gives().too_large(std::uint64_t{1} << 35, kMiB, 0)},
      {"Bits64WaitsForTheTenthByte", bits64(kMiB), hex("808080808080808080"),
       gives().left(hex("808080808080808080"))},
      {"Bits64AboutTheLargestOfAll", bits64(kMiB), hex("f5ffffffffffffff7f"),
       gives().too_large(0x7ffffffffffffff5, kMiB, 0)},
      {"Bits64TheLargestPositive", bits64(kMiB), hex("ffffffffffffffff7f"),
       gives().too_large(0x7fffffffffffffff, kMiB, 0)},
      {"Bits64Negative", bits64(kMiB), hex("80808080808080808001"),
       gives().corrupt(kBeyond, 0, 0x8000000000000000)},
      {"Bits64AllOnes", bits64(kMiB), hex("ffffffffffffffffff01"),
       gives().corrupt(kBeyond, 0, UINT64_MAX)},
      {"Bits64BitsBeyond", bits64(kMiB), hex("ffffffffffffffffff03"),
       gives().corrupt(kMoreThan64, 0)},
      {"Bits64NoTenthByteGoesOn", bits64(kMiB), hex("80808080808080808080"),
       gives().corrupt(kMoreThan64, 0)},
      {"Bits64ALongOne", bits64(kMiB), hex("8180808080808000"), gives().corrupt(kTooManyBytes, 0)},
      {"AllOnes", VarintLength(), hex("ffffffffffffffff"), gives().corrupt(kMoreThan32, 0)},
  };
}

INSTANTIATE_TEST_SUITE_P(Own, VarintLengthVectors, ::testing::ValuesIn(vectors()), vector_name);

std::vector<Vector> vectors_of_discarding() {
  const auto discard = Oversize::discard;
  return {
      {"SkippedBetweenTwo", limit(1, discard), hex("01 61 03 787878 01 62"),
       gives().frame("a").oversized(3, 1, 2).frame("b")},
      {"TwoBytesOfLengthSkipped", limit(130, discard), hex("8401") + x(132) + hex("01 41"),
       gives().oversized(132, 130, 0).frame("A")},
      {"WhatIsSkippedIsNotLookedAt", limit(1, discard), hex("04 ffffffff 00"),
       gives().oversized(4, 1, 0).frame("")},
      {"TheEndComesWhileSkipping", limit(1, discard), hex("04 78"),
       gives().oversized(4, 1, 0).left("")},
      {"NearlyTheLargestOfAllIsSkipped", bits64(1, discard), hex("f5ffffffffffffff7f 41"),
       gives().oversized(0x7ffffffffffffff5, 1, 0).left("")},
      {"CorruptEndsTheStreamAllTheSame", limit(1, discard), hex("02 7878 8000 01 41"),
       gives().oversized(2, 1, 0).corrupt(kTooManyBytes, 3)},
  };
}

INSTANTIATE_TEST_SUITE_P(Discarding, VarintLengthVectors,
                         ::testing::ValuesIn(vectors_of_discarding()), vector_name);

TEST(VarintLength, SaysWhatItNeedsAndWhatWasAnnounced) {
  FrameState state;
  EXPECT_EQ(VarintLength().decode(hex("03 61"), state).needed, 4u);
  EXPECT_EQ(VarintLength().decode(hex("03 61"), state).announced, 3u);
  EXPECT_EQ(VarintLength().decode(hex("8080"), state).needed, 3u);
  EXPECT_EQ(VarintLength().decode(hex("ac02 61"), state).needed, 302u);
}

TEST(VarintLength, FramesAreViewsIntoTheInput) {
  const std::string stream = hex("03 616263");
  FrameState state;
  EXPECT_EQ(static_cast<const void*>(VarintLength().decode(stream, state).frame.data()),
            stream.data() + 1);
}

TEST(VarintLengthSends, LengthsInAsFewBytesAsTheyNeed) {
  expect_sent_as(VarintLength(), "", hex("00"));
  expect_sent_as(VarintLength(), "abc", hex("03 616263"));
  expect_sent_as(VarintLength(), x(127), hex("7f") + x(127));
  expect_sent_as(VarintLength(), x(128), hex("8001") + x(128));
  expect_sent_as(VarintLength(), x(300), hex("ac02") + x(300));
  expect_sent_as(VarintLength(), x(16'383), hex("ff7f") + x(16'383));
  expect_sent_as(VarintLength(), x(16'384), hex("808001") + x(16'384));
  expect_sent_as(bits64(kMiB), x(300), hex("ac02") + x(300));
}

TEST(VarintLengthSends, ExactlyTheLargestAndNotOneMore) {
  expect_sent_as(limit(3), "abc", hex("03 616263"));
  EXPECT_EQ(message_of<std::length_error>([] { Framing(limit(3)).encode("abcd"); }),
            "frame of 4 bytes to send, limit 3");
}

TEST(VarintLengthSends, LeavesRoomInTheLengthForWhatWillFollow) {
  FrameEdges edges;
  limit(200).wrap(ByteView("abc"), 125, edges);
  EXPECT_EQ(edges.before(), ByteView(hex("8001")));
  FrameEdges none;
  EXPECT_THROW(limit(200).wrap(ByteView("abc"), 198, none), std::length_error);
}

TEST(VarintLength, WhatALengthCannotExpressLowersTheMaximum) {
  EXPECT_EQ(limit(SIZE_MAX).max_payload_bytes(), 0xffffffffu);
  EXPECT_EQ(bits64(SIZE_MAX).max_payload_bytes(), static_cast<std::size_t>(INT64_MAX) - 10);
  EXPECT_EQ(bits64(SIZE_MAX).largest_frame_bytes(), static_cast<std::size_t>(INT64_MAX) - 1);
  EXPECT_EQ(VarintLength().max_payload_bytes(), 16 * kMiB);
  EXPECT_EQ(VarintLength().largest_frame_bytes(), 16 * kMiB + 4);
}

TEST(VarintLength, ABadConfigurationIsNamed) {
  for (const unsigned bits : {0u, 31u, 33u, 63u, 128u}) {
    EXPECT_EQ(message_of<std::invalid_argument>([&] { VarintLength({.length_bits = bits}); }),
              "VarintLengthOptions::length_bits is " + std::to_string(bits) + ": not 32 or 64");
  }
  EXPECT_EQ(message_of<std::invalid_argument>([] { limit(0); }),
            "VarintLengthOptions::max_payload_bytes is 0: no payload fits");
}

}  // namespace
}  // namespace millrace::test::varint_length_test
