#include <millrace/framing.h>
#include <millrace/framings.h>

#include "every_cut.h"
#include "support/allocations.h"

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test::framing_test {
namespace {

// A codec of one's own, as frame_codec.h shows it: frames of two bytes.
struct Pairs {
  Decoded decode(ByteView in, FrameState&) const {
    if (in.size() < 2) return Decoded::need(2);
    return Decoded::ready(in.first(2), 2);
  }
  std::size_t largest_frame_bytes() const { return 2; }
  std::size_t overhead_bytes(std::size_t) const { return 0; }
  void wrap(ByteView payload, FrameEdges& edges) const { edges.set_payload(payload); }
};

// One that uses all there is: `<` runs of letters `>`, delivered in capitals. It skips dots in
// front, remembers how far it has searched, and ends the stream at a second `<`.
struct Capitals {
  Decoded decode(ByteView in, FrameState& state) const {
    const std::string_view text = in.text();
    if (state.note == 0 && text[0] == '.') return Decoded::skip(1);
    if (text[0] != '<') return Decoded::corrupt("no <");
    const std::size_t from = state.note == 0 ? 1 : state.note;
    const std::size_t end = text.find_first_of("<>", from);
    if (end == text.npos) {
      state.note = text.size();
      return Decoded::need(text.size() + 1);
    }
    state.note = 0;
    if (text[end] == '<') return Decoded::corrupt("< inside");
    std::byte* to = state.scratch.take(end - 1);
    for (std::size_t i = 1; i < end; ++i) to[i - 1] = in[i] & std::byte{0xdf};
    return Decoded::ready({to, end - 1}, end + 1);
  }
  std::size_t largest_frame_bytes() const { return 64; }
  std::size_t overhead_bytes(std::size_t) const { return 1; }
  void wrap(ByteView payload, FrameEdges& edges) const {
    if (payload.text().find_first_of("<>") != std::string_view::npos) {
      throw std::invalid_argument("< or > inside");
    }
    *edges.add_before(1) = std::byte{'<'};
    edges.set_payload(payload);
    edges.add_after(">");
  }
};

static_assert(FrameCodec<Pairs> && FrameCodec<Capitals> && FrameCodec<Framing>);
static_assert(FrameCodec<LengthField> && FrameCodec<LengthPrefix> && FrameCodec<VarintLength>);
static_assert(FrameCodec<Delimited> && FrameCodec<Lines> && FrameCodec<FixedLength>);
static_assert(FrameCodec<HeaderBlock> && FrameCodec<NetString>);
// Those behind whose payload a layer may put something of its own.
static_assert(OpaqueFrameCodec<LengthField> && OpaqueFrameCodec<LengthPrefix>);
static_assert(OpaqueFrameCodec<VarintLength> && OpaqueFrameCodec<NetString>);
static_assert(OpaqueFrameCodec<FixedLength>);
static_assert(!OpaqueFrameCodec<Lines> && !OpaqueFrameCodec<Delimited>);
static_assert(!OpaqueFrameCodec<HeaderBlock>);
static_assert(!FrameCodec<int> && !FrameCodec<std::string>);

struct OwnCodecVectors : FramingVectors {};

TEST_P(OwnCodecVectors, GiveTheSameWhateverTheCuts) {
  expect_whatever_the_cuts(GetParam().framing, GetParam().stream, GetParam().expected);
}

std::vector<Vector> vectors() {
  return {
      {"Pairs", Pairs(), "abcde", gives().frame("ab").frame("cd").left("e")},
      {"Capitals", Capitals(), "<abc>..<de><>", gives().frame("ABC").frame("DE").frame("")},
      {"CapitalsIncomplete", Capitals(), "<abc>.<de", gives().frame("ABC").left("<de")},
      {"CapitalsCorrupt", Capitals(), "<abc>..<d<e>", gives().frame("ABC").corrupt("< inside", 7)},
      {"CapitalsOutOfStep", Capitals(), "<abc>d", gives().frame("ABC").corrupt("no <", 5)},
      {"AFramingOfAFraming", Framing(Framing(Pairs())), "abcd", gives().frame("ab").frame("cd")},
      {"TheDefault", Framing(), hex("00000003 616263"), gives().frame("abc")},
  };
}

INSTANTIATE_TEST_SUITE_P(All, OwnCodecVectors, ::testing::ValuesIn(vectors()), vector_name);

TEST(Framing, EncodesByAnyCodec) {
  EXPECT_EQ(Framing(NetString()).encode("hello"), "5:hello,");
  EXPECT_EQ(Framing(Lines()).encode("hello"), "hello\n");
  EXPECT_EQ(Framing(VarintLength()).encode(""), hex("00"));
  EXPECT_EQ(Framing(Pairs()).encode("ab"), "ab");
  EXPECT_EQ(Framing(Capitals()).encode("ABC"), "<ABC>");
  EXPECT_EQ(Framing().encode("hello"), hex("00000005") + "hello");
}

TEST(Framing, EncodeThrowsWhatTheCodecThrows) {
  EXPECT_EQ(message_of<std::invalid_argument>([] { Framing(Capitals()).encode("<"); }),
            "< or > inside");
  EXPECT_EQ(message_of<std::length_error>(
                [] { Framing(LengthPrefix({.max_payload_bytes = 3})).encode("abcd"); }),
            "frame of 4 bytes to send, limit 3");
}

TEST(Framing, AsksItsCodec) {
  const Framing framing = Capitals();
  EXPECT_EQ(framing.largest_frame_bytes(), 64u);
  EXPECT_EQ(framing.overhead_bytes(5), 1u);
  EXPECT_EQ(Framing(NetString()).overhead_bytes(10), 3u);
  EXPECT_EQ(Framing().largest_frame_bytes(), LengthPrefix().largest_frame_bytes());
}

TEST(Framing, CopiesShareTheCodecAndTakeNoMemory) {
  const Framing framing = Lines({.max_line_bytes = 3});
  Allocations allocations;
  const Framing copy = framing;
  Framing other;
  other = copy;
  EXPECT_EQ(allocations.count(), 0u);
  EXPECT_EQ(other.encode("abc"), "abc\n");
  EXPECT_THROW(other.encode("abcd"), std::length_error);
}

TEST(Framing, OutlivesTheOneItWasCopiedFrom) {
  Framing copy;
  {
    const Framing framing = Delimited("||");
    copy = framing;
  }
  EXPECT_EQ(copy.encode("a"), "a||");
}

TEST(FrameEdges, AreOneBehindTheOther) {
  FrameEdges edges;
  EXPECT_EQ(edges.size(), 0u);
  *edges.add_before(1) = std::byte{'a'};
  *edges.add_before(1) = std::byte{'b'};
  const std::string payload = "payload";
  edges.set_payload(payload);
  edges.add_after("c");
  edges.add_after("de");
  EXPECT_EQ(edges.before(), ByteView("ab"));
  EXPECT_EQ(edges.payload(), ByteView("payload"));
  EXPECT_EQ(edges.after(), ByteView("cde"));
  EXPECT_EQ(edges.size(), 12u);
  const std::string view(100, '=');
  FrameEdges other;
  other.set_after(view);
  EXPECT_EQ(static_cast<const void*>(other.after().data()), view.data());
}

TEST(FrameEdgesDeathTest, WhatWouldBeLostIsCaught) {
  FrameEdges edges;
  edges.set_after("view");
  EXPECT_DEATH(edges.add_after("more"), "add_after\\(\\) behind set_after");
  EXPECT_DEATH(edges.set_after("other"), "set_after\\(\\) instead of");
}

// A codec that does not keep to what it has to.
struct BadCodec {
  Decoded answer;
  Decoded decode(ByteView, FrameState&) const { return answer; }
  std::size_t largest_frame_bytes() const { return 10; }
  std::size_t overhead_bytes(std::size_t) const { return 0; }
  void wrap(ByteView payload, FrameEdges& edges) const { edges.set_payload(payload); }
};

TEST(FrameReaderDeathTest, ACodecThatWouldNeverComeToAnEndIsCaught) {
  for (const Decoded& answer :
       {Decoded::ready({}, 0), Decoded::skip(0), Decoded::skip(4), Decoded::need(3)}) {
    FrameReader reader(BadCodec{answer});
    EXPECT_DEATH(reader.feed("abc", [](ByteView) {}), "a codec that");
  }
}

TEST(FrameEdges, HaveRoomForTheLargestThereMayBe) {
  FrameEdges edges;
  edges.add_before(FrameEdges::kLargestBeforeBytes - 1);
  edges.add_before(1);
  edges.add_after(std::string(FrameEdges::kLargestAfterBytes - 1, 'x'));
  edges.add_after("y");
  EXPECT_EQ(edges.size(), FrameEdges::kLargestBeforeBytes + FrameEdges::kLargestAfterBytes);
}

TEST(FrameEdgesDeathTest, RefuseMore) {
  FrameEdges edges;
  edges.add_before(FrameEdges::kLargestBeforeBytes);
  EXPECT_DEATH(edges.add_before(1), "too much before a payload");
  edges.add_after(std::string(FrameEdges::kLargestAfterBytes, 'x'));
  EXPECT_DEATH(edges.add_after("y"), "too much after a payload");
}

TEST(Scratch, KeepsItsMemoryForWhatIsNoLarger) {
  Scratch scratch;
  std::byte* first = scratch.take(100);
  Allocations allocations;
  EXPECT_EQ(scratch.take(50), first);
  EXPECT_EQ(scratch.take(100), first);
  EXPECT_EQ(allocations.count(), 0u);
  scratch.take(101);
  EXPECT_EQ(allocations.count(), 1u);
}

TEST(Scratch, ThatHasNoMemoryThrowsAndIsEmpty) {
  Scratch scratch;
  {
    NoMemory none;
    EXPECT_THROW(scratch.take(100), std::bad_alloc);
  }
  EXPECT_NE(scratch.take(1), nullptr);
}

}  // namespace
}  // namespace millrace::test::framing_test
