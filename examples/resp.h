// RespCommand is a framing of our own: the commands that Redis clients send, so that FramedServer
// cuts them like any other frames. RespWords are the words of one command, as the handler wants
// them.
//
//   *2 CR LF $4 CR LF echo CR LF $2 CR LF hi CR LF     one frame, two words: "echo", "hi"
//   echo "hi" LF                                       the same as typed with telnet
//   *1 CR LF $3 CR LF get                               incomplete, needed = 13
//   *1 CR LF :                                         failed: frame_corrupt, "expected '$'"
//
// FrameState::note is how far it has looked, so that a command of many pieces costs no more than
// one that comes at once; an error is found by the first bytes that suffice, however they are cut.
#pragma once

#include <millrace/frame_codec.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

struct RespLimits {
  std::size_t max_words = 1024 * 1024;  // less than 2^24, whatever is said here
  std::size_t max_word_bytes = 16 * 1024 * 1024;
  std::size_t max_inline_bytes = 64 * 1024;          // a line as it is typed, without its end
  std::size_t max_command_bytes = 64 * 1024 * 1024;  // all of it, as it is sent
};

// The number in a line "12 CR LF". `end` is behind that; 0: it has not all come, or is malformed.
struct RespNumber {
  static constexpr std::size_t kMostDigits = 18;  // no sum of such numbers overflows

  std::uint64_t value = 0;
  std::size_t end = 0;
  bool malformed = false;  // as soon as that is certain

  static RespNumber read(std::string_view text, const std::size_t begin) noexcept {
    RespNumber number;
    for (std::size_t at = begin; at < text.size(); ++at) {
      const char c = text[at];
      if (c == '\r' && at > begin) {
        if (at + 1 == text.size()) return number;
        number.malformed = text[at + 1] != '\n';
        number.end = number.malformed ? 0 : at + 2;
        return number;
      }
      const bool leading_zero = number.value == 0 && at > begin;
      number.malformed = c < '0' || c > '9' || leading_zero || at - begin == kMostDigits;
      if (number.malformed) return number;
      number.value = number.value * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return number;
  }
};

class RespCommand {
 public:
  explicit RespCommand(const RespLimits& limits = {}) : limits_(limits) {
    limits_.max_words = std::min<std::size_t>(limits.max_words, kMostWords - 1);
    limits_.max_command_bytes = std::min<std::size_t>(limits.max_command_bytes, kMostBytes - 1);
  }

  millrace::Decoded decode(millrace::ByteView in, millrace::FrameState& state) const noexcept {
    using millrace::Decoded;
    const std::string_view text = in.text();
    if (text.empty() || text[0] != '*') return decode_inline(in, state);
    std::size_t at = state.note % kMostBytes;
    std::uint64_t left = state.note / kMostBytes;
    if (at == 0) {
      const RespNumber count = RespNumber::read(text, 1);
      if (count.end == 0 && !count.malformed) return Decoded::need(text.size() + 1);
      if (count.malformed || count.value > limits_.max_words) {
        return Decoded::corrupt("invalid multibulk length");
      }
      at = count.end;
      left = count.value;
    }
    for (; left > 0; --left) {
      state.note = left * kMostBytes + at;
      if (at == text.size()) return Decoded::need(at + 1);
      if (text[at] != '$') return Decoded::corrupt("expected '$'");
      const RespNumber length = RespNumber::read(text, at + 1);
      if (length.malformed) return Decoded::corrupt("invalid bulk length");
      if (length.end == 0) return Decoded::need(text.size() + 1);
      if (length.value > limits_.max_word_bytes) {
        return Decoded::too_large(length.value, limits_.max_word_bytes, "invalid bulk length");
      }
      const std::uint64_t end = length.end + length.value + 2;
      if (end > limits_.max_command_bytes) {
        return Decoded::too_large(end, limits_.max_command_bytes, "too big request");
      }
      if (end > text.size()) return Decoded::need(end);
      if (text.substr(end - 2, 2) != "\r\n") return Decoded::corrupt("expected CR LF");
      at = end;
    }
    state.note = 0;
    return Decoded::ready(in.first(at), at);
  }

  std::size_t largest_frame_bytes() const noexcept {
    return std::max(limits_.max_command_bytes + RespNumber::kMostDigits + 3,
                    limits_.max_inline_bytes + 1);
  }
  std::size_t overhead_bytes(std::size_t /*payload_bytes*/) const noexcept { return 0; }

