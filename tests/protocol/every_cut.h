// Streams, cut everywhere. A vector is a framing, a stream and what it must give: frames and
// oversized frames in their order, then an error or what is left over, and what end() says of that.
// It is given whole, byte by byte, cut in two at every place and, up to 24 bytes, in three: to
// decode(), which is asked again at every piece or when `needed` bytes are there, and to a
// FrameReader. All of them must give the same.
//
//   INSTANTIATE_TEST_SUITE_P(Lines, FramingVectors, ::testing::Values(
//       Vector{"AnIncompleteLineIsLeft", Lines(), "a\nbc", gives().frame("a").left("bc")}),
//     vector_name);
#pragma once

#include <millrace/error.h>
#include <millrace/frame_reader.h>
#include <millrace/framing.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {

// A FrameError, or a Decoded of one.
struct Problem {
  std::error_code code;
  std::uint64_t announced = 0;
  std::uint64_t limit = 0;
  std::uint64_t offset = 0;
  std::string detail;
  friend bool operator==(const Problem&, const Problem&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Problem& p) {
    return out << p.code.message() << " (announced " << p.announced << ", limit " << p.limit
               << ", at " << p.offset << ") " << p.detail;
  }
};

inline Problem problem_of(const FrameError& e) {
  return {e.code, e.announced, e.limit, e.offset, e.detail};
}

// What a stream gave, or must give.
struct Outcome {
  std::vector<std::variant<std::string, Problem>> events;  // frames, and what was oversized
  std::optional<Problem> failure;
  std::string rest;
  std::optional<Problem> at_end;
  friend bool operator==(const Outcome&, const Outcome&) = default;

  Outcome& frame(std::string bytes) {
    events.emplace_back(std::move(bytes));
    return *this;
  }
  Outcome& oversized(std::uint64_t announced, std::uint64_t limit, std::uint64_t offset,
                     std::string detail = "") {
    events.emplace_back(Problem{error::frame_too_large, announced, limit, offset, detail});
    return *this;
  }
  // No error, but a frame of which only `bytes` are there; the length it announces, if it has.
  Outcome& left(std::string bytes, std::uint64_t announced = 0) {
    rest = std::move(bytes);
    at_end = Problem{error::frame_truncated, announced, 0, 0, ""};
    return *this;
  }
  Outcome& too_large(std::uint64_t announced, std::uint64_t limit, std::uint64_t offset,
                     std::string detail = "") {
    return failed({error::frame_too_large, announced, limit, offset, std::move(detail)});
  }
  Outcome& corrupt(std::string detail, std::uint64_t offset, std::uint64_t announced = 0) {
    return failed({error::frame_corrupt, announced, 0, offset, std::move(detail)});
  }
  Outcome& failed(Problem what) {
    failure = what;
    at_end = std::move(what);
    return *this;
  }
  friend std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
    const auto print = [&](const std::string& bytes) {
      out << ::testing::PrintToString(bytes.substr(0, 100));
      if (bytes.size() > 100) out << " and " << bytes.size() - 100 << " bytes";
    };
    for (const auto& event : outcome.events) {
      if (const std::string* bytes = std::get_if<std::string>(&event)) {
        print(*bytes);
      } else {
        out << "oversized: " << std::get<Problem>(event);
      }
      out << "; ";
    }
    if (outcome.failure) out << "failed: " << *outcome.failure << "; ";
    out << "rest ";
    print(outcome.rest);
    if (outcome.at_end) out << "; at the end: " << *outcome.at_end;
    return out;
  }
};

inline Outcome gives() {
  return {};
}

