#include <millrace/fixed_length.h>

#include "every_cut.h"

#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test::fixed_length_test {
namespace {

struct FixedLengthVectors : FramingVectors {};

TEST_P(FixedLengthVectors, GiveTheSameWhateverTheCuts) {
  expect_whatever_the_cuts(GetParam().framing, GetParam().stream, GetParam().expected);
}

std::vector<Vector> vectors() {
  return {
      {"Nothing", FixedLength(3), "", gives()},
      {"OneByteEach", FixedLength(1), "abc", gives().frame("a").frame("b").frame("c")},
      {"TwoAndARest", FixedLength(2), "abcde", gives().frame("ab").frame("cd").left("e", 2)},
      {"NotYetOne", FixedLength(3), "ab", gives().left("ab", 3)},
      {"ExactlyOne", FixedLength(3), "abc", gives().frame("abc")},
      {"AnyBytes", FixedLength(2), hex("0000 ffff 0a0d"),
       gives().frame(hex("0000")).frame(hex("ffff")).frame(hex("0a0d"))},
      {"TheLargestOfAllIsWaitedFor", FixedLength(SIZE_MAX), "abc", gives().left("abc", SIZE_MAX)},
  };
}

INSTANTIATE_TEST_SUITE_P(All, FixedLengthVectors, ::testing::ValuesIn(vectors()), vector_name);

TEST(FixedLength, SaysWhatItNeedsAndWhatEveryFrameHas) {
  FrameState state;
  const Decoded found = FixedLength(5).decode(ByteView("ab"), state);
  EXPECT_EQ(found.needed, 5u);
  EXPECT_EQ(found.announced, 5u);
  EXPECT_EQ(FixedLength(5).largest_frame_bytes(), 5u);
}

TEST(FixedLengthSends, ThePayloadAsItIs) {
  expect_sent_as(FixedLength(5), "hello", "hello");
  expect_sent_as(FixedLength(2), hex("0000"), hex("0000"));
}

TEST(FixedLengthSends, RefusesEveryOtherSize) {
  const Framing framing = FixedLength(5);
  EXPECT_EQ(message_of<std::length_error>([&] { framing.encode("hell"); }),
            "frame of 4 bytes to send, not of 5");
  EXPECT_EQ(message_of<std::length_error>([&] { framing.encode("hello!"); }),
            "frame of 6 bytes to send, not of 5");
  EXPECT_EQ(message_of<std::length_error>([&] { framing.encode(""); }),
            "frame of 0 bytes to send, not of 5");
}

TEST(FixedLengthSends, CountsWhatWillFollow) {
  FrameEdges edges;
  FixedLength(5).wrap(ByteView("h"), 4, edges);
  EXPECT_EQ(edges.payload(), ByteView("h"));
  FrameEdges none;
  EXPECT_THROW(FixedLength(5).wrap(ByteView("hello"), 4, none), std::length_error);
}

TEST(FixedLength, ABadConfigurationIsNamed) {
  EXPECT_EQ(message_of<std::invalid_argument>([] { FixedLength framing(0); }),
            "FixedLength::frame_bytes is 0: a frame without bytes has no end");
}

}  // namespace
}  // namespace millrace::test::fixed_length_test
