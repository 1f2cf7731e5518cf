#include <millrace/frame_reader.h>
#include <millrace/framings.h>

#include "every_cut.h"
#include "support/allocations.h"

#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test::frame_reader_test {
namespace {

// A reader and what it told.
template <FrameCodec C>
struct Reading {
  explicit Reading(C codec) : reader(std::move(codec)) {}
  bool feed(ByteView more) {
    return reader.feed(
        more, [this](ByteView frame) { frames.emplace_back(frame.text()); },
        [this](const FrameError& e) { oversized.push_back(problem_of(e)); });
  }
  Problem error() const { return reader.error() ? problem_of(*reader.error()) : Problem(); }

  FrameReader<C> reader;
  std::vector<std::string> frames;
  std::vector<Problem> oversized;
};

using Strings = std::vector<std::string>;

TEST(FrameReader, AfterAnErrorDeliversNothingAndKeepsTheFirst) {
  Reading reading(NetString{});
  EXPECT_FALSE(reading.feed("1:a,x1:b,"));
  const Problem first{error::frame_corrupt, 0, 0, 4, "a length that is not written in digits"};
  EXPECT_EQ(reading.error(), first);
  EXPECT_FALSE(reading.feed("1:c,"));
  EXPECT_FALSE(reading.feed("05:"));
  EXPECT_FALSE(reading.feed(""));
  EXPECT_FALSE(reading.reader.end());
  EXPECT_EQ(reading.error(), first);
  EXPECT_EQ(reading.frames, (Strings{"a"}));
  EXPECT_EQ(reading.reader.consumed(), 4u);
  EXPECT_TRUE(reading.reader.unconsumed().empty()) << "nobody can make sense of it";
}

TEST(FrameReader, AnErrorIsFinalAlsoForTheNextFraming) {
  Reading reading(Framing(NetString{}));
  EXPECT_FALSE(reading.feed("x"));
  reading.reader.switch_to(Lines());
  EXPECT_FALSE(reading.feed("line\n"));
  EXPECT_TRUE(reading.frames.empty());
}

TEST(FrameReader, TheEndInsideAFrameIsFrameTruncatedAndFinal) {
  Reading reading(LengthPrefix{});
  EXPECT_TRUE(reading.feed(hex("00000001 61 00000005 62")));
  EXPECT_FALSE(reading.reader.end());
  const Problem truncated{error::frame_truncated, 5, 0, 5, ""};
  EXPECT_EQ(reading.error(), truncated);
  EXPECT_EQ(reading.reader.error()->text(),
            "stream ended inside a frame of 5 bytes, at byte 5 of the stream");
  EXPECT_FALSE(reading.feed(hex("63646566"))) << "the end was the end";
  EXPECT_FALSE(reading.reader.end());
  EXPECT_EQ(reading.error(), truncated);
  EXPECT_EQ(reading.frames, (Strings{"a"}));
}

TEST(FrameReader, TheEndBetweenFramesIsNone) {
  Reading reading(LengthPrefix{});
  EXPECT_TRUE(reading.reader.end()) << "also before the first";
  EXPECT_TRUE(reading.feed(hex("00000001 61")));
  EXPECT_TRUE(reading.reader.end());
  EXPECT_FALSE(reading.reader.error());
}

TEST(FrameReader, TheEndInsideALengthAnnouncesNothing) {
  Reading reading(LengthPrefix{});
  EXPECT_TRUE(reading.feed(hex("0000")));
  EXPECT_FALSE(reading.reader.end());
  EXPECT_EQ(reading.error(), (Problem{error::frame_truncated, 0, 0, 0, ""}));
}

TEST(FrameReader, KeepsWhatIsIncompleteAndTellsWhatIsDone) {
  Reading reading(Lines{});
  EXPECT_TRUE(reading.feed("one\ntw"));
  EXPECT_EQ(reading.reader.consumed(), 4u);
  EXPECT_EQ(reading.reader.unconsumed(), ByteView("tw"));
  EXPECT_TRUE(reading.feed("o\n"));
  EXPECT_EQ(reading.reader.consumed(), 8u);
  EXPECT_TRUE(reading.reader.unconsumed().empty());
  EXPECT_EQ(reading.frames, (Strings{"one", "two"}));
}

TEST(FrameReader, EmptyFeedsAreNone) {
  Reading reading(Lines{});
  EXPECT_TRUE(reading.feed(""));
  EXPECT_TRUE(reading.feed("a"));
  EXPECT_TRUE(reading.feed(ByteView()));
  EXPECT_TRUE(reading.feed("\n"));
  EXPECT_EQ(reading.frames, (Strings{"a"}));
}

TEST(FrameReader, TellsWhatIsOversizedWithItsPlaceAndGoesOn) {
  Reading reading(Lines({.max_line_bytes = 3, .oversize = Oversize::discard}));
  EXPECT_TRUE(reading.feed("one\nthree\ntwo\nfour\n"));
  const char* detail = "no end of line within the limit";
  EXPECT_EQ(reading.frames, (Strings{"one", "two"}));
  EXPECT_EQ(reading.oversized, (std::vector{Problem{error::frame_too_large, 0, 3, 4, detail},
                                            Problem{error::frame_too_large, 0, 3, 14, detail}}));
  EXPECT_TRUE(reading.reader.end());
}

TEST(FrameReader, WhoDoesNotAskIsNotToldOfTheOversized) {
  FrameReader reader(Lines({.max_line_bytes = 3, .oversize = Oversize::discard}));
  Strings frames;
  EXPECT_TRUE(reader.feed("three\ntwo\n", [&](ByteView f) { frames.emplace_back(f.text()); }));
  EXPECT_EQ(frames, (Strings{"two"}));
}

// Netty's ByteToMessageDecoderTest: testRemoveItself, testDisorder, testRemoveWhileInCallDecode.
// What has arrived behind the frame in which the handler is replaced is the next one's, unchanged
// and in order.
TEST(FrameReader, ASwitchInsideOnFrameHandsOnWhatHasArrived) {
  const std::string stream = "EHLO\nUPGRADE\n3:a\nb,0:,2:cd,";
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    FrameReader reader{Framing(Lines())};
    Strings frames;
    const auto on_frame = [&](ByteView frame) {
      if (frame == ByteView("UPGRADE")) reader.switch_to(NetString());
      frames.emplace_back(frame.text());  // valid as before
    };
    EXPECT_TRUE(reader.feed(stream.substr(0, cut), on_frame));
    EXPECT_TRUE(reader.feed(stream.substr(cut), on_frame));
    EXPECT_EQ(frames, (Strings{"EHLO", "UPGRADE", "a\nb", "", "cd"})) << "cut at " << cut;
    EXPECT_TRUE(reader.end());
  }
}

