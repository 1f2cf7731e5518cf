#include <millrace/lines.h>

#include "every_cut.h"

#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test::lines_test {
namespace {

constexpr const char* kNoEnd = "no end of line within the limit";
constexpr const char* kBareLf = "LF without CR";
constexpr const char* kBareCr = "CR without LF";

Lines any(std::size_t max = 64, Oversize oversize = Oversize::fail) {
  return Lines({.max_line_bytes = max, .oversize = oversize});
}
Lines lf(std::size_t max = 64, Oversize oversize = Oversize::fail) {
  return Lines({.end = LineEnd::lf, .max_line_bytes = max, .oversize = oversize});
}
Lines strict(std::size_t max = 64, Oversize oversize = Oversize::fail) {
  return Lines({.end = LineEnd::strict_crlf, .max_line_bytes = max, .oversize = oversize});
}

struct LinesVectors : FramingVectors {};

TEST_P(LinesVectors, GiveTheSameWhateverTheCuts) {
  expect_whatever_the_cuts(GetParam().framing, GetParam().stream, GetParam().expected);
}

// Those of Netty's LineBasedFrameDecoder. It can also wait for the end of a line until it says that
// it is too long; we never do.
std::vector<Vector> vectors_of_the_table() {
  const auto discard = Oversize::discard;
  const std::string twenty = "12345678901234567890\r\nfirst\n";
  return {
      {"BothEnds", any(), "first\r\nsecond\nthird",
       gives().frame("first").frame("second").left("third")},
      {"ACrThatIsNoEndAndOneThatIs", any(), "huuhaa\r\nhuuhaa\r\n",
       gives().frame("huuhaa").frame("huuhaa")},
      {"DiffersTooLongEndsTheStream", any(16), twenty, gives().too_large(0, 16, 0, kNoEnd)},
      {"TooLongThenALine", any(16, discard), twenty,
       gives().oversized(0, 16, 0, kNoEnd).frame("first")},
      {"DiffersIsToldBeforeItsEnd", any(2, discard), hex("00010203"),
       gives().oversized(0, 2, 0, kNoEnd).left("")},
      {"FiveBytesAtMostTwo", any(2, discard), hex("0001020304 0a") + "5\n",
       gives().oversized(0, 2, 0, kNoEnd).frame("5")},
  };
}

INSTANTIATE_TEST_SUITE_P(Table, LinesVectors, ::testing::ValuesIn(vectors_of_the_table()),
                         vector_name);

std::vector<Vector> vectors_of_ends() {
  return {
      {"Nothing", any(), "", gives()},
      {"AnyTheHeadersExample", any(), "one\r\ntwo\nth",
       gives().frame("one").frame("two").left("th")},
      {"AnyEmptyLines", any(), "\n\r\n\n", gives().frame("").frame("").frame("")},
      {"AnyOnlyTheLastCrBelongsToTheEnd", any(), "a\r\r\n", gives().frame("a\r")},
      {"AnyCrInALine", any(), "a\rb\n\rc\n", gives().frame("a\rb").frame("\rc")},
      {"AnyACrIsLeft", any(), "a\r", gives().left("a\r")},
      {"AnyNulInALine", any(), hex("61 00 62 0a"), gives().frame(hex("61 00 62"))},
      {"LfTheHeadersExample", lf(), "one\r\ntwo\nth",
       gives().frame("one\r").frame("two").left("th")},
      {"LfEmptyLines", lf(), "\n\r\n\n", gives().frame("").frame("\r").frame("")},
      {"StrictLines", strict(), "one\r\n\r\ntwo\r\nth",
       gives().frame("one").frame("").frame("two").left("th")},
      {"StrictTheHeadersExample", strict(), "one\r\ntwo\n",
       gives().frame("one").corrupt(kBareLf, 5)},
      {"StrictTheOtherExample", strict(), "one\rt", gives().corrupt(kBareCr, 0)},
      {"StrictACrMayBeHalfAnEnd", strict(), "one\r", gives().left("one\r")},
      {"StrictTwoCr", strict(), "one\r\r\n", gives().corrupt(kBareCr, 0)},
      {"StrictACrAtTheBeginning", strict(), "\rone\r\n", gives().corrupt(kBareCr, 0)},
      {"StrictLfAlone", strict(), "\n", gives().corrupt(kBareLf, 0)},
      {"StrictLfCr", strict(), "a\n\r", gives().corrupt(kBareLf, 0)},
      {"StrictTheFirstFaultCounts", strict(), "a\rb\n", gives().corrupt(kBareCr, 0)},
      {"StrictNulBehindCr", strict(), hex("61 0d 00 0a"), gives().corrupt(kBareCr, 0)},
      // Ends of a message that some take for one, and others do not: what follows would be a
      // message of its own to one of them.
      {"StrictSmugglingLfDotLf", strict(), "mail\r\n\n.\nMAIL FROM\r\n",
       gives().frame("mail").corrupt(kBareLf, 6)},
      {"StrictSmugglingLfDotCrLf", strict(), "mail\n.\r\nMAIL FROM\r\n",
       gives().corrupt(kBareLf, 0)},
      {"StrictSmugglingCrLfDotLf", strict(), "mail\r\n.\nMAIL FROM\r\n",
       gives().frame("mail").corrupt(kBareLf, 6)},
      {"StrictSmugglingCrDotCrLf", strict(), "mail\r.\r\nMAIL FROM\r\n",
       gives().corrupt(kBareCr, 0)},
      {"StrictSmugglingCrLfDotCr", strict(), "mail\r\n.\rMAIL FROM\r\n",
       gives().frame("mail").corrupt(kBareCr, 6)},
  };
}

INSTANTIATE_TEST_SUITE_P(Ends, LinesVectors, ::testing::ValuesIn(vectors_of_ends()), vector_name);

std::vector<Vector> vectors_of_limits() {
  return {
      {"AnyExactlyWithLf", any(3), "abc\n", gives().frame("abc")},
      {"AnyExactlyWithCrLf", any(3), "abc\r\n", gives().frame("abc")},
      {"AnyOneMoreWithLf", any(3), "abcd\n", gives().too_large(0, 3, 0, kNoEnd)},
      {"AnyOneMoreWithCrLf", any(3), "abcd\r\n", gives().too_large(0, 3, 0, kNoEnd)},
      {"AnyNotYetTooLarge", any(3), "abc\r", gives().left("abc\r")},
      {"AnyACrThatIsOneMore", any(3), "abc\rx", gives().too_large(0, 3, 0, kNoEnd)},
      {"LfExactly", lf(3), "abc\nab\r\n", gives().frame("abc").frame("ab\r")},
      {"LfOneMore", lf(3), "abcd", gives().too_large(0, 3, 0, kNoEnd)},
      {"LfACrIsOneMore", lf(3), "abc\r\n", gives().too_large(0, 3, 0, kNoEnd)},
      {"StrictExactly", strict(3), "abc\r\n", gives().frame("abc")},
      {"StrictOneMore", strict(3), "abcd\r\n", gives().too_large(0, 3, 0, kNoEnd)},
      {"StrictABareLfWithinTheLimit", strict(3), "abc\n", gives().corrupt(kBareLf, 0)},
      {"StrictABareCrWithinTheLimit", strict(3), "abc\rx", gives().corrupt(kBareCr, 0)},
      {"StrictABareLfBeyondTheLimit", strict(3), "abcde\n", gives().too_large(0, 3, 0, kNoEnd)},
      {"LinesBeforeABadOne", any(1), "a\nb\r\nccc",
       gives().frame("a").frame("b").too_large(0, 1, 5, kNoEnd)},
      {"ALongLine", any(2000), std::string(2000, 'x') + "\r\n",
       gives().frame(std::string(2000, 'x'))},
  };
}

INSTANTIATE_TEST_SUITE_P(Limits, LinesVectors, ::testing::ValuesIn(vectors_of_limits()),
                         vector_name);

std::vector<Vector> vectors_of_discarding() {
  const auto discard = Oversize::discard;
  return {
      {"AnySkippedBetweenTwo", any(2, discard), "a\nxxxxxx\r\nb\n",
       gives().frame("a").oversized(0, 2, 2, kNoEnd).frame("b")},
      {"AnyOneByteTooLongWithLf", any(2, discard), "xxx\nb\n",
       gives().oversized(0, 2, 0, kNoEnd).frame("b")},
      {"AnyOneByteTooLongWithCrLf", any(2, discard), "xxx\r\nb\n",
       gives().oversized(0, 2, 0, kNoEnd).frame("b")},
      {"AnyTwoInARow", any(2, discard), "xxx\nyyyyyy\r\nb\n",
       gives().oversized(0, 2, 0, kNoEnd).oversized(0, 2, 4, kNoEnd).frame("b")},
      {"AnAnyEmptyLineBehindIt", any(2, discard), "xxxx\n\n",
       gives().oversized(0, 2, 0, kNoEnd).frame("")},
      {"AnyTheEndComesWhileSkipping", any(2, discard), "xxxxxx",
       gives().oversized(0, 2, 0, kNoEnd).left("")},
      {"LfSkipped", lf(2, discard), "xxxxx\nb\n", gives().oversized(0, 2, 0, kNoEnd).frame("b")},
      {"LfTheEndComesWhileSkipping", lf(2, discard), "xxxxxx",
       gives().oversized(0, 2, 0, kNoEnd).left("")},
      {"StrictSkipped", strict(2, discard), "xxxxx\r\nb\r\n",
       gives().oversized(0, 2, 0, kNoEnd).frame("b")},
      // What is skipped is as strictly cut as the rest.
      {"StrictABareLfIsCorruptAlsoWhereItIsSkipped", strict(2, discard), "xxxxx\nyy\r\nb\r\n",
       gives().oversized(0, 2, 0, kNoEnd).corrupt(kBareLf, 5)},
      {"StrictABareCrIsCorruptAlsoWhereItIsSkipped", strict(2, discard), "xxxxx\ryy\r\nb\r\n",
       gives().oversized(0, 2, 0, kNoEnd).corrupt(kBareCr, 5)},
      {"StrictTheCrIsTheLastWithinTheLimit", strict(2, discard), "xxx\r\nb\r\n",
       gives().oversized(0, 2, 0, kNoEnd).frame("b")},
      {"StrictCorruptEndsTheStreamAllTheSame", strict(2, discard), "xxxxx\r\nb\n",
       gives().oversized(0, 2, 0, kNoEnd).corrupt(kBareLf, 7)},
  };
}

INSTANTIATE_TEST_SUITE_P(Discarding, LinesVectors, ::testing::ValuesIn(vectors_of_discarding()),
                         vector_name);

TEST(Lines, TheirPiecesAsNettyIsTestedWith) {
  expect_of_pieces(any(), {"huu", "haa\r", "\nhuuhaa\r\n"},
                   gives().frame("huuhaa").frame("huuhaa"));
  expect_of_pieces(any(2, Oversize::discard), {hex("000102"), hex("0304"), hex("0a") + "5\n"},
                   gives().oversized(0, 2, 0, kNoEnd).frame("5"));
}

TEST(Lines, DoesNotSearchAgainWhatItHasSearched) {
  FrameState state;
  EXPECT_EQ(Lines().decode(ByteView("abc"), state).needed, 4u);
  // Were it to look there again, it would find one.
  EXPECT_EQ(Lines().decode(ByteView("\n\n\nd"), state).status, Decoded::incomplete);
  EXPECT_EQ(Lines().decode(ByteView("abcd\n"), state).status, Decoded::frame_ready);
  EXPECT_EQ(state.note, 0u);
}

TEST(Lines, FramesAreViewsIntoTheInput) {
  const std::string stream = "abc\r\n";
  FrameState state;
  EXPECT_EQ(static_cast<const void*>(Lines().decode(stream, state).frame.data()), stream.data());
}

TEST(Lines, TellsItsNumbers) {
  EXPECT_EQ(Lines().max_line_bytes(), 64u * 1024);
  EXPECT_EQ(any(10).largest_frame_bytes(), 12u);
}

TEST(LinesSend, TheirEnd) {
  expect_sent_as(any(), "abc", "abc\n");
  expect_sent_as(lf(), "abc", "abc\n");
  expect_sent_as(strict(), "abc", "abc\r\n");
  expect_sent_as(any(), "", "\n");
  expect_sent_as(strict(), "", "\r\n");
  expect_sent_as(any(), "a\rb", "a\rb\n");
  expect_sent_as(lf(), "ab\r", "ab\r\n");
}

TEST(LinesSend, RefusesAnEndInside) {
  const std::string why = "line to send with an end of line inside, at byte ";
  const auto refusal = [](const Lines& framing, const char* line) {
    return message_of<std::invalid_argument>([&] { Framing(framing).encode(line); });
  };
  EXPECT_EQ(refusal(any(), "ab\ncd"), why + "2");
  EXPECT_EQ(refusal(any(), "ab\r\n"), why + "3");
  EXPECT_EQ(refusal(any(), "\n"), why + "0");
  EXPECT_EQ(refusal(any(), "ab\r"), why + "2") << "it would become part of the end";
  EXPECT_EQ(refusal(lf(), "ab\ncd"), why + "2");
  EXPECT_EQ(refusal(strict(), "ab\ncd"), why + "2");
  EXPECT_EQ(refusal(strict(), "ab\rcd"), why + "2");
  EXPECT_EQ(refusal(strict(), "\rabcd"), why + "0");
}

TEST(LinesSend, ExactlyTheLargestAndNotOneMore) {
  for (const Lines& framing : {any(3), lf(3), strict(3)}) {
    EXPECT_NO_THROW(Framing(framing).encode("abc"));
    EXPECT_EQ(message_of<std::length_error>([&] { Framing(framing).encode("abcd"); }),
              "frame of 4 bytes to send, limit 3");
  }
}

TEST(Lines, ABadConfigurationIsNamed) {
  EXPECT_EQ(message_of<std::invalid_argument>([] { any(0); }),
            "LinesOptions::max_line_bytes is 0: no line fits");
  EXPECT_NO_THROW(any(SIZE_MAX));
}

}  // namespace
}  // namespace millrace::test::lines_test
