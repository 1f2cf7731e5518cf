#include <millrace/header_block.h>

#include "every_cut.h"

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test::header_block_test {
namespace {

constexpr const char* kNotPlain = "a length that is no plain number";
constexpr const char* kTwoLengths = "more than one length in a header";
constexpr const char* kGoesOn = "a length that goes on in the next line";
constexpr const char* kBareCr = "CR without LF in a header";
constexpr const char* kNul = "NUL in a header";
constexpr const char* kNoColon = "a line of a header without a colon";
constexpr const char* kNoName = "a field of a header without a proper name";
constexpr const char* kNoEnd = "no end of the header within the limit";

HeaderBlock bodies(Oversize oversize = Oversize::fail, std::size_t max_body = 100) {
  return HeaderBlock({.bodies_only = true, .max_body_bytes = max_body, .oversize = oversize});
}
HeaderBlock sip() {
  return HeaderBlock({.length_alias = "l", .start_line = true});
}

// A field as the only one of a message, and an x behind it.
std::string only(const std::string& field) {
  return field + "\r\n\r\nx";
}

struct HeaderBlockVectors : FramingVectors {};

TEST_P(HeaderBlockVectors, GiveTheSameWhateverTheCuts) {
  expect_whatever_the_cuts(GetParam().framing, GetParam().stream, GetParam().expected);
}

std::vector<Vector> vectors_of_messages() {
  const std::string hello = "Content-Type: text/plain\nContent-Length: 5\n\nhello";
  const std::string rtsp = "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n";
  return {
      {"Nothing", HeaderBlock(), "", gives()},
      {"TheHeadersExample", HeaderBlock(), hello, gives().frame(hello)},
      {"TwoMessages", HeaderBlock(), hello + hello, gives().frame(hello).frame(hello)},
      {"BodiesOnly", bodies(), "Content-Length: 16\r\n\r\n{\"id\":1,\"ok\":[]}",
       gives().frame("{\"id\":1,\"ok\":[]}")},
      {"BodiesOnlyTwice", bodies(), "A: b\nContent-Length: 2\n\nhiContent-Length: 1\r\n\r\nx",
       gives().frame("hi").frame("x")},
      {"WithoutALengthNoBody", HeaderBlock(), "A: b\n\nC: d\n\n",
       gives().frame("A: b\n\n").frame("C: d\n\n")},
      {"BodiesOnlyWithoutABody", bodies(), "A: b\n\nL: 0\nContent-Length: 0\n\n",
       gives().frame("").frame("")},
      {"StartLine", HeaderBlock({.start_line = true}), rtsp, gives().frame(rtsp)},
      {"AStartLineAlone", HeaderBlock({.start_line = true}), "OPTIONS *\r\n\r\n",
       gives().frame("OPTIONS *\r\n\r\n")},
      // It may look like a field, and is none.
      {"AStartLineThatLooksLikeALength", HeaderBlock({.start_line = true}),
       "Content-Length: 5\n\nA: b\nContent-Length: 1\n\nx",
       gives().frame("Content-Length: 5\n\n").frame("A: b\nContent-Length: 1\n\nx")},
      {"Alias", sip(), "BYE\r\nl: 2\r\n\r\nhi", gives().frame("BYE\r\nl: 2\r\n\r\nhi")},
      {"AliasInTheOtherCase", sip(), "BYE\nL: 2\n\nhi", gives().frame("BYE\nL: 2\n\nhi")},
      {"NameInTheOtherCase", bodies(), "cONTENT-lENGTH: 2\n\nhi", gives().frame("hi")},
      {"AnotherName", HeaderBlock({.length_field = "Size", .bodies_only = true}),
       "Content-Length: 7\nSIZE: 2\n\nhi", gives().frame("hi")},
      {"ALongerNameIsAnother", bodies(), "Content-Length-2: 7\n\n", gives().frame("")},
      {"ABodyThatLooksLikeAHeader", bodies(), "Content-Length: 6\n\nA: b\n\n",
       gives().frame("A: b\n\n")},
      {"RequiredAndThere", HeaderBlock({.length_required = true}), "Content-Length: 0\n\n",
       gives().frame("Content-Length: 0\n\n")},
      {"RequiredAndMissing", HeaderBlock({.length_required = true}), "A: b\n\n",
       gives().corrupt("a header without a length", 0)},
  };
}

INSTANTIATE_TEST_SUITE_P(Messages, HeaderBlockVectors, ::testing::ValuesIn(vectors_of_messages()),
                         vector_name);

std::vector<Vector> vectors_of_lines() {
  return {
      {"BothEndsMixed", HeaderBlock(), "A: b\r\nC: d\nContent-Length: 1\r\n\nx",
       gives().frame("A: b\r\nC: d\nContent-Length: 1\r\n\nx")},
      {"BothEndsMixedTheOtherWay", HeaderBlock(), "A: b\n\r\n", gives().frame("A: b\n\r\n")},
      {"EmptyLinesInFront", HeaderBlock(), "\r\n\n\r\nA: b\n\n", gives().frame("A: b\n\n")},
      {"EmptyLinesBetween", HeaderBlock(), "A: b\n\n\r\n\r\nC: d\n\n",
       gives().frame("A: b\n\n").frame("C: d\n\n")},
      {"EmptyLinesAlone", HeaderBlock(), "\r\n\r\n\n", gives()},
      {"HalfAnEmptyLine", HeaderBlock(), "\r\n\r", gives().left("\r")},
      {"ACrThatIsNoEmptyLine", HeaderBlock(), "\rA: b\n\n", gives().corrupt(kBareCr, 0)},
      // It counts neither in the header, nor where the message begins.
      {"EmptyLinesDoNotCount", HeaderBlock({.max_header_bytes = 6}),
       "\n\n\n\n\n\n\n\nA: b\n\nC: dde", gives().frame("A: b\n\n").too_large(0, 6, 14, kNoEnd)},
      {"Folded", HeaderBlock(), "A: b\n c\n\td\n\n", gives().frame("A: b\n c\n\td\n\n")},
      {"FoldedAndThenALength", bodies(), "A: b\n c\nContent-Length: 1\n\nx", gives().frame("x")},
      {"AFoldedLineThatLooksLikeALength", bodies(), "A: b\n Content-Length: 5\n\n",
       gives().frame("")},
      {"AFoldedLength", bodies(), "Content-Length: 1\n 0\n\nx", gives().corrupt(kGoesOn, 0)},
      {"AFoldedLineInFront", HeaderBlock(), " A: b\n\n",
       gives().corrupt("a header that begins with white space", 0)},
      {"AFoldedStartLine", HeaderBlock({.start_line = true}), "GET\n /\n\n",
       gives().corrupt("a header that begins with white space", 0)},
      {"CrInALine", HeaderBlock(), "A: b\rc\n\n", gives().corrupt(kBareCr, 0)},
      {"TwoCrAtTheEndOfALine", HeaderBlock(), "A: b\r\r\n\n", gives().corrupt(kBareCr, 0)},
      {"CrInAStartLine", HeaderBlock({.start_line = true}), "GET\r/\n\n",
       gives().corrupt(kBareCr, 0)},
      // To some an end of the header, and the rest a message of its own.
      {"SmugglingCrCrLf", HeaderBlock(), "A: b\r\n\r\r\nC: d\n\n", gives().corrupt(kBareCr, 0)},
      {"NulInALine", HeaderBlock(), hex("41 3a 00 0a 0a"), gives().corrupt(kNul, 0)},
      {"NulInAFoldedLine", HeaderBlock(), hex("41 3a 0a 20 00 0a 0a"), gives().corrupt(kNul, 0)},
      {"NulInAStartLine", HeaderBlock({.start_line = true}), hex("41 00 0a 0a"),
       gives().corrupt(kNul, 0)},
      {"NoColon", HeaderBlock(), "A: b\nC\n\n", gives().corrupt(kNoColon, 0)},
      {"NoName", HeaderBlock(), ": b\n\n", gives().corrupt(kNoName, 0)},
      {"ABlankBehindTheName", bodies(), "Content-Length : 5\n\n", gives().corrupt(kNoName, 0)},
      {"ATabInTheName", bodies(), "Content\tLength: 5\n\n", gives().corrupt(kNoName, 0)},
      {"AValueWithColons", HeaderBlock(), "A: b: c:\n\n", gives().frame("A: b: c:\n\n")},
      {"AnEmptyValue", HeaderBlock(), "A:\n\n", gives().frame("A:\n\n")},
      {"MessagesBeforeABadOne", HeaderBlock(), "A: b\n\nB\n\nC: d\n\n",
       gives().frame("A: b\n\n").corrupt(kNoColon, 6)},
      {"IncompleteHeader", HeaderBlock(), "A: b\nContent-Le", gives().left("A: b\nContent-Le")},
      {"IncompleteEmptyLine", HeaderBlock(), "A: b\r\n\r", gives().left("A: b\r\n\r")},
      {"IncompleteBody", HeaderBlock(), "Content-Length: 5\n\nhell",
       gives().left("Content-Length: 5\n\nhell", 5)},
  };
}

INSTANTIATE_TEST_SUITE_P(Lines, HeaderBlockVectors, ::testing::ValuesIn(vectors_of_lines()),
                         vector_name);

std::vector<Vector> vectors_of_lengths() {
  const HeaderBlock large({.max_body_bytes = 16 * 1024 * 1024});
  return {
      {"Plain", bodies(), only("Content-Length: 1"), gives().frame("x")},
      {"WithoutABlank", bodies(), only("Content-Length:1"), gives().frame("x")},
      {"BlanksAround", bodies(), only("Content-Length:  1 \t"), gives().frame("x")},
      {"ZerosInFront", bodies(), only("Content-Length: 001"), gives().frame("x")},
      {"APlus", bodies(), only("Content-Length: +5"), gives().corrupt(kNotPlain, 0)},
      {"AMinus", bodies(), only("Content-Length: -5"), gives().corrupt(kNotPlain, 0)},
      {"Hexadecimal", bodies(), only("Content-Length: 0x5"), gives().corrupt(kNotPlain, 0)},
      {"SomethingBehind", bodies(), only("Content-Length: 5x"), gives().corrupt(kNotPlain, 0)},
      {"AFraction", bodies(), only("Content-Length: 5.0"), gives().corrupt(kNotPlain, 0)},
      {"AList", bodies(), only("Content-Length: 5, 5"), gives().corrupt(kNotPlain, 0)},
      {"ABlankInside", bodies(), only("Content-Length: 5 5"), gives().corrupt(kNotPlain, 0)},
      {"Empty", bodies(), only("Content-Length:"), gives().corrupt(kNotPlain, 0)},
      {"BlanksAlone", bodies(), only("Content-Length:   "), gives().corrupt(kNotPlain, 0)},
      {"EighteenDigits", large, only("Content-Length: 999999999999999999"),
       gives().too_large(999'999'999'999'999'999, 16 * 1024 * 1024, 0)},
      {"NineteenDigits", large, only("Content-Length: 1000000000000000000"),
       gives().corrupt(kNotPlain, 0)},
      {"NineteenDigitsOfASmallNumber", large, only("Content-Length: 0000000000000000001"),
       gives().corrupt(kNotPlain, 0)},
      {"ThirtyDigits", large, only("Content-Length: " + std::string(30, '9')),
       gives().corrupt(kNotPlain, 0)},
      {"TwoOfThem", bodies(), only("Content-Length: 1\nContent-Length: 2"),
       gives().corrupt(kTwoLengths, 0)},
      {"TheSameTwice", bodies(), only("Content-Length: 1\nA: b\ncontent-length: 1"),
       gives().corrupt(kTwoLengths, 0)},
      {"OneAndItsAlias", sip(), "BYE\nl: 1\nContent-Length: 1\n\nx",
       gives().corrupt(kTwoLengths, 0)},
  };
}

INSTANTIATE_TEST_SUITE_P(Lengths, HeaderBlockVectors, ::testing::ValuesIn(vectors_of_lengths()),
                         vector_name);

std::vector<Vector> vectors_of_limits() {
  const auto discard = Oversize::discard;
  const HeaderBlock small({.max_header_bytes = 8, .max_body_bytes = 3});
  const HeaderBlock small_discarding(
      {.max_header_bytes = 8, .max_body_bytes = 3, .oversize = Oversize::discard});
  return {
      {"HeaderExactly", small, "A: bcd\n\n", gives().frame("A: bcd\n\n")},
      {"HeaderOneMore", small, "A: bcde\n\n", gives().too_large(0, 8, 0, kNoEnd)},
      {"HeaderOneMoreWithCr", small, "A: bcd\r\n\n", gives().too_large(0, 8, 0, kNoEnd)},
      {"HeaderWithoutEnd", small, "AAAAAAAA", gives().too_large(0, 8, 0, kNoEnd)},
      {"HeaderNotYetTooLarge", small, "AAAAAAA", gives().left("AAAAAAA")},
      {"HeaderTooLargeEndsTheStreamAlsoWhenDiscarding", small_discarding, "A: bcde\n\nC: d\n\n",
       gives().too_large(0, 8, 0, kNoEnd)},
      {"BodyExactly", bodies(Oversize::fail, 3), "Content-Length: 3\n\nabc", gives().frame("abc")},
      {"BodyOneMore", bodies(Oversize::fail, 3), "Content-Length: 4\n\nabcd",
       gives().too_large(4, 3, 0)},
      {"BodyOneMoreBeforeItComes", bodies(Oversize::fail, 3), "Content-Length: 4\n\n",
       gives().too_large(4, 3, 0)},
      {"BodySkippedBetweenTwo", bodies(discard, 3),
       "Content-Length: 1\n\naContent-Length: 4\n\n\n\n\n\nContent-Length: 1\n\nb",
       gives().frame("a").oversized(4, 3, 20).frame("b")},
      {"EmptyLinesBehindASkippedBody", bodies(discard, 3),
       "Content-Length: 4\n\nxxxx\r\n\nContent-Length: 1\n\nb",
       gives().oversized(4, 3, 0).frame("b")},
      {"ALargeBodySkipped", bodies(discard, 3),
       "Content-Length: 500\n\n" + std::string(500, 'x') + "A: b\n\n",
       gives().oversized(500, 3, 0).frame("")},
      {"TheEndComesWhileSkipping", bodies(discard, 3), "Content-Length: 4\n\nabc",
       gives().oversized(4, 3, 0).left("")},
      {"TheLargestOfAllIsSkipped", bodies(discard, 3), "Content-Length: 999999999999999999\n\nabc",
       gives().oversized(999'999'999'999'999'999, 3, 0).left("")},
      {"CorruptEndsTheStreamAllTheSame", bodies(discard, 3), "Content-Length: 4\n\nabcdB\n\n",
       gives().oversized(4, 3, 0).corrupt(kNoColon, 23)},
  };
}

INSTANTIATE_TEST_SUITE_P(Limits, HeaderBlockVectors, ::testing::ValuesIn(vectors_of_limits()),
                         vector_name);

TEST(HeaderBlock, SaysWhatItNeedsAndWhatWasAnnounced) {
  const std::string head = "Content-Length: 5\n\n";
  FrameState state;
  const Decoded found = HeaderBlock().decode(head + "he", state);
  EXPECT_EQ(found.needed, head.size() + 5);
  EXPECT_EQ(found.announced, 5u);
}

TEST(HeaderBlock, TellsItsNumbers) {
  EXPECT_EQ(HeaderBlock({.max_header_bytes = 100, .max_body_bytes = 1000}).largest_frame_bytes(),
            1100u);
}

TEST(HeaderBlockSends, ABodyBehindAHeaderOfItsLength) {
  expect_sent_as(bodies(), "hello", "Content-Length: 5\r\n\r\nhello");
  expect_sent_as(bodies(), "", "Content-Length: 0\r\n\r\n");
  const std::string hundred(100, 'x');
  expect_sent_as(bodies(), hundred, "Content-Length: 100\r\n\r\n" + hundred);
  expect_sent_as(HeaderBlock({.length_field = std::string(64, 'L'), .bodies_only = true}), "x",
                 std::string(64, 'L') + ": 1\r\n\r\nx");
  EXPECT_EQ(message_of<std::length_error>([] { Framing(bodies()).encode(std::string(101, 'x')); }),
            "frame of 101 bytes to send, limit 100");
}

TEST(HeaderBlockSends, AWholeMessageAsItIs) {
  const std::string message = "Content-Length: 5\nA: b\n\nhello";
  expect_sent_as(HeaderBlock(), message, message);
  expect_sent_as(HeaderBlock(), "A: b\n\n", "A: b\n\n");
}

TEST(HeaderBlockSends, RefusesWhatWouldNotArriveAsOneMessage) {
  const auto refusal = [](const std::string& message) {
    return message_of<std::invalid_argument>(
        [&] { Framing(HeaderBlock({.max_body_bytes = 5})).encode(message); });
  };
  const auto would_not = [](std::size_t bytes, const std::string& why) {
    return "message of " + std::to_string(bytes) +
           " bytes to send that would not arrive as one: " + why;
  };
  EXPECT_EQ(refusal("Content-Length: 5\n\nhell"), would_not(23, "its length is another"));
  EXPECT_EQ(refusal("Content-Length: 3\n\nhell"), would_not(23, "its length is another"));
  EXPECT_EQ(refusal("A: b\n"), would_not(5, "its length is another"));
  EXPECT_EQ(refusal("A: b\n\nC: d\n\n"), would_not(12, "its length is another"));
  EXPECT_EQ(refusal("\nA: b\n\n"), would_not(7, "its length is another"));
  EXPECT_EQ(refusal(""), would_not(0, "its length is another"));
  EXPECT_EQ(refusal("A\n\n"), would_not(3, kNoColon));
  EXPECT_EQ(refusal("Content-Length: +5\n\nhello"), would_not(25, kNotPlain));
  EXPECT_EQ(message_of<std::length_error>([] {
              Framing(HeaderBlock({.max_body_bytes = 5})).encode("Content-Length: 6\n\nhello!");
            }),
            "frame of 6 bytes to send, limit 5");
}

TEST(HeaderBlockHead, WritesFieldsTheLengthAndTheEmptyLine) {
  EXPECT_EQ(HeaderBlock().head(5), "Content-Length: 5\r\n\r\n");
  EXPECT_EQ(HeaderBlock().head(0, {{"A", "b"}, {"C", ""}}),
            "A: b\r\nC: \r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(sip().head(2, {{"CSeq", "1"}}, "SIP/2.0 200 OK"),
            "SIP/2.0 200 OK\r\nCSeq: 1\r\nContent-Length: 2\r\n\r\n");
  const std::string message = sip().head(2, {{"CSeq", "1"}}, "SIP/2.0 200 OK") + "hi";
  expect_sent_as(sip(), message, message);
}

TEST(HeaderBlockHead, RefusesWhatWouldEndALineOrTheHeader) {
  const auto refusal = [](std::string_view name, std::string_view value) {
    return message_of<std::invalid_argument>([&] { HeaderBlock().head(1, {{name, value}}); });
  };
  for (const std::string_view value : {"a\nb", "a\rb", "a\r\n\r\nb"}) {
    EXPECT_EQ(refusal("A", value), "field 'A' to send");
  }
  EXPECT_EQ(refusal("A", std::string_view("a\0b", 3)), "field 'A' to send");
  EXPECT_EQ(refusal("", "b"), "field '' to send");
  EXPECT_EQ(refusal("A:", "b"), "field 'A:' to send");
  EXPECT_EQ(refusal("A B", "b"), "field 'A B' to send");
  EXPECT_EQ(refusal("content-length", "5"), "field 'content-length' to send");
  EXPECT_EQ(message_of<std::invalid_argument>([] {
              sip().head(1, {{"L", "1"}}, "BYE");
            }),
            "field 'L' to send");
  EXPECT_EQ(message_of<std::invalid_argument>([] { sip().head(1, {}, "BYE\r\nA: b"); }),
            "start line 'BYE\r\nA: b' to send");
  EXPECT_EQ(message_of<std::invalid_argument>([] { sip().head(1); }), "start line '' to send");
  EXPECT_EQ(message_of<std::invalid_argument>([] { HeaderBlock().head(1, {}, "BYE"); }),
            "start line 'BYE' to send");
}

TEST(HeaderMessage, FindsItsParts) {
  const std::string frame = "SIP/2.0 200 OK\r\nA: b\r\nLong:  c\r\n d \nl:2\n\nhi";
  const HeaderMessage message(frame, true);
  EXPECT_EQ(message.start_line(), "SIP/2.0 200 OK");
  EXPECT_EQ(message.field("a"), "b");
  EXPECT_EQ(message.field("LONG"), "c\r\n d") << "folded lines belong to it as they are";
  EXPECT_EQ(message.field("L"), "2");
  EXPECT_EQ(message.field("d"), std::nullopt);
  EXPECT_EQ(message.field("SIP/2.0 200 OK"), std::nullopt);
  EXPECT_EQ(message.body(), ByteView("hi"));
}

TEST(HeaderMessage, GivesTheFirstOfSeveralAndAllOfThemInOrder) {
  const std::string frame = "A: 1\nB:\nA: 2\n\n";
  const HeaderMessage message(frame);
  EXPECT_EQ(message.start_line(), "");
  EXPECT_EQ(message.field("A"), "1");
  EXPECT_EQ(message.field("B"), "");
  EXPECT_TRUE(message.body().empty());
  std::vector<std::pair<std::string, std::string>> all;
  std::string_view rest = message.fields();
  for (std::string_view name, value; HeaderMessage::next(rest, name, value);) {
    all.emplace_back(name, value);
  }
  EXPECT_EQ(all,
            (std::vector<std::pair<std::string, std::string>>{{"A", "1"}, {"B", ""}, {"A", "2"}}));
}

TEST(HeaderMessage, OfAStartLineAloneHasNoFields) {
  const HeaderMessage message(ByteView("OPTIONS *\r\n\r\n"), true);
  EXPECT_EQ(message.start_line(), "OPTIONS *");
  EXPECT_EQ(message.field("A"), std::nullopt);
  EXPECT_TRUE(message.body().empty());
}

std::string refusal(const HeaderBlockOptions& options) {
  return message_of<std::invalid_argument>([&] { HeaderBlock framing(options); });
}

TEST(HeaderBlockConfiguration, BadOnesAreNamed) {
  EXPECT_EQ(refusal({.length_field = ""}),
            "HeaderBlockOptions::length_field is '': no name of a field");
  EXPECT_EQ(refusal({.length_field = "a b"}),
            "HeaderBlockOptions::length_field is 'a b': no name of a field");
  EXPECT_EQ(refusal({.length_field = "Length:"}),
            "HeaderBlockOptions::length_field is 'Length:': no name of a field");
  EXPECT_EQ(
      refusal({.length_field = std::string(65, 'L')}),
      "HeaderBlockOptions::length_field is '" + std::string(65, 'L') + "': no name of a field");
  EXPECT_EQ(refusal({.length_alias = "l\n"}),
            "HeaderBlockOptions::length_alias is 'l\n': no name of a field");
  EXPECT_EQ(refusal({.max_header_bytes = 1}),
            "HeaderBlockOptions::max_header_bytes is 1: no header fits");
  EXPECT_NE(refusal({.start_line = true, .bodies_only = true})
                .find("HeaderBlockOptions::bodies_only is 1: "),
            std::string::npos);
  EXPECT_NO_THROW(HeaderBlock({.max_header_bytes = SIZE_MAX, .max_body_bytes = SIZE_MAX}));
}

}  // namespace
}  // namespace millrace::test::header_block_test