TEST(FrameReader, SwitchesAtEveryFrame) {
  const std::string stream = "a\n1:b,c\n1:d,e\n";
  for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
    FrameReader reader{Framing(Lines())};
    std::string frames;
    for (const std::string& each : in_pieces_of(stream, piece)) {
      reader.feed(each, [&](ByteView frame) {
        frames += frame.text();
        if (frames.size() % 2 == 1) {
          reader.switch_to(NetString());
        } else {
          reader.switch_to(Lines());
        }
      });
    }
    EXPECT_EQ(frames, "abcde") << "in pieces of " << piece;
    EXPECT_TRUE(reader.end());
  }
}

TEST(FrameReader, ASwitchForgetsWhatTheLastFramingHadRemembered) {
  FrameReader reader{Framing(Delimited(";"))};
  Strings frames;
  const auto on_frame = [&](ByteView frame) { frames.emplace_back(frame.text()); };
  EXPECT_TRUE(reader.feed("3:a", on_frame));  // searched, and in vain
  reader.switch_to(NetString());
  EXPECT_TRUE(reader.feed("bc,", on_frame));
  EXPECT_EQ(frames, (Strings{"abc"}));

  FrameReader waiting{Framing(FixedLength(100))};  // would wait for 100 bytes
  EXPECT_TRUE(waiting.feed("1:d", on_frame));
  waiting.switch_to(NetString());
  EXPECT_TRUE(waiting.feed(",", on_frame));
  EXPECT_EQ(frames, (Strings{"abc", "d"}));
}

TEST(FrameReader, AnErrorAfterASwitchNamesThePlaceInTheWholeStream) {
  FrameReader reader{Framing(Lines())};
  EXPECT_FALSE(reader.feed("UPGRADE\n1:a,x", [&](ByteView) { reader.switch_to(NetString()); }));
  EXPECT_EQ(reader.error()->offset, 12u);
}

