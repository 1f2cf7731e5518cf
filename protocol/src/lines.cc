// As in delimited.cc everything is decided by the first bytes that suffice: a line is too large
// once `max_line_bytes_ + longest_end_` bytes have brought no end, and nothing beyond them is
// looked at before.
#include <millrace/lines.h>

#include "delimiter_state.h"
#include "options_check.h"
#include "payload_check.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace millrace {
namespace {

constexpr const char* kNoEnd = "no end of line within the limit";
constexpr std::size_t kNowhere = SIZE_MAX;

std::size_t find(ByteView input, char c, std::size_t from) {
  const void* found = std::memchr(input.data() + from, c, input.size() - from);
  if (!found) return kNowhere;
  return static_cast<std::size_t>(static_cast<const std::byte*>(found) - input.data());
}

bool is_cr(ByteView input, std::size_t at) {
  return input[at] == std::byte{'\r'};
}

}  // namespace

Lines::Lines(const LinesOptions& options)
    : max_line_bytes_(std::min(options.max_line_bytes, SIZE_MAX / 4)),
      longest_end_(options.end == LineEnd::lf ? 1 : 2),
      end_(options.end),
      oversize_(options.oversize) {
  OptionsCheck("LinesOptions").that(max_line_bytes_ > 0, "max_line_bytes", 0, "no line fits");
}

// Of the end of line that has its LF at `lf`.
std::size_t Lines::end_bytes_before(ByteView input, std::size_t lf) const noexcept {
  return end_ != LineEnd::lf && lf > 0 && is_cr(input, lf - 1) ? 2 : 1;
}

Decoded Lines::decode(ByteView input, FrameState& state) const noexcept {
  const SearchNote note(state.note);
  if (note.skipping()) return skip(input, state);
  const ByteView line = input.first(std::min(input.size(), max_line_bytes_ + longest_end_));
  const std::size_t searched = note.searched(line);
  const std::size_t lf = line.empty() ? kNowhere : find(line, '\n', searched);
  const std::size_t end_bytes = lf == kNowhere ? 0 : end_bytes_before(line, lf);
  if (end_ == LineEnd::strict_crlf && !line.empty()) {
    // The last byte searched may have been the CR of a CR LF.
    const std::size_t from = searched > 0 ? searched - 1 : 0;
    const std::size_t cr = find(line, '\r', from);
    // The last of all may still be: the next byte tells.
    const std::size_t last = lf == kNowhere ? line.size() - 1 : lf - (end_bytes - 1);
    if (cr < last) return Decoded::corrupt("CR without LF");
    if (lf != kNowhere && end_bytes == 1) return Decoded::corrupt("LF without CR");
  }
  const std::size_t bytes = lf == kNowhere ? kNowhere : lf + 1 - end_bytes;
  if (lf != kNowhere && bytes <= max_line_bytes_) {
    state.note = 0;
    return Decoded::ready(input.first(bytes), lf + 1);
  }
  if (lf == kNowhere && line.size() < max_line_bytes_ + longest_end_) {
    state.note = SearchNote::searched(input.size());
    return Decoded::need(input.size() + 1);
  }
  if (oversize_ == Oversize::fail) return Decoded::too_large(0, max_line_bytes_, kNoEnd);
  std::size_t consumed = lf + 1;
  if (lf == kNowhere) {
    consumed = SearchNote::skip_but(longest_end_ - 1, line.size(), state);
  } else {
    state.note = 0;
  }
  return Decoded::skip_oversized(0, max_line_bytes_, consumed, kNoEnd);
}

Decoded Lines::skip(ByteView input, FrameState& state) const noexcept {
  if (end_ == LineEnd::strict_crlf) return skip_strict(input, state);
  const std::size_t lf = input.empty() ? kNowhere : find(input, '\n', 0);
  if (lf == kNowhere) return Decoded::skip(input.size());
  state.note = 0;
  return Decoded::skip(lf + 1);
}

// As far as the first CR or LF, and then that: an error is at the same place however this is cut.
Decoded Lines::skip_strict(ByteView input, FrameState& state) noexcept {
  const std::size_t end = std::min(input.text().find_first_of("\r\n"), input.size());
  if (end > 0 || input.empty()) return Decoded::skip(end);
  if (!is_cr(input, 0)) return Decoded::corrupt("LF without CR");
  if (input.size() == 1) return Decoded::need(2);
  if (input[1] != std::byte{'\n'}) return Decoded::corrupt("CR without LF");
  state.note = 0;
  return Decoded::skip(2);
}

void Lines::wrap(ByteView payload, FrameEdges& edges) const {
  check_payload(payload.size(), max_line_bytes_);
  const std::string_view text = payload.text();
  // Where CR may be part of a line, one at its end would become part of the line's end.
  std::size_t bad = text.find('\n');
  if (bad == text.npos && end_ == LineEnd::strict_crlf) bad = text.find('\r');
  if (bad == text.npos && end_ == LineEnd::any && text.ends_with('\r')) bad = text.size() - 1;
  if (bad != text.npos) {
    throw std::invalid_argument("line to send with an end of line inside, at byte " +
                                std::to_string(bad));
  }
  edges.set_payload(payload);
  edges.set_after(end_ == LineEnd::strict_crlf ? "\r\n" : "\n");
}

}  // namespace millrace
