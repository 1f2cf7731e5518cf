// Invariant that makes the result independent of how the stream is cut: everything is decided by
// the first bytes of a frame that suffice to decide it. A frame is too large once `max_frame_bytes_
// + longest_` bytes have brought no delimiter, and no byte beyond them is looked at before.
#include <millrace/delimited.h>

#include "delimiter_state.h"
#include "options_check.h"
#include "payload_check.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace millrace {
namespace {

constexpr const char* kNoDelimiter = "no delimiter within the limit";

}  // namespace

Delimited::Delimited(DelimitedOptions options)
    : delimiters_(std::move(options.delimiters)),
      max_frame_bytes_(options.max_frame_bytes),
      keep_delimiter_(options.keep_delimiter),
      oversize_(options.oversize) {
  const OptionsCheck check("DelimitedOptions");
  check.that(!delimiters_.empty(), "delimiters", "empty", "nothing ends a frame");
  check.that(max_frame_bytes_ > 0, "max_frame_bytes", 0, "no frame fits");
  // So that sums of them cannot overflow.
  max_frame_bytes_ = std::min(max_frame_bytes_, SIZE_MAX / 4);
  sent_ = delimiters_.front();
  for (const std::string& one : delimiters_) {
    check.that(!one.empty(), "delimiters", "with an empty one", "it would end every frame");
    for (const std::string& other : delimiters_) {
      check.that(&one == &other || !other.starts_with(one), "delimiters", "ambiguous",
                 "one is the beginning of another");
    }
  }
  std::sort(delimiters_.begin(), delimiters_.end(),
            [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  longest_ = delimiters_.front().size();
  for (const std::string& each : delimiters_) {
    ends_[static_cast<unsigned char>(each.back())] = true;
  }
  if (std::count(ends_.begin(), ends_.end(), true) == 1) {
    only_end_ = static_cast<unsigned char>(sent_.back());
  }
}

// How long the longest delimiter is that ends at `end`; 0: there is none.
std::size_t Delimited::delimiter_before(ByteView input, std::size_t end) const noexcept {
  for (const std::string& each : delimiters_) {
    if (each.size() <= end &&
        std::memcmp(input.data() + end - each.size(), each.data(), each.size()) == 0) {
      return each.size();
    }
  }
  return 0;
}

Delimited::Match Delimited::find(ByteView input, std::size_t from) const noexcept {
  for (std::size_t at = from; at < input.size(); ++at) {
    if (only_end_ >= 0) {
      const void* found = std::memchr(input.data() + at, only_end_, input.size() - at);
      if (!found) break;
      at = static_cast<std::size_t>(static_cast<const std::byte*>(found) - input.data());
    } else if (!ends_[std::to_integer<unsigned char>(input[at])]) {
      continue;
    }
    if (const std::size_t bytes = delimiter_before(input, at + 1)) return {at + 1, bytes};
  }
  return {0, 0};
}

Decoded Delimited::decode(ByteView input, FrameState& state) const noexcept {
  const SearchNote note(state.note);
  if (note.skipping()) return skip(input, state);
  const ByteView searched = input.first(std::min(input.size(), max_frame_bytes_ + longest_));
  const Match match = find(searched, note.searched(searched));
  const std::size_t frame_bytes = match.end - match.delimiter_bytes;
  if (match.end != 0 && frame_bytes <= max_frame_bytes_) {
    state.note = 0;
    return Decoded::ready(input.first(keep_delimiter_ ? match.end : frame_bytes), match.end);
  }
  if (match.end == 0 && searched.size() < max_frame_bytes_ + longest_) {
    state.note = SearchNote::searched(input.size());
    return Decoded::need(input.size() + 1);
  }
  // How large it would be nobody knows.
  if (oversize_ == Oversize::fail) return Decoded::too_large(0, max_frame_bytes_, kNoDelimiter);
  std::size_t consumed = match.end;
  if (match.end == 0) consumed = SearchNote::skip_but(longest_ - 1, searched.size(), state);
  if (match.end != 0) state.note = 0;
  return Decoded::skip_oversized(0, max_frame_bytes_, consumed, kNoDelimiter);
}

Decoded Delimited::skip(ByteView input, FrameState& state) const noexcept {
  const std::size_t searched = SearchNote(state.note).searched(input);
  if (const Match match = find(input, searched); match.end != 0) {
    state.note = 0;
    return Decoded::skip(match.end);
  }
  if (searched == input.size()) return Decoded::need(input.size() + 1);
  const std::size_t skipped = SearchNote::skip_but(longest_ - 1, input.size(), state);
  return skipped > 0 ? Decoded::skip(skipped) : Decoded::need(input.size() + 1);
}

void Delimited::wrap(ByteView payload, FrameEdges& edges) const {
  const std::size_t own = keep_delimiter_ ? delimiter_before(payload, payload.size()) : 0;
  if (keep_delimiter_ && own == 0) {
    throw std::invalid_argument("frame to send that does not end with a delimiter");
  }
  check_payload(payload.size() - own, max_frame_bytes_);
  // One may also begin in the payload and end in the delimiter behind it.
  const std::size_t before_tail = payload.size() - std::min(payload.size(), longest_);
  std::string together(payload.from(before_tail).text());
  if (!keep_delimiter_) together += sent_;
  const Match inside = find(payload, 0);
  const bool inside_early = inside.end != 0 && inside.end != (keep_delimiter_ ? payload.size() : 0);
  const Match last = find(ByteView(together), 0);
  // A longer delimiter that the sent one ends would take the end of the payload with it.
  const bool other = !keep_delimiter_ && last.delimiter_bytes != sent_.size();
  if (inside_early || last.end != together.size() || other) {
    throw std::invalid_argument("frame to send with a delimiter inside, which ends at byte " +
                                std::to_string(inside_early ? inside.end : before_tail + last.end));
  }
  edges.set_payload(payload);
  if (!keep_delimiter_) edges.set_after(ByteView(sent_));
}

}  // namespace millrace
