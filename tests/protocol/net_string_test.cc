#include <millrace/net_string.h>

#include "every_cut.h"

#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test::net_string_test {
namespace {

constexpr std::size_t kMiB = 1 << 20;
constexpr const char* kNoDigits = "a length that is not written in digits";
constexpr const char* kLeadingZero = "a length that begins with 0";
constexpr const char* kNoComma = "no comma behind the payload";
constexpr const char* kTooManyDigits = "a length of too many digits";

NetString limit(std::size_t max, Oversize oversize = Oversize::fail) {
  return NetString({.max_payload_bytes = max, .oversize = oversize});
}

struct NetStringVectors : FramingVectors {};

TEST_P(NetStringVectors, GiveTheSameWhateverTheCuts) {
  expect_whatever_the_cuts(GetParam().framing, GetParam().stream, GetParam().expected);
}

std::vector<Vector> vectors() {
  const std::string ten(10, 'x');
  return {
      {"Nothing", NetString(), "", gives()},
      {"TheHeadersExample", NetString(), "5:hello,", gives().frame("hello")},
      {"Empty", NetString(), "0:,", gives().frame("")},
      {"SeveralInOneRead", NetString(), "1:a,0:,2:bc,", gives().frame("a").frame("").frame("bc")},
      {"ThePayloadMayBeAnything", NetString(), "4:1:,\n,", gives().frame("1:,\n")},
      {"TwoDigits", NetString(), "10:" + ten + ",", gives().frame(ten)},
      {"NotYetAColon", NetString(), "12", gives().left("12")},
      {"NotYetAPayload", NetString(), "5:", gives().left("5:", 5)},
      {"NotYetAComma", NetString(), "5:hello", gives().left("5:hello", 5)},
      {"IncompleteAfterAFrame", NetString(), "1:a,3:bc", gives().frame("a").left("3:bc", 3)},
      {"AnotherByteThanTheComma", NetString(), "5:hello!", gives().corrupt(kNoComma, 0, 5)},
      {"OneByteTooMany", NetString(), "1:ab,", gives().corrupt(kNoComma, 0, 1)},
      {"AFrameBeforeABadOne", NetString(), "1:a,1:bc", gives().frame("a").corrupt(kNoComma, 4, 1)},
      {"ALeadingZero", NetString(), "05:hello,", gives().corrupt(kLeadingZero, 0)},
      {"TwoZeros", NetString(), "00:,", gives().corrupt(kLeadingZero, 0)},
      {"NoLength", NetString(), ":,", gives().corrupt(kNoDigits, 0)},
      {"APlus", NetString(), "+5:hello,", gives().corrupt(kNoDigits, 0)},
      {"AMinus", NetString(), "-1:", gives().corrupt(kNoDigits, 0)},
      {"ABlankInFront", NetString(), " 5:hello,", gives().corrupt(kNoDigits, 0)},
      {"ABlankBehind", NetString(), "5 :hello,", gives().corrupt(kNoDigits, 0)},
      {"Hexadecimal", NetString(), "0x5:hello,", gives().corrupt(kNoDigits, 0)},
      // Found at once, not when a colon might have been there too.
      {"NoDigitBehindADigit", NetString(), "5x", gives().corrupt(kNoDigits, 0)},
      {"ALineEndAfterAFrame", NetString(), "1:a,\n1:b,", gives().frame("a").corrupt(kNoDigits, 4)},
      {"ExactlyTheLimit", limit(5), "5:hello,", gives().frame("hello")},
      {"OneMoreThanTheLimit", limit(5), "6:hello!,", gives().too_large(6, 5, 0)},
      {"ALimitOfOneWithALengthOfManyDigits", limit(1),
       "1000000000:", gives().too_large(1'000'000'000, 1, 0)},
      {"EighteenDigits", NetString(),
       "999999999999999999:", gives().too_large(999'999'999'999'999'999, 16 * kMiB, 0)},
      {"NineteenDigits", NetString(), "1000000000000000000:", gives().corrupt(kTooManyDigits, 0)},
      {"DigitsWithoutEnd", NetString(), std::string(100, '9'), gives().corrupt(kTooManyDigits, 0)},
  };
}

INSTANTIATE_TEST_SUITE_P(All, NetStringVectors, ::testing::ValuesIn(vectors()), vector_name);

std::vector<Vector> vectors_of_discarding() {
  const NetString two = limit(2, Oversize::discard);
  return {
      {"SkippedBetweenTwo", two, "1:a,3:xxx,1:b,",
       gives().frame("a").oversized(3, 2, 4).frame("b")},
      // Of what is skipped its length counts, and its comma.
      {"SkippedWhateverItsBytesAre", two, "3:1:,,0:,", gives().oversized(3, 2, 0).frame("")},
      {"SkippedWithoutItsComma", two, "3:1:,!0:,", gives().oversized(3, 2, 0).corrupt(kNoComma, 5)},
      {"TheEndComesWhileSkipping", two, "3:xx", gives().oversized(3, 2, 0).left("")},
      {"TheEndComesBeforeItsComma", two, "3:xxx", gives().oversized(3, 2, 0).left("")},
      {"CorruptEndsTheStreamAllTheSame", two, "3:xxx,x",
       gives().oversized(3, 2, 0).corrupt(kNoDigits, 6)},
  };
}

INSTANTIATE_TEST_SUITE_P(Discarding, NetStringVectors, ::testing::ValuesIn(vectors_of_discarding()),
                         vector_name);

TEST(NetString, SaysWhatItNeedsAndWhatWasAnnounced) {
  FrameState state;
  const Decoded found = NetString().decode(ByteView("5:hell"), state);
  EXPECT_EQ(found.needed, 8u);
  EXPECT_EQ(found.announced, 5u);
}

TEST(NetString, FramesAreViewsIntoTheInput) {
  const std::string stream = "5:hello,";
  FrameState state;
  EXPECT_EQ(static_cast<const void*>(NetString().decode(stream, state).frame.data()),
            stream.data() + 2);
}

TEST(NetStringSends, LengthColonPayloadComma) {
  expect_sent_as(NetString(), "hello", "5:hello,");
  expect_sent_as(NetString(), "", "0:,");
  expect_sent_as(NetString(), "1:,", "3:1:,,");
  for (const std::size_t n : {9, 10, 99, 100, 1000}) {
    const std::string payload(n, 'x');
    expect_sent_as(NetString(), payload, std::to_string(n) + ":" + payload + ",");
  }
}

TEST(NetStringSends, ExactlyTheLargestAndNotOneMore) {
  expect_sent_as(limit(5), "hello", "5:hello,");
  EXPECT_EQ(message_of<std::length_error>([] { Framing(limit(5)).encode("hello!"); }),
            "frame of 6 bytes to send, limit 5");
}

TEST(NetStringSends, LeavesRoomInTheLengthForWhatWillFollow) {
  FrameEdges edges;
  NetString().wrap(ByteView("abcdef"), 4, edges);
  EXPECT_EQ(edges.before(), ByteView("10:"));
  EXPECT_EQ(edges.after(), ByteView(","));
  FrameEdges none;
  EXPECT_THROW(limit(5).wrap(ByteView("abc"), 3, none), std::length_error);
}

TEST(NetString, TellsItsNumbers) {
  EXPECT_EQ(NetString().max_payload_bytes(), 16 * kMiB);
  EXPECT_EQ(NetString().largest_frame_bytes(), 16 * kMiB + std::string("16777216:,").size());
  EXPECT_EQ(limit(SIZE_MAX).max_payload_bytes(), 999'999'999'999'999'999u)
      << "more is too many digits";
}

TEST(NetString, ABadConfigurationIsNamed) {
  EXPECT_EQ(message_of<std::invalid_argument>([] { limit(0); }),
            "NetStringOptions::max_payload_bytes is 0: no payload fits");
}

}  // namespace
}  // namespace millrace::test::net_string_test