  // For clients: a payload is one whole command, as decode() gives it. Throws std::invalid_argument
  // for anything else.
  void wrap(millrace::ByteView payload, millrace::FrameEdges& edges) const {
    millrace::FrameState state;
    const millrace::Decoded found = decode(payload, state);
    if (found.status != millrace::Decoded::frame_ready || found.consumed != payload.size()) {
      throw std::invalid_argument("what is sent is not one whole command");
    }
    edges.set_payload(payload);
  }

 private:
  // FrameState::note: the words still to come, and where the next one begins.
  static constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 40;
  static constexpr std::uint64_t kMostWords = std::uint64_t{1} << 24;

  // There it is how far no line end was found.
  millrace::Decoded decode_inline(millrace::ByteView in,
                                  millrace::FrameState& state) const noexcept {
    using millrace::Decoded;
    const std::string_view text = in.text().substr(0, limits_.max_inline_bytes + 1);
    const std::size_t lf = text.find('\n', state.note);
    if (lf == text.npos && text.size() > limits_.max_inline_bytes) {
      return Decoded::too_large(0, limits_.max_inline_bytes, "too big inline request");
    }
    state.note = lf == text.npos ? text.size() : 0;
    return lf == text.npos ? Decoded::need(text.size() + 1)
                           : Decoded::ready(in.first(lf + 1), lf + 1);
  }

  RespLimits limits_;
};

// Views into the frame, or into what became of an inline command; valid until the next read().
class RespWords {
 public:
  // A frame of RespCommand. False: an inline command whose quotes do not match.
  bool read(millrace::ByteView frame) {
    const std::string_view text = frame.text();
    words_.clear();
    if (text[0] != '*') return read_inline(text);
    for (std::size_t at = RespNumber::read(text, 1).end; at < text.size();) {
      const RespNumber length = RespNumber::read(text, at + 1);
      words_.push_back(text.substr(length.end, static_cast<std::size_t>(length.value)));
      at = length.end + words_.back().size() + 2;
    }
    return true;
  }
  std::span<const std::string_view> all() const noexcept { return words_; }

 private:
  // Words may be quoted: 'it\'s', or "two\nlines\x00".
  bool read_inline(std::string_view line) {
    const auto is_end = [&](std::size_t i) {
      return i >= line.size() || std::isspace(static_cast<unsigned char>(line[i])) != 0;
    };
    unquoted_.clear();
    unquoted_.reserve(line.size());  // it is never longer, so that views of it stay valid
    for (std::size_t i = 0; i < line.size(); ++i) {
      if (is_end(i)) continue;
      const std::size_t begin = unquoted_.size();
      char quote = '\0';
      for (; quote != '\0' || !is_end(i); ++i) {
        if (i == line.size()) return false;
        const char c = line[i];
        if (quote == '\0' && (c == '"' || c == '\'')) {
          quote = c;
        } else if (quote != '\0' && c == quote) {
          if (!is_end(i + 1)) return false;
          quote = '\0';
        } else if (quote == '"' && c == '\\') {
          i += unescape(line.substr(i + 1));
        } else {
          if (quote == '\'' && line.substr(i, 2) == "\\'") ++i;
          unquoted_ += line[i];
        }
      }
      words_.push_back(std::string_view(unquoted_).substr(begin));
    }
    return true;
  }

  // What stands behind a backslash. Returns how many characters that were.
  std::size_t unescape(std::string_view text) {
    const auto is_hex = [&](std::size_t i) {
      return std::isxdigit(static_cast<unsigned char>(text[i])) != 0;
    };
    if (text.size() > 2 && text[0] == 'x' && is_hex(1) && is_hex(2)) {
      unsigned char value = 0;
      std::from_chars(text.data() + 1, text.data() + 3, value, 16);
      unquoted_ += static_cast<char>(value);
      return 3;
    }
    if (text.empty()) return 0;
    constexpr std::string_view kNames = "nrtba";
    const std::size_t name = kNames.find(text[0]);
    unquoted_ += name == kNames.npos ? text[0] : "\n\r\t\b\a"[name];
    return 1;
  }

  std::vector<std::string_view> words_;
  std::string unquoted_;
};