TEST(FrameReader, AnOnFrameThatThrowsLosesNothingElse) {
  const std::string stream = "one\nbad\ntwo\nth";
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    FrameReader reader(Lines{});
    Strings frames;
    const auto on_frame = [&](ByteView frame) {
      if (frame == ByteView("bad")) throw std::runtime_error("bad");
      frames.emplace_back(frame.text());
    };
    int thrown = 0;
    for (const std::string& piece : {stream.substr(0, cut), stream.substr(cut), std::string()}) {
      try {
        EXPECT_TRUE(reader.feed(piece, on_frame));
      } catch (const std::runtime_error&) {
        ++thrown;
        EXPECT_EQ(reader.consumed(), 8u);
      }
    }
    EXPECT_EQ(thrown, 1);
    EXPECT_EQ(frames, (Strings{"one", "two"})) << "cut at " << cut;
    EXPECT_EQ(reader.unconsumed(), ByteView("th"));
    EXPECT_FALSE(reader.error());
  }
}

TEST(FrameReader, AnOnOversizedThatThrowsLosesNothingElse) {
  FrameReader reader(Lines({.max_line_bytes = 3, .oversize = Oversize::discard}));
  Strings frames;
  const auto on_frame = [&](ByteView frame) { frames.emplace_back(frame.text()); };
  const auto on_oversized = [](const FrameError&) { throw std::runtime_error("three"); };
  EXPECT_THROW(reader.feed("one\nthree\ntwo\n", on_frame, on_oversized), std::runtime_error);
  EXPECT_TRUE(reader.feed("", on_frame));
  EXPECT_EQ(frames, (Strings{"one", "two"}));
}

TEST(FrameReader, AnAnnouncedLengthTakesNoMemory) {
  constexpr std::size_t kGiB = std::size_t{1} << 30;
  const Framing prefix = LengthPrefix({.width_bytes = 8, .max_payload_bytes = 4096 * kGiB});
  const Framing varint = VarintLength({.length_bits = 64, .max_payload_bytes = 4096 * kGiB});
  const Framing net_string = NetString({.max_payload_bytes = 4096 * kGiB});
  const Framing header = HeaderBlock({.max_body_bytes = 4096 * kGiB});
  const std::vector<std::pair<Framing, std::string>> all{
      {prefix, hex("0000010000000000")},  // 1 TiB
      {varint, hex("808080808020")},
      {net_string, "1099511627776:"},
      {header, "Content-Length: 1099511627776\n\n"}};
  for (const auto& [framing, announcement] : all) {
    FrameReader reader(framing);
    const auto none = [](ByteView) { ADD_FAILURE(); };
    Allocations allocations;
    EXPECT_TRUE(reader.feed(announcement, none));
    EXPECT_TRUE(reader.feed(std::string(1000, 'x'), none));
    EXPECT_LE(allocations.bytes(), 16u * 1024) << announcement;
    EXPECT_FALSE(reader.end());
    EXPECT_EQ(reader.error()->announced, std::uint64_t{1} << 40);
  }
}

TEST(FrameReader, WhatIsSkippedTakesNoMemory) {
  FrameReader reader(LengthPrefix({.max_payload_bytes = 10, .oversize = Oversize::discard}));
  const std::string piece(1000, 'x');
  const auto none = [](ByteView) { ADD_FAILURE(); };
  EXPECT_TRUE(reader.feed(hex("7fffffff"), none));
  EXPECT_TRUE(reader.feed(piece, none));
  Allocations allocations;
  for (int i = 0; i < 10'000; ++i) EXPECT_TRUE(reader.feed(piece, none));
  EXPECT_EQ(allocations.count(), 0u);
  EXPECT_TRUE(reader.unconsumed().empty());
}

TEST(FrameReader, ManyFramesTakeNoMemoryEach) {
  FrameReader reader(VarintLength{});
  const std::string two = hex("03 616263 02 6465");
  std::size_t frames = 0;
  const auto count = [&](ByteView) { ++frames; };
  EXPECT_TRUE(reader.feed(two, count));
  Allocations allocations;
  for (int i = 0; i < 1000; ++i) EXPECT_TRUE(reader.feed(two, count));
  EXPECT_EQ(allocations.count(), 0u);
  EXPECT_EQ(frames, 2002u);
}

}  // namespace
}  // namespace millrace::test::frame_reader_test
