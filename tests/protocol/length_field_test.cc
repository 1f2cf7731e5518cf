// V1 ... V26 are the vectors of a table that many implementations can be compared by: what Netty's
// LengthFieldBasedFrameDecoder says, and where we differ on purpose. We find fault as soon as the
// length is there (never only when the frame is), and what is wrong, not just too large, ends the
// stream: looking for a next frame behind it would be a way to smuggle one.
#include <millrace/length_field.h>

#include "every_cut.h"

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test::length_field_test {
namespace {

constexpr std::size_t kMiB = 1 << 20;
constexpr std::int64_t kMin64 = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kMax64 = std::numeric_limits<std::int64_t>::max();
constexpr const char* kTooSmall = "a length that is smaller than what it counts";

// In the order of the table: max, offset, width, adjustment, strip.
LengthField field(std::size_t max, std::size_t offset, unsigned width, std::int64_t adjustment,
                  std::size_t strip, Oversize oversize = Oversize::fail) {
  return LengthField({.offset_bytes = offset,
                      .width_bytes = width,
                      .adjustment_bytes = adjustment,
                      .strip_bytes = strip,
                      .max_frame_bytes = max,
                      .oversize = oversize});
}

const std::string kHello = "HELLO, WORLD";
std::string counting_up(std::size_t n) {
  std::string bytes;
  for (std::size_t i = 0; i < n; ++i) bytes += static_cast<char>(i);
  return bytes;
}

struct LengthFieldVectors : FramingVectors {};

TEST_P(LengthFieldVectors, GiveTheSameWhateverTheCuts) {
  expect_whatever_the_cuts(GetParam().framing, GetParam().stream, GetParam().expected);
}

std::vector<Vector> vectors_of_the_table() {
  const auto discard = Oversize::discard;
  const std::string v10 = hex("0000000d 30313233343536373839616263 00000001 41");
  const std::string v11 = hex("00000020") + counting_up(32) + hex("00000001 61");
  const std::string v13 = hex("00000002 0000 00000001 41");
  const std::string v16 = hex("8000000000000000 0000000000000001 41");
  return {
      {"V1WholeFrame", field(1024, 0, 2, 0, 0), hex("000c") + kHello,
       gives().frame(hex("000c") + kHello)},
      {"V2Stripped", field(1024, 0, 2, 0, 2), hex("000c") + kHello, gives().frame(kHello)},
      {"V3TheLengthCountsItself", field(1024, 0, 2, -2, 0), hex("000e") + kHello,
       gives().frame(hex("000e") + kHello)},
      {"V4BehindTwoBytes", field(1024, 2, 3, 0, 0), hex("cafe 00000c") + kHello,
       gives().frame(hex("cafe 00000c") + kHello)},
      {"V6InTheMiddle", field(1024, 1, 2, 1, 3), hex("ca 000c fe") + kHello,
       gives().frame(hex("fe") + kHello)},
      {"V8EmptyAndNot", field(16, 0, 4, 0, 4), hex("00000000 00000001 41"),
       gives().frame("").frame("A")},
      {"V9ExactlyTheMaximum", field(16, 0, 4, 0, 4), hex("0000000c 303132333435363738396162"),
       gives().frame("0123456789ab")},
      {"V10DiffersOneMoreEndsTheStream", field(16, 0, 4, 0, 4), v10, gives().too_large(17, 16, 0)},
      {"V10DiscardingAsNetty", field(16, 0, 4, 0, 4, discard), v10,
       gives().oversized(17, 16, 0).frame("A")},
      {"V11DiffersTooLongEndsTheStream", field(16, 0, 4, 0, 0), v11, gives().too_large(36, 16, 0)},
      {"V11V12DiscardingAsNettyAlsoAfter14Bytes", field(16, 0, 4, 0, 0, discard), v11,
       gives().oversized(36, 16, 0).frame(hex("00000001 61"))},
      {"V13DiffersTooLongAtOnceEndsTheStream", field(5, 0, 4, 0, 4), v13,
       gives().too_large(6, 5, 0)},
      {"V13DiscardingAsNettyTwice", field(5, 0, 4, 0, 4, discard), v13 + v13,
       gives().oversized(6, 5, 0).frame("A").oversized(6, 5, 11).frame("A")},
      // Netty can wait for all of a frame until it says that it is too long. We never do.
      {"V14DiffersIsToldBeforeItsBytesCome", field(5, 0, 4, 0, 4, discard), hex("00000002"),
       gives().oversized(6, 5, 0).left("")},
      {"V15AllOnesInFourBytes", field(kMiB, 0, 4, 0, 4), hex("ffffffff 7a7a7a7a"),
       gives().too_large(4294967299, kMiB, 0)},
      {"V16DiffersNegativeEndsTheStream", field(kMiB, 0, 8, 0, 8), v16,
       gives().corrupt("a negative length", 0, 0x8000000000000000)},
      {"V16DiffersAlsoWhenDiscarding", field(kMiB, 0, 8, 0, 8, discard), v16,
       gives().corrupt("a negative length", 0, 0x8000000000000000)},
      {"V18MinusOne", field(kMiB, 0, 8, 0, 8), hex("ffffffffffffffff 7a7a"),
       gives().corrupt("a negative length", 0, UINT64_MAX)},
      {"V19DiffersSmallerThanItselfEndsTheStream", field(1024, 0, 2, -2, 0), hex("0001 0003 41"),
       gives().corrupt(kTooSmall, 0, 1)},
      {"V19DiffersAlsoWhenDiscarding", field(1024, 0, 2, -2, 0, discard), hex("0001 0003 41"),
       gives().corrupt(kTooSmall, 0, 1)},
      {"V21DiffersSmallerThanItselfEndsTheStream", field(1024, 0, 2, -2, 2), hex("0000 0003 41"),
       gives().corrupt(kTooSmall, 0, 0)},
      {"V23LittleEndian",
       LengthField({.order = ByteOrder::little, .strip_bytes = 4, .max_frame_bytes = 1024}),
       hex("03000000 616263"), gives().frame("abc")},
      {"V24TwoInOneRead", field(1024, 0, 2, 0, 2), hex("0001 61 0002 6263"),
       gives().frame("a").frame("bc")},
      {"V25TheRestIsKeptAndTheEndIsInsideAFrame", field(1024, 0, 2, 0, 2), hex("0001 61 0002 62"),
       gives().frame("a").left(hex("0002 62"), 4)},
      {"V26OneByte", field(255, 0, 1, 0, 0), hex("03 616263"), gives().frame(hex("03 616263"))},
  };
}

INSTANTIATE_TEST_SUITE_P(Table, LengthFieldVectors, ::testing::ValuesIn(vectors_of_the_table()),
                         vector_name);

LengthField of_width(unsigned width, ByteOrder order, std::size_t max = kMiB) {
  return LengthField({.width_bytes = width, .order = order, .max_frame_bytes = max});
}

std::vector<Vector> vectors_of_widths() {
  const auto big = ByteOrder::big;
  const auto little = ByteOrder::little;
  const LengthField huge({.width_bytes = 8, .max_frame_bytes = static_cast<std::size_t>(kMax64)});
  return {
      {"Nothing", LengthField(), "", gives()},
      {"NotYetALength", LengthField(), hex("000000"), gives().left(hex("000000"))},
      {"OneByte", of_width(1, big), hex("02 6869"), gives().frame(hex("02 6869"))},
      {"TwoBytesLittle", of_width(2, little), hex("0200 6869"), gives().frame(hex("0200 6869"))},
      {"ThreeBytesBig", of_width(3, big), hex("000002 6869 000000"),
       gives().frame(hex("000002 6869")).frame(hex("000000"))},
      {"ThreeBytesLittle", of_width(3, little), hex("020000 6869 000000"),
       gives().frame(hex("020000 6869")).frame(hex("000000"))},
      {"AllThreeBytesCountBig", of_width(3, big), hex("123456"),
       gives().too_large(0x123456 + 3, kMiB, 0)},
      {"AllThreeBytesCountLittle", of_width(3, little), hex("563412"),
       gives().too_large(0x123456 + 3, kMiB, 0)},
      {"AllOnesInThreeBytes", of_width(3, big), hex("ffffff"),
       gives().too_large(0xffffff + 3, kMiB, 0)},
      {"EightBytesLittle", of_width(8, little), hex("0200000000000000 6869"),
       gives().frame(hex("0200000000000000 6869"))},
      {"AllOnesInOneByteIsAFrame", of_width(1, big), hex("ff") + std::string(255, 'x'),
       gives().frame(hex("ff") + std::string(255, 'x'))},
      {"AllOnesInTwoBytes", of_width(2, big, 65'536), hex("ffff"),
       gives().too_large(65'537, 65'536, 0)},
      {"TheLargestPositiveOfEightBytesIsTooLarge", of_width(8, big), hex("7fffffffffffffff"),
       gives().too_large(0x8000000000000007, kMiB, 0)},
      {"OneMoreIsNegative", of_width(8, big), hex("8000000000000000"),
       gives().corrupt("a negative length", 0, 0x8000000000000000)},
      {"AllOnesInEightBytesLittle", of_width(8, little), hex("ffffffffffffffff"),
       gives().corrupt("a negative length", 0, UINT64_MAX)},
      // As large as can be asked for: it is waited for, and the next one is not.
      {"TheLargestFrameOfAllIsWaitedFor", huge, hex("7ffffffffffffff7 41"),
       gives().left(hex("7ffffffffffffff7 41"), static_cast<std::uint64_t>(kMax64))},
      {"OneMoreThanTheLargestFrameOfAll", huge, hex("7ffffffffffffff8 41"),
       gives().too_large(0x8000000000000000, static_cast<std::uint64_t>(kMax64), 0)},
      {"AFrameBeforeABadOneIsGiven", of_width(2, big, 5), hex("0001 41 0003 414243 0004"),
       gives().frame(hex("0001 41")).frame(hex("0003 414243")).too_large(6, 5, 8)},
  };
}

INSTANTIATE_TEST_SUITE_P(Widths, LengthFieldVectors, ::testing::ValuesIn(vectors_of_widths()),
                         vector_name);

std::vector<Vector> vectors_of_adjustments() {
  const LengthField counts({.offset_bytes = 2,
                            .width_bytes = 2,
                            .counts_header = true,
                            .strip_bytes = 4,
                            .max_frame_bytes = 7});
  const LengthField counts_more({.offset_bytes = 1,
                                 .width_bytes = 1,
                                 .adjustment_bytes = 3,
                                 .counts_header = true,
                                 .max_frame_bytes = 64});
  return {
      {"CountsHeader", counts, hex("cafe 0007 414243 cafe 0004"), gives().frame("ABC").frame("")},
      {"CountsHeaderAndIsOneTooSmall", counts, hex("cafe 0003"), gives().corrupt(kTooSmall, 0, 3)},
      {"CountsHeaderAndIsOneTooLarge", counts, hex("cafe 0008"), gives().too_large(8, 7, 0)},
      {"CountsHeaderButNotThreeMore", counts_more, hex("ca 02 616263 ca 00 61"),
       gives().frame(hex("ca 02 616263")).frame(hex("ca 00 61"))},
      // V6 once more, with the length counting all but the byte behind it.
      {"AdjustmentBehindTheLength", field(64, 1, 2, -2, 3), hex("ca 0004 fe 41 ca 0002"),
       gives().frame(hex("fe 41")).frame("")},
      {"NegativeAdjustmentExactlyTheHeader", field(64, 0, 4, -4, 4), hex("00000004 00000005 41"),
       gives().frame("").frame("A")},
      {"NegativeAdjustmentOneLess", field(64, 0, 4, -4, 4), hex("00000003"),
       gives().corrupt(kTooSmall, 0, 3)},
      // The length counts ten bytes that were before this stream's frames.
      {"NegativeAdjustmentBeyondTheHeader", field(6, 0, 2, -10, 2), hex("000b 61 000a 000e"),
       gives().frame("a").frame("").left(hex("000e"), 6)},
      {"NegativeAdjustmentBeyondTheHeaderTooSmall", field(6, 0, 2, -10, 2), hex("0009"),
       gives().corrupt(kTooSmall, 0, 9)},
      {"FiveMoreThanTheLengthSays", field(64, 0, 1, 5, 1), hex("00 6162636465 01"),
       gives().frame("abcde").left(hex("01"), 7)},
      {"StripMoreThanTheHeader", field(64, 0, 2, 0, 4), hex("0003 616263 0002 6162"),
       gives().frame("c").frame("")},
      {"TooSmallForWhatIsStripped", field(64, 0, 2, 0, 4), hex("0001 61"),
       gives().corrupt(kTooSmall, 0, 1)},
      {"StripLessThanTheHeader", field(64, 1, 2, 0, 1), hex("ca 0001 41"),
       gives().frame(hex("0001 41"))},
      {"AHeaderOf256Bytes", field(512, 254, 2, 0, 256), std::string(254, 'x') + hex("0001 41"),
       gives().frame("A")},
      {"TheLimitIsTheHeaderAlone", field(2, 0, 2, 0, 0), hex("0000 0001"),
       gives().frame(hex("0000")).too_large(3, 2, 2)},
  };
}

INSTANTIATE_TEST_SUITE_P(Adjustments, LengthFieldVectors,
                         ::testing::ValuesIn(vectors_of_adjustments()), vector_name);

std::vector<Vector> vectors_of_discarding() {
  const LengthField small = field(3, 0, 2, 0, 2, Oversize::discard);
  const LengthField eight = field(64, 0, 8, 0, 8, Oversize::discard);
  return {
      {"SkippedBetweenTwo", small, hex("0001 61 0003 787878 0001 62"),
       gives().frame("a").oversized(5, 3, 3).frame("b")},
      {"TwoSkippedInARow", small, hex("0002 7878 0002 7878 0001 62"),
       gives().oversized(4, 3, 0).oversized(4, 3, 4).frame("b")},
      {"SkippedAsTheLast", small, hex("0002 7878"), gives().oversized(4, 3, 0)},
      // How much is skipped already is not kept: the end is told at the byte where it came.
      {"TheEndComesWhileSkipping", small, hex("0005 7878"), gives().oversized(7, 3, 0).left("")},
      {"WhatIsSkippedIsNotLookedAt", small, hex("0006 000161 000162 0001 63"),
       gives().oversized(8, 3, 0).frame("c")},
      {"TheLargestOfAllIsSkipped", eight, hex("7fffffffffffffff 41"),
       gives().oversized(0x8000000000000007, 64, 0).left("")},
      {"CorruptBehindASkippedOne", field(4, 0, 2, -2, 2, Oversize::discard),
       hex("0005 787878 0001"), gives().oversized(5, 4, 0).corrupt(kTooSmall, 5, 1)},
  };
}

INSTANTIATE_TEST_SUITE_P(Discarding, LengthFieldVectors,
                         ::testing::ValuesIn(vectors_of_discarding()), vector_name);

TEST(LengthField, SaysWhatItNeedsAndWhatWasAnnounced) {
  const LengthField framing = field(1024, 1, 2, 1, 3);
  EXPECT_EQ(framing.decode(ByteView()).needed, 3u);
  EXPECT_EQ(framing.decode(hex("ca 00")).needed, 3u);
  EXPECT_EQ(framing.decode(hex("ca 00")).announced, 0u);
  EXPECT_EQ(framing.decode(hex("ca 000c")).needed, 16u);
  EXPECT_EQ(framing.decode(hex("ca 000c fe 41")).needed, 16u);
  EXPECT_EQ(framing.decode(hex("ca 000c fe 41")).announced, 16u);
}

#ifndef NDEBUG
TEST(LengthFieldDeathTest, DecodingWithoutAStateStopsTheProgramWhereAFrameMayHaveToBeSkipped) {
  EXPECT_DEATH(field(1024, 0, 2, 0, 0, Oversize::discard).decode(hex("0001 41")),
               "Oversize::discard needs decode\\(\\) with a state");
}
#endif

TEST(LengthField, FramesAreViewsIntoTheInput) {
  const std::string stream = hex("000c") + kHello;
  const Decoded whole = field(1024, 0, 2, 0, 0).decode(stream);
  EXPECT_EQ(static_cast<const void*>(whole.frame.data()), stream.data());
  const Decoded stripped = field(1024, 0, 2, 0, 2).decode(stream);
  EXPECT_EQ(static_cast<const void*>(stripped.frame.data()), stream.data() + 2);
}

TEST(LengthField, TellsItsNumbers) {
  const LengthField framing = field(1024, 1, 2, 1, 3);
  EXPECT_EQ(framing.header_bytes(), 3u);
  EXPECT_EQ(framing.strip_bytes(), 3u);
  EXPECT_EQ(framing.largest_frame_bytes(), 1024u);
  EXPECT_EQ(LengthField().largest_frame_bytes(), 16u * kMiB);
}

// The vectors of Netty's LengthFieldPrepender, whose adjustment is the other way round: there it is
// what the length says more than is there.
TEST(LengthFieldSends, ThePrependersVectors) {
  expect_sent_as(field(1024, 0, 4, 0, 4), "A", hex("00000001 41"));
  expect_sent_as(LengthField({.counts_header = true, .strip_bytes = 4}), "A", hex("00000005 41"));
  expect_sent_as(field(1024, 0, 4, 1, 4), "A", hex("00000000 41"));
  expect_sent_as(LengthField({.order = ByteOrder::little, .strip_bytes = 4}), "A",
                 hex("01000000 41"));
  EXPECT_EQ(message_of<std::length_error>(
                [] { Framing(field(kMiB, 0, 2, 0, 2)).encode(std::string(70'000, 'x')); }),
            "frame of 70002 bytes to send, limit 65537");
  EXPECT_EQ(message_of<std::length_error>([] { Framing(field(1024, 0, 4, 2, 4)).encode("A"); }),
            "frame of 5 bytes to send, the smallest has 6");
}

TEST(LengthFieldSends, EveryWidthInEitherOrder) {
  for (const unsigned width : {1u, 2u, 3u, 4u, 8u}) {
    const std::string zeros(width - 1, '\0');
    const LengthField big({.width_bytes = width, .strip_bytes = width});
    expect_sent_as(big, "hi", zeros + hex("02") + "hi");
    expect_sent_as(big, "", zeros + hex("00"));
    const LengthField little(
        {.width_bytes = width, .order = ByteOrder::little, .strip_bytes = width});
    expect_sent_as(little, "hi", hex("02") + zeros + "hi");
  }
  const std::string payload(0x012345, 'x');
  expect_sent_as(field(kMiB, 0, 3, 0, 3), payload, hex("012345") + payload);
  expect_sent_as(LengthField({.width_bytes = 3, .order = ByteOrder::little, .strip_bytes = 3}),
                 payload, hex("452301") + payload);
}

TEST(LengthFieldSends, WhatWasStrippedAsZerosAndTheLengthIntoItsPlace) {
  expect_sent_as(field(1024, 2, 3, 0, 5), kHello, hex("0000 00000c") + kHello);
  expect_sent_as(field(1024, 1, 2, 1, 3), hex("fe") + kHello, hex("00 000c fe") + kHello);
  // Stripped beyond the length: zeros there too.
  expect_sent_as(field(1024, 0, 2, 0, 4), "c", hex("0003 0000 63"));
  expect_sent_as(field(512, 254, 2, 0, 256), "A", std::string(254, '\0') + hex("0001 41"));
}

TEST(LengthFieldSends, OverWhatThePayloadHasInThePlaceOfTheLength) {
  const Framing whole = field(1024, 2, 3, 0, 0);
  EXPECT_EQ(whole.encode(hex("cafe ffffff") + kHello), hex("cafe 00000c") + kHello);
  expect_sent_as(whole, hex("cafe 00000c") + kHello, hex("cafe 00000c") + kHello);
  const Framing half = field(1024, 1, 2, 0, 2);  // cut through the length
  expect_sent_as(half, hex("03 616263"), hex("00 0003 616263"));
  EXPECT_EQ(half.encode(hex("ff 616263")), hex("00 0003 616263"));
}

TEST(LengthFieldSends, RefusesAPayloadWithoutTheHeaderThatBelongsToIt) {
  EXPECT_EQ(message_of<std::length_error>([] { Framing(field(64, 2, 3, 0, 0)).encode("abcd"); }),
            "frame of 4 bytes to send, its header alone has 5");
  EXPECT_EQ(message_of<std::length_error>([] { Framing(field(64, 2, 3, 0, 1)).encode("abc"); }),
            "frame of 3 bytes to send, its header alone has 4");
}

TEST(LengthFieldSends, ExactlyTheLargestAndNotOneMore) {
  const Framing framing = field(16, 0, 4, 0, 4);
  expect_sent_as(framing, std::string(12, 'x'), hex("0000000c") + std::string(12, 'x'));
  EXPECT_EQ(message_of<std::length_error>([&] { framing.encode(std::string(13, 'x')); }),
            "frame of 17 bytes to send, limit 16");
  const Framing of_one_byte = field(1024, 0, 1, 0, 1);
  expect_sent_as(of_one_byte, std::string(255, 'x'), hex("ff") + std::string(255, 'x'));
  EXPECT_THROW(of_one_byte.encode(std::string(256, 'x')), std::length_error);
  // The length counts its header: so many fewer may be sent.
  const Framing counting = LengthField({.width_bytes = 1, .counts_header = true, .strip_bytes = 1});
  expect_sent_as(counting, std::string(254, 'x'), hex("ff") + std::string(254, 'x'));
  EXPECT_THROW(counting.encode(std::string(255, 'x')), std::length_error);
}

TEST(LengthFieldSends, LeavesRoomInTheLengthForWhatWillFollow) {
  FrameEdges edges;
  field(16, 0, 4, 0, 4).wrap(ByteView("abc"), 2, edges);
  EXPECT_EQ(edges.before(), ByteView(hex("00000005")));
  EXPECT_EQ(edges.payload(), ByteView("abc"));
  FrameEdges none;
  EXPECT_THROW(field(16, 0, 4, 0, 4).wrap(ByteView("abc"), 10, none), std::length_error);
}

std::string refusal(const LengthFieldOptions& options) {
  return message_of<std::invalid_argument>([&] { LengthField framing(options); });
}

TEST(LengthFieldConfiguration, WidthsAreNamed) {
  for (const unsigned width : {0u, 5u, 6u, 7u, 9u, 300u}) {
    EXPECT_EQ(refusal({.width_bytes = width}), "LengthFieldOptions::width_bytes is " +
                                                   std::to_string(width) + ": not 1, 2, 3, 4 or 8");
  }
}

TEST(LengthFieldConfiguration, PlacesBeyondTheLargestHeaderAreNamed) {
  EXPECT_EQ(refusal({.offset_bytes = 253}),
            "LengthFieldOptions::offset_bytes is 253: more than 252");
  EXPECT_EQ(refusal({.offset_bytes = SIZE_MAX}),
            "LengthFieldOptions::offset_bytes is 18446744073709551615: more than 252");
  EXPECT_EQ(refusal({.strip_bytes = 257}), "LengthFieldOptions::strip_bytes is 257: more than 256");
  EXPECT_NO_THROW(LengthField({.offset_bytes = 252, .strip_bytes = 256}));
}

TEST(LengthFieldConfiguration, LimitsThatNoFrameFitsAreNamed) {
  EXPECT_EQ(refusal({.max_frame_bytes = 0}),
            "LengthFieldOptions::max_frame_bytes is 0: less than the 4 bytes of a header");
  EXPECT_EQ(refusal({.offset_bytes = 2, .width_bytes = 2, .max_frame_bytes = 3}),
            "LengthFieldOptions::max_frame_bytes is 3: less than the 4 bytes of a header");
  EXPECT_EQ(refusal({.strip_bytes = 9, .max_frame_bytes = 8}),
            "LengthFieldOptions::max_frame_bytes is 8: less than the 9 bytes of a header");
  EXPECT_EQ(refusal({.max_frame_bytes = SIZE_MAX}),
            "LengthFieldOptions::max_frame_bytes is 18446744073709551615: more than "
            "9223372036854775807");
}

TEST(LengthFieldConfiguration, AdjustmentsThatLeaveNoFrameAreNamed) {
  const std::string why = ": no length of this width gives a frame that is allowed";
  const auto is = [](std::int64_t adjustment) {
    return "LengthFieldOptions::adjustment_bytes is " + std::to_string(adjustment);
  };
  // A length of one byte is 255 at most.
  EXPECT_EQ(refusal({.width_bytes = 1, .adjustment_bytes = -256}), is(-256) + why);
  EXPECT_NO_THROW(LengthField({.width_bytes = 1, .adjustment_bytes = -255}));
  EXPECT_EQ(refusal({.adjustment_bytes = 61, .max_frame_bytes = 64}), is(61) + why);
  EXPECT_NO_THROW(LengthField({.adjustment_bytes = 60, .max_frame_bytes = 64}));
  EXPECT_EQ(refusal({.width_bytes = 8, .adjustment_bytes = kMin64}), is(kMin64) + why);
  EXPECT_EQ(refusal({.width_bytes = 8, .adjustment_bytes = kMax64}), is(kMax64) + why);
  EXPECT_EQ(refusal({.width_bytes = 8, .adjustment_bytes = kMin64, .counts_header = true}),
            is(kMin64) + why);
}

}  // namespace
}  // namespace millrace::test::length_field_test
