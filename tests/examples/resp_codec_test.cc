// The codec of examples/resp.h, without a server.
#include <millrace/error.h>
#include <millrace/frame_reader.h>
#include <millrace/framing.h>

#include "resp.h"

#include <chrono>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

using Strings = std::vector<std::string>;

// The words of each command, then perhaps what was wrong.
struct Outcome {
  std::vector<Strings> commands;
  std::string wrong;
  std::uint64_t announced = 0;
  std::uint64_t offset = 0;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  for (const Strings& words : outcome.commands) {
    for (const std::string& word : words) out << '[' << word << ']';
    out << ' ';
  }
  return out << outcome.wrong << " announced " << outcome.announced << " at " << outcome.offset;
}

Outcome read(const RespCommand& codec, const Strings& pieces) {
  Outcome outcome;
  FrameReader reader(codec);
  RespWords words;
  for (const std::string& piece : pieces) {
    reader.feed(piece, [&](ByteView frame) {
      if (!words.read(frame)) outcome.wrong = "quotes";
      outcome.commands.emplace_back(words.all().begin(), words.all().end());
    });
  }
  reader.end();
  if (!reader.error()) return outcome;
  outcome.wrong = reader.error()->detail;
  if (reader.error()->code == error::frame_truncated) outcome.wrong = "truncated";
  if (reader.error()->code == error::frame_too_large) outcome.announced = reader.error()->announced;
  outcome.offset = reader.error()->offset;
  return outcome;
}

struct Vector {
  const char* name;
  std::string stream;
  Outcome expected;
  friend void PrintTo(const Vector& v, std::ostream* out) { *out << v.name; }
};

struct RespVectors : ::testing::TestWithParam<Vector> {
  RespCommand codec{
      {.max_words = 4, .max_word_bytes = 20, .max_inline_bytes = 16, .max_command_bytes = 64}};
};

TEST_P(RespVectors, GiveTheSameWhateverTheCuts) {
  const auto& [name, stream, expected] = GetParam();
  EXPECT_EQ(read(codec, {stream}), expected);
  Strings bytes;
  for (const char c : stream) bytes.emplace_back(1, c);
  EXPECT_EQ(read(codec, bytes), expected) << "byte by byte";
  for (std::size_t i = 0; i <= stream.size(); ++i) {
    for (std::size_t j = i; j <= stream.size(); ++j) {
      EXPECT_EQ(read(codec, {stream.substr(0, i), stream.substr(i, j - i), stream.substr(j)}),
                expected)
          << "cut at " << i << " and " << j;
    }
  }
}

const std::string kPing = "*1\r\n$4\r\nPING\r\n";
const std::vector<Strings> kPinged = {{"PING"}};

