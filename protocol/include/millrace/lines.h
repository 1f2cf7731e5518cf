// Lines is the framing of text protocols: a frame is a line without its end. A value without state,
// which may be shared by all connections and by threads.
//
//   o n e CR LF t w o LF t h  LineEnd::any: "one", "two"; "th" is incomplete
//   o n e CR LF t w o LF t h  LineEnd::lf: "one\r", "two"
//   o n e CR LF t w o LF      LineEnd::strict_crlf: "one", then frame_corrupt, "LF without CR"
//   o n e CR t                LineEnd::strict_crlf: frame_corrupt, "CR without LF"
//
// These are errors also in a line that is skipped. A line is too large once max_line_bytes and as
// many bytes as an end may have (1 with lf, otherwise 2) have brought none, or when its end shows
// it.
//
// strict_crlf is for protocols whose messages are passed on (SMTP, HTTP): where two programs
// disagree about what ends a line, a message can be smuggled past one of them.
#pragma once

#include <millrace/frame_codec.h>

#include <cstddef>
#include <cstdint>

namespace millrace {

enum class LineEnd : std::uint8_t { any, lf, strict_crlf };

struct LinesOptions {
  LineEnd end = LineEnd::any;              // what is sent: LF, but CR LF with strict_crlf
  std::size_t max_line_bytes = 64 * 1024;  // without its end, in either direction
  Oversize oversize = Oversize::fail;
};

class Lines {
 public:
  // Throws std::invalid_argument naming the field that makes no sense.
  explicit Lines(const LinesOptions& options = {});

  Decoded decode(ByteView input, FrameState& state) const noexcept;

  std::size_t max_line_bytes() const noexcept { return max_line_bytes_; }
  std::size_t largest_frame_bytes() const noexcept { return max_line_bytes_ + 2; }
  std::size_t overhead_bytes(std::size_t /*payload_bytes*/) const noexcept { return 0; }

  // Throws std::invalid_argument for a payload with a line end in it: it would be two lines.
  void wrap(ByteView payload, FrameEdges& edges) const;

 private:
  std::size_t end_bytes_before(ByteView input, std::size_t lf) const noexcept;
  Decoded skip(ByteView input, FrameState& state) const noexcept;
  static Decoded skip_strict(ByteView input, FrameState& state) noexcept;

  std::size_t max_line_bytes_;
  std::size_t longest_end_;  // 1 or 2
  LineEnd end_;
  Oversize oversize_;
};

}  // namespace millrace