// Bytes written in hexadecimal, with spaces anywhere.
inline std::string hex(const std::string& text) {
  std::string digits;
  for (const char c : text) {
    if (c != ' ') digits += c;
  }
  std::string bytes;
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

// `in` in memory of exactly its size, so that a sanitizer sees a step beyond it. Checks what holds
// of each single answer.
class OneLook {
 public:
  OneLook(const Framing& framing, const std::string& in, FrameState& state)
      : copy_(new char[in.size()]) {
    std::memcpy(copy_.get(), in.data(), in.size());
    found = framing.decode({copy_.get(), in.size()}, state);
    if (found.status == Decoded::incomplete) {
      EXPECT_GT(found.needed, in.size());
      EXPECT_LE(found.needed, framing.largest_frame_bytes()) << "more than it ever needs";
    } else if (found.status != Decoded::failed) {
      EXPECT_GT(found.consumed, 0u) << "it would go on for ever";
      EXPECT_LE(found.consumed, in.size());
    }
    if (found.status == Decoded::frame_ready) {
      EXPECT_LE(found.consumed, framing.largest_frame_bytes());
    }
  }
  Decoded found;

 private:
  std::unique_ptr<char[]> copy_;
};

enum class Ask { at_each_piece, when_needed_bytes_are_there };

// As a connection does.
inline Outcome by_decode(const Framing& framing, const std::vector<std::string>& pieces, Ask ask) {
  Outcome outcome;
  std::uint64_t note = 0;
  std::uint64_t consumed = 0;
  std::size_t needed = 0;
  for (const std::string& piece : pieces) {
    outcome.rest += piece;
    FrameState state;  // all but the note is lost between pieces
    state.note = note;
    while (!outcome.rest.empty() && (ask == Ask::at_each_piece || outcome.rest.size() >= needed)) {
      const OneLook look(framing, outcome.rest, state);
      const Decoded& found = look.found;
      needed = found.needed;
      if (found.status == Decoded::incomplete) break;
      const Problem problem{found.error, found.announced, found.limit, consumed, found.detail};
      if (found.status == Decoded::failed) {
        outcome.rest.clear();
        return outcome.failed(problem);
      }
      if (found.status == Decoded::frame_ready) outcome.frame(std::string(found.frame.text()));
      if (found.status == Decoded::oversized) outcome.events.emplace_back(problem);
      outcome.rest.erase(0, found.consumed);
      consumed += found.consumed;
    }
    note = state.note;
  }
  if (outcome.rest.empty() && note == 0) return outcome;
  FrameState state;
  state.note = note;
  const std::uint64_t announced =
      outcome.rest.empty() ? 0 : OneLook(framing, outcome.rest, state).found.announced;
  outcome.at_end = Problem{error::frame_truncated, announced, 0, consumed, ""};
  return outcome;
}

inline Outcome by_reader(const Framing& framing, const std::vector<std::string>& pieces) {
  Outcome outcome;
  FrameReader reader(framing);
  for (const std::string& piece : pieces) {
    const bool good = reader.feed(
        piece, [&](ByteView frame) { outcome.frame(std::string(frame.text())); },
        [&](const FrameError& e) { outcome.events.emplace_back(problem_of(e)); });
    EXPECT_EQ(good, !reader.error());
    if (reader.error() && !outcome.failure) outcome.failure = problem_of(*reader.error());
  }
  outcome.rest = reader.unconsumed().text();
  const bool whole = reader.end();
  EXPECT_EQ(whole, !reader.error());
  if (reader.error()) {
    outcome.at_end = problem_of(*reader.error());
    EXPECT_EQ(reader.consumed(), reader.error()->offset);
  }
  return outcome;
}

// False when one of the ways gave something else.
inline bool expect_of_pieces(const Framing& framing, const std::vector<std::string>& pieces,
                             const Outcome& expected) {
  const auto same = [&](const Outcome& outcome, const char* way) {
    if (outcome == expected) return true;
    std::string sizes;
    for (const std::string& piece : pieces) sizes += " " + std::to_string(piece.size());
    ADD_FAILURE() << way << ", cut into" << sizes.substr(0, 200) << "\n     gives: " << outcome
                  << "\n must give: " << expected;
    return false;
  };
  return same(by_decode(framing, pieces, Ask::at_each_piece), "asked at each piece") &&
         same(by_decode(framing, pieces, Ask::when_needed_bytes_are_there), "asked when needed") &&
         same(by_reader(framing, pieces), "read by a FrameReader");
}

inline std::vector<std::string> in_pieces_of(const std::string& stream, std::size_t bytes) {
  std::vector<std::string> pieces;
  for (std::size_t at = 0; at < stream.size(); at += bytes) {
    pieces.push_back(stream.substr(at, bytes));
  }
  return pieces;
}

inline void expect_whatever_the_cuts(const Framing& framing, const std::string& stream,
                                     Outcome expected) {
  if (!expected.failure && expected.at_end) {
    expected.at_end->offset = stream.size() - expected.rest.size();
  }
  if (!expect_of_pieces(framing, {stream}, expected)) return;
  // Large ones in larger pieces, and not at every place: each look copies all that is there.
  constexpr std::size_t kLarge = 3000;
  const std::size_t piece_bytes = stream.size() <= kLarge ? 1 : stream.size() / 50;
  if (!expect_of_pieces(framing, in_pieces_of(stream, piece_bytes), expected)) return;
  for (std::size_t i = 0; i <= stream.size(); ++i) {
    const bool near_an_edge = i < 32 || stream.size() - i < 32 || (i & (i - 1)) == 0;
    if (stream.size() > kLarge && !near_an_edge) continue;
    const std::string first = stream.substr(0, i);
    if (!expect_of_pieces(framing, {first, stream.substr(i)}, expected)) return;
    for (std::size_t j = i; stream.size() <= 24 && j <= stream.size(); ++j) {
      if (!expect_of_pieces(framing, {first, stream.substr(i, j - i), stream.substr(j)}, expected))
        return;
    }
  }
}

struct Vector {
  const char* name;
  Framing framing;
  std::string stream;
  Outcome expected;
  friend void PrintTo(const Vector& v, std::ostream* out) { *out << v.name; }
};

struct FramingVectors : ::testing::TestWithParam<Vector> {};

inline std::string vector_name(const ::testing::TestParamInfo<Vector>& one) {
  return one.param.name;
}

// `payload` is sent as `wire`, arrives as it was, and all room for that had been kept free.
inline void expect_sent_as(const Framing& framing, const std::string& payload,
                           const std::string& wire) {
  EXPECT_EQ(framing.encode(payload), wire);
  FrameEdges edges;
  framing.wrap(payload, edges);
  EXPECT_LE(edges.size() - edges.after().size() - payload.size(),
            framing.overhead_bytes(payload.size()));
  expect_whatever_the_cuts(framing, wire, gives().frame(payload));
}

// The message of the E that `call` throws.
template <class E, class F>
std::string message_of(F&& call) {
  try {
    call();
  } catch (const E& e) {
    return e.what();
  }
  return "nothing was thrown";
}

}  // namespace millrace::test