INSTANTIATE_TEST_SUITE_P(
    Commands, RespVectors,
    ::testing::Values(
        Vector{"words", "*2\r\n$4\r\necho\r\n$2\r\nhi\r\n", {{{"echo", "hi"}}, ""}},
        Vector{"binary",
               std::string("*2\r\n$0\r\n\r\n$6\r\n\r\n*\0$1\r\n", 22),
               {{{"", std::string("\r\n*\0$1", 6)}}, ""}},
        Vector{"pipelined", kPing + "ping\n" + kPing, {{{"PING"}, {"ping"}, {"PING"}}, ""}},
        Vector{"no_words", "*0\r\n\r\n\n" + kPing, {{{}, {}, {}, {"PING"}}, ""}},
        Vector{"typed", "  a \tbc\r\nd\n", {{{"a", "bc"}, {"d"}}, ""}},
        Vector{"single_quotes", "'a\\'b' '\\n' ''\r\n", {{{"a'b", "\\n", ""}}, ""}},
        Vector{"double_quotes", "\"\\x41\\n\\\"\\q\"\n", {{{"A\n\"q"}}, ""}},
        Vector{"bad_hex", "\"\\xg1\" a\"b\"\n", {{{"xg1", "ab"}}, ""}},
        Vector{"quote_open", "'a\n", {{{}}, "quotes"}},
        Vector{"quote_inside", "a'b'c\n", {{{}}, "quotes"}},
        Vector{"backslash_last", "\"a\\\n", {{{}}, "quotes"}},
        Vector{"most",
               "*4\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$20\r\n01234567890123456789\r\n",
               {{{"a", "b", "c", "01234567890123456789"}}, ""}},
        Vector{"too_many_words", kPing + "*5\r\n", {kPinged, "invalid multibulk length", 0, 14}},
        Vector{"far_too_many_words", "*1000000000000000000\r\n", {{}, "invalid multibulk length"}},
        Vector{"no_count", "*\r\n", {{}, "invalid multibulk length"}},
        Vector{"no_number", "*1x\r\n", {{}, "invalid multibulk length"}},
        Vector{"minus", "*-1\r\n", {{}, "invalid multibulk length"}},
        Vector{"leading_zero", "*01\r\n", {{}, "invalid multibulk length"}},
        Vector{"bare_cr", "*1\rx", {{}, "invalid multibulk length"}},
        Vector{"no_dollar", kPing + "*1\r\n:1\r\n", {kPinged, "expected '$'", 0, 14}},
        Vector{"negative_word", "*1\r\n$-1\r\n", {{}, "invalid bulk length"}},
        Vector{"word_too_large", "*1\r\n$21\r\n", {{}, "invalid bulk length", 21}},
        Vector{"word_far_too_large",
               "*1\r\n$999999999999999999\r\n",
               {{}, "invalid bulk length", 999'999'999'999'999'999}},
        Vector{"command_too_large",
               "*3\r\n$20\r\n01234567890123456789\r\n$20\r\n01234567890123456789\r\n$1\r\na\r\n",
               {{}, "too big request", 65}},
        Vector{"no_end", "*1\r\n$1\r\nab\r\n", {{}, "expected CR LF"}},
        Vector{"line_that_fits", "0123456789abcde\r\n", {{{"0123456789abcde"}}, ""}},
        Vector{"line_too_long",
               "ping\n0123456789abcdefg\n",
               {{{"ping"}}, "too big inline request", 0, 5}},
        Vector{"cut_in_count", kPing + "*", {kPinged, "truncated", 0, 14}},
        Vector{"cut_in_word", kPing + "*1\r\n$4\r\nPI", {kPinged, "truncated", 0, 14}},
        Vector{"cut_in_line", kPing + "PI", {kPinged, "truncated", 0, 14}}),
    [](const auto& vector) { return std::string(vector.param.name); });

TEST(RespCommand, AsksForAWholeWordAtOnceAndNeverForWhatIsThere) {
  const RespCommand codec;
  FrameState state;
  EXPECT_EQ(codec.decode("*2\r\n$3\r\nget\r\n$1000\r\nx", state).needed, 20u + 1002);
  EXPECT_EQ(codec.decode("*2\r\n$3\r\nget\r\n", state).needed, 14u);
}

TEST(RespCommand, LooksAtEachWordOnceHoweverSlowlyTheyCome) {
  constexpr int kWords = 200'000;
  const std::string head = "*" + std::to_string(kWords) + "\r\n";
  const std::string word = "$1\r\nx\r\n";
  std::string stream = head;
  FrameState state;
  const RespCommand codec;
  Decoded found = codec.decode(stream, state);
  for (int i = 0; i < kWords; ++i) {
    ASSERT_EQ(found.status, Decoded::incomplete);
    // What has been looked at is never needed again: spoil it.
    if (i > 0) stream[stream.size() - word.size()] = '?';
    stream += word;
    found = codec.decode(stream, state);
  }
  EXPECT_EQ(found.status, Decoded::frame_ready);
  EXPECT_EQ(found.consumed, stream.size());
  EXPECT_EQ(state.note, 0u);
}

TEST(RespCommand, SendsWholeCommandsAndNothingElse) {
  const Framing framing = RespCommand();
  EXPECT_EQ(framing.encode(kPing), kPing);
  EXPECT_EQ(framing.encode("ping\r\n"), "ping\r\n");
  for (const std::string& wrong : {std::string(), std::string("ping"), kPing + kPing,
                                   std::string("*1\r\n"), std::string("*1\r\n:")}) {
    EXPECT_THROW(static_cast<void>(framing.encode(wrong)), std::invalid_argument) << wrong;
  }
}

}  // namespace
}  // namespace millrace::test
