#include <millrace/delimited.h>

#include "every_cut.h"

#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test::delimited_test {
namespace {

constexpr const char* kNoDelimiter = "no delimiter within the limit";
const std::string kNul(1, '\0');

using Delimiters = std::vector<std::string>;

Delimited by(Delimiters delimiters, std::size_t max = 64, Oversize oversize = Oversize::fail) {
  return Delimited({.delimiters = delimiters, .max_frame_bytes = max, .oversize = oversize});
}
Delimited keeping(Delimiters delimiters, std::size_t max = 64, Oversize oversize = Oversize::fail) {
  return Delimited({.delimiters = delimiters,
                    .max_frame_bytes = max,
                    .keep_delimiter = true,
                    .oversize = oversize});
}

struct DelimitedVectors : FramingVectors {};

TEST_P(DelimitedVectors, GiveTheSameWhateverTheCuts) {
  expect_whatever_the_cuts(GetParam().framing, GetParam().stream, GetParam().expected);
}

// Those of Netty's DelimiterBasedFrameDecoder (NUL, at most one byte). It can also wait for the
// delimiter until it says that a frame is too long; we never do.
std::vector<Vector> vectors_of_the_table() {
  const Delimited nul = by({kNul}, 1, Oversize::discard);
  return {
      {"DiffersTooLongEndsTheStream", by({kNul}, 1), hex("0102 00 4100"),
       gives().too_large(0, 1, 0, kNoDelimiter)},
      {"FailsFast", nul, hex("0102"), gives().oversized(0, 1, 0, kNoDelimiter).left("")},
      {"FailsFastTwice", nul, hex("0102 00 4100 0102 00 4100"),
       gives()
           .oversized(0, 1, 0, kNoDelimiter)
           .frame("A")
           .oversized(0, 1, 5, kNoDelimiter)
           .frame("A")},
  };
}

INSTANTIATE_TEST_SUITE_P(Table, DelimitedVectors, ::testing::ValuesIn(vectors_of_the_table()),
                         vector_name);

std::vector<Vector> vectors_of_one_delimiter() {
  return {
      {"Nothing", Delimited(";"), "", gives()},
      {"TheHeadersExample", Delimited(kNul), hex("6162 00 6364 00 65"),
       gives().frame("ab").frame("cd").left("e")},
      {"EmptyFrames", Delimited(";"), ";;a;;", gives().frame("").frame("").frame("a").frame("")},
      {"TwoBytes", Delimited("||"), "a||b|c||||", gives().frame("a").frame("b|c").frame("")},
      {"HalfADelimiterIsLeft", Delimited("||"), "a||b|", gives().frame("a").left("b|")},
      {"OverlappingItselfEndsAtTheFirst", Delimited("aa"), "xaaaya",
       gives().frame("x").left("aya")},
      {"OverlappingItselfFourTimes", Delimited("aa"), "aaaa", gives().frame("").frame("")},
      {"OverlappingItselfInPart", Delimited("abab"), "xabaabababab",
       gives().frame("xaba").frame("")},
      {"ABeginningThatIsNone", Delimited("aab"), "aaab", gives().frame("a")},
      {"ALongOne", Delimited("--boundary--"), "x--boundary-x--boundary--y",
       gives().frame("x--boundary-x").left("y")},
      {"Keeping", keeping({"||"}), "a||||b", gives().frame("a||").frame("||").left("b")},
  };
}

INSTANTIATE_TEST_SUITE_P(One, DelimitedVectors, ::testing::ValuesIn(vectors_of_one_delimiter()),
                         vector_name);

std::vector<Vector> vectors_of_several() {
  return {
      {"TheHeadersExample", by({";", "||"}), "a;b||c", gives().frame("a").frame("b").left("c")},
      {"OfTwoThatEndTogetherTheLonger", by({"\n", "\r\n"}), "a\r\nb\nc\r",
       gives().frame("a").frame("b").left("c\r")},
      {"TheirOrderDoesNotMatter", by({"\r\n", "\n"}), "a\r\nb\nc\r",
       gives().frame("a").frame("b").left("c\r")},
      {"TheFirstToBeCompleteEndsTheFrame", by({"abc", "b"}), "abc", gives().frame("a").left("c")},
      {"ThreeOneIsTheEndOfTheOther", by({"c", "bc", "abc"}), "xabcxbcxc",
       gives().frame("x").frame("x").frame("x")},
      {"DifferentLastBytes", by({"<>", "!"}), "a<b!c<>!",
       gives().frame("a<b").frame("c").frame("")},
      {"SameLastByte", by({"a!", "b!"}), "xa!!b!", gives().frame("x").frame("!")},
      {"KeepingTellsThemApart", keeping({"\n", "\r\n"}), "a\r\nb\n",
       gives().frame("a\r\n").frame("b\n")},
  };
}

INSTANTIATE_TEST_SUITE_P(Several, DelimitedVectors, ::testing::ValuesIn(vectors_of_several()),
                         vector_name);

std::vector<Vector> vectors_of_limits() {
  return {
      {"Exactly", by({";"}, 3), "abc;", gives().frame("abc")},
      {"OneMore", by({";"}, 3), "abcd;", gives().too_large(0, 3, 0, kNoDelimiter)},
      {"OneMoreWithoutADelimiterYet", by({";"}, 3), "abcd",
       gives().too_large(0, 3, 0, kNoDelimiter)},
      {"ExactlyIsNotYetTooLarge", by({";"}, 3), "abc", gives().left("abc")},
      {"ExactlyWithALongDelimiter", by({"<->"}, 2), "ab<->", gives().frame("ab")},
      {"HalfTheDelimiterBeyond", by({"<->"}, 2), "ab<-", gives().left("ab<-")},
      {"OneMoreWithALongDelimiter", by({"<->"}, 2), "abc<->",
       gives().too_large(0, 2, 0, kNoDelimiter)},
      // In the room that the longer delimiter has left.
      {"OneMoreWithAShortDelimiter", by({";", "<->"}, 2), "abc;",
       gives().too_large(0, 2, 0, kNoDelimiter)},
      {"ExactlyWithAShortDelimiter", by({";", "<->"}, 2), "ab;", gives().frame("ab")},
      {"OneMoreThatTheLongerDelimiterTakesIn", by({"\n", "\r\n"}, 2), "ab\r\n",
       gives().frame("ab")},
      {"FramesBeforeABadOne", by({";"}, 1), "a;b;cd;e;",
       gives().frame("a").frame("b").too_large(0, 1, 4, kNoDelimiter)},
      {"KeptDelimitersDoNotCount", keeping({";"}, 3), "abc;", gives().frame("abc;")},
      {"KeptDelimitersAndOneMore", keeping({";"}, 3), "abcd;",
       gives().too_large(0, 3, 0, kNoDelimiter)},
      {"ALargeFrame", by({"||"}, 2000), std::string(1999, '|'),
       // Each pair ends a frame.
       [] {
         Outcome outcome;
         for (int i = 0; i < 999; ++i) outcome.frame("");
         return outcome.left("|");
       }()},
      {"ALargeFrameExactly", by({"||"}, 2000), std::string(2000, 'x') + "||",
       gives().frame(std::string(2000, 'x'))},
  };
}

INSTANTIATE_TEST_SUITE_P(Limits, DelimitedVectors, ::testing::ValuesIn(vectors_of_limits()),
                         vector_name);

std::vector<Vector> vectors_of_discarding() {
  const auto discard = Oversize::discard;
  const Delimited semicolon = by({";"}, 2, discard);
  const Delimited arrow = by({"<->"}, 2, discard);
  return {
      {"SkippedBetweenTwo", semicolon, "a;xxxxxx;b;",
       gives().frame("a").oversized(0, 2, 2, kNoDelimiter).frame("b")},
      {"OneByteTooLong", semicolon, "xxx;b;", gives().oversized(0, 2, 0, kNoDelimiter).frame("b")},
      {"TwoInARow", semicolon, "xxx;yyyyy;b;",
       gives().oversized(0, 2, 0, kNoDelimiter).oversized(0, 2, 4, kNoDelimiter).frame("b")},
      {"AnEmptyOneBehindIt", semicolon, "xxx;;",
       gives().oversized(0, 2, 0, kNoDelimiter).frame("")},
      {"TheEndComesWhileSkipping", semicolon, "xxxx",
       gives().oversized(0, 2, 0, kNoDelimiter).left("")},
      // As much is kept as a delimiter may have begun in.
      {"ALongDelimiterBehindIt", arrow, "xxxxxx<->b<->",
       gives().oversized(0, 2, 0, kNoDelimiter).frame("b")},
      {"ALongDelimiterThatHasBegunAtTheLimit", arrow, "xxx<->b<->",
       gives().oversized(0, 2, 0, kNoDelimiter).frame("b")},
      {"BeginningsOfADelimiterAreSkipped", arrow, "xxxxx<-<-<-><->",
       gives().oversized(0, 2, 0, kNoDelimiter).frame("")},
      {"TheEndComesInADelimiter", arrow, "xxxxxxx<-",
       gives().oversized(0, 2, 0, kNoDelimiter).left("<-")},
      {"AShortDelimiterInTheRoomOfALongOne", by({";", "<->"}, 2, discard), "xxx;b;",
       gives().oversized(0, 2, 0, kNoDelimiter).frame("b")},
      {"OverlappingItself", by({"aa"}, 1, discard), "xxxaaaya",
       gives().oversized(0, 1, 0, kNoDelimiter).oversized(0, 1, 5, kNoDelimiter).left("a")},
      {"TheLongerOfTwoEndsWhatIsSkipped", by({"\n", "\r\n"}, 1, discard), "xxxxx\r\ny\n",
       gives().oversized(0, 1, 0, kNoDelimiter).frame("y")},
      {"Keeping", keeping({";"}, 2, discard), "xxx;b;",
       gives().oversized(0, 2, 0, kNoDelimiter).frame("b;")},
  };
}

INSTANTIATE_TEST_SUITE_P(Discarding, DelimitedVectors, ::testing::ValuesIn(vectors_of_discarding()),
                         vector_name);

TEST(Delimited, DoesNotSearchAgainWhatItHasSearched) {
  const Delimited framing(";");
  FrameState state;
  EXPECT_EQ(framing.decode(ByteView("abc"), state).needed, 4u);
  // Were it to look there again, it would find one.
  EXPECT_EQ(framing.decode(ByteView(";;;d"), state).status, Decoded::incomplete);
  EXPECT_EQ(framing.decode(ByteView("abcd;"), state).status, Decoded::frame_ready);
  EXPECT_EQ(state.note, 0u);
}

TEST(Delimited, FramesAreViewsIntoTheInput) {
  const std::string stream = "abc;";
  FrameState state;
  EXPECT_EQ(static_cast<const void*>(Delimited(";").decode(stream, state).frame.data()),
            stream.data());
}

TEST(Delimited, TellsItsNumbers) {
  EXPECT_EQ(by({";", "<->"}, 10).largest_frame_bytes(), 13u);
  EXPECT_EQ(Delimited(";").largest_frame_bytes(), 64u * 1024 + 1);
}

TEST(DelimitedSends, WithTheFirstDelimiter) {
  expect_sent_as(Delimited(";"), "abc", "abc;");
  expect_sent_as(Delimited(";"), "", ";");
  expect_sent_as(by({"||", ";"}), "abc", "abc||");
  expect_sent_as(by({"\r\n", "\n"}), "abc", "abc\r\n");
  expect_sent_as(by({"\n", "\r\n"}), "abc", "abc\n");
  expect_sent_as(Delimited("||"), "a|b", "a|b||");
  expect_sent_as(Delimited(kNul), "abc", "abc" + kNul);
  const std::string longer(FrameEdges::kLargestAfterBytes + 10, '=');
  expect_sent_as(Delimited(longer), "abc", "abc" + longer);
}

TEST(DelimitedSends, KeepingItAsItIs) {
  expect_sent_as(keeping({";", "||"}), "abc;", "abc;");
  expect_sent_as(keeping({";", "||"}), "abc||", "abc||");
  expect_sent_as(keeping({";"}), ";", ";");
  EXPECT_EQ(message_of<std::invalid_argument>([] { Framing(keeping({";"})).encode("abc"); }),
            "frame to send that does not end with a delimiter");
  EXPECT_THROW(Framing(keeping({";"})).encode(""), std::invalid_argument);
  EXPECT_EQ(message_of<std::invalid_argument>([] { Framing(keeping({";"})).encode("a;b;"); }),
            "frame to send with a delimiter inside, which ends at byte 2");
}

TEST(DelimitedSends, RefusesADelimiterInside) {
  const Framing framing = by({";", "||"});
  EXPECT_EQ(message_of<std::invalid_argument>([&] { framing.encode("a;b"); }),
            "frame to send with a delimiter inside, which ends at byte 2");
  EXPECT_EQ(message_of<std::invalid_argument>([&] { framing.encode("abc||"); }),
            "frame to send with a delimiter inside, which ends at byte 5");
  EXPECT_THROW(framing.encode(";"), std::invalid_argument);
}

// Refused, though no delimiter is in the payload: with what is put behind it there is one.
TEST(DelimitedSends, RefusesADelimiterThatWouldBeCompletedByTheOneBehind) {
  EXPECT_EQ(message_of<std::invalid_argument>([] { Framing(Delimited("||")).encode("a|"); }),
            "frame to send with a delimiter inside, which ends at byte 3");
  EXPECT_EQ(message_of<std::invalid_argument>([] { Framing(Delimited("abab")).encode("xxab"); }),
            "frame to send with a delimiter inside, which ends at byte 6");
  EXPECT_THROW(Framing(by({"||", "a|"})).encode("xa"), std::invalid_argument);
}

// It would arrive as one frame, but without its last byte.
TEST(DelimitedSends, RefusesALongerDelimiterThatWouldTakeTheEndOfThePayload) {
  EXPECT_EQ(message_of<std::invalid_argument>([] {
              Framing(by({"\n", "\r\n"})).encode("a\r");
            }),
            "frame to send with a delimiter inside, which ends at byte 3");
  EXPECT_THROW(Framing(by({"c", "abc"})).encode("xab"), std::invalid_argument);
  expect_sent_as(by({"\n", "\r\n"}), "\ra", "\ra\n");
}

TEST(DelimitedSends, ExactlyTheLargestAndNotOneMore) {
  expect_sent_as(by({";"}, 3), "abc", "abc;");
  expect_sent_as(keeping({";"}, 3), "abc;", "abc;");
  EXPECT_EQ(message_of<std::length_error>([] { Framing(by({";"}, 3)).encode("abcd"); }),
            "frame of 4 bytes to send, limit 3");
  EXPECT_EQ(message_of<std::length_error>([] { Framing(keeping({";"}, 3)).encode("abcd;"); }),
            "frame of 4 bytes to send, limit 3");
}

std::string refusal(const DelimitedOptions& options) {
  return message_of<std::invalid_argument>([&] { Delimited framing(options); });
}

TEST(DelimitedConfiguration, BadOnesAreNamed) {
  EXPECT_EQ(refusal({}), "DelimitedOptions::delimiters is empty: nothing ends a frame");
  EXPECT_EQ(refusal({.delimiters = {";", ""}}),
            "DelimitedOptions::delimiters is with an empty one: it would end every frame");
  EXPECT_EQ(refusal({.delimiters = {";"}, .max_frame_bytes = 0}),
            "DelimitedOptions::max_frame_bytes is 0: no frame fits");
  EXPECT_NO_THROW(Delimited({.delimiters = {";"}, .max_frame_bytes = SIZE_MAX}));
}

TEST(DelimitedConfiguration, OneThatIsTheBeginningOfAnotherIsRefused) {
  const std::string why =
      "DelimitedOptions::delimiters is ambiguous: one is the beginning of another";
  EXPECT_EQ(refusal({.delimiters = {"a", "ab"}}), why);
  EXPECT_EQ(refusal({.delimiters = {"ab", "a"}}), why);
  EXPECT_EQ(refusal({.delimiters = {"\r\n", "\n", "\r"}}), why);
  EXPECT_EQ(refusal({.delimiters = {";", ";"}}), why) << "each is the beginning of itself";
}

// Whether it compiles is the question: GCC 12 has taken some of these braces for a string.
TEST(Delimited, OptionsInBracesAreNoDelimiterWhicheverAreGiven) {
  EXPECT_EQ(Framing(Delimited("|")).encode("a"), "a|");
  EXPECT_EQ(Framing(Delimited(std::string("||"))).encode("a"), "a||");
  EXPECT_EQ(Framing(Delimited({.delimiters = {"|"}})).encode("a"), "a|");
  EXPECT_EQ(Framing(Delimited({.delimiters = {";", "||"}})).encode("a"), "a;");
  EXPECT_EQ(Framing(Delimited({.delimiters = {"|"}, .keep_delimiter = true})).encode("a|"), "a|");
  EXPECT_EQ(Framing(Delimited({.delimiters = {"|"}, .max_frame_bytes = 1})).encode("a"), "a|");
}

}  // namespace
}  // namespace millrace::test::delimited_test
