#include <millrace/net_string.h>

#include "options_check.h"
#include "oversize.h"
#include "payload_check.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace millrace {
namespace {

// Eighteen digits: no sum of such a length and its edges can overflow.
constexpr std::size_t kMostDigits = 18;
constexpr std::uint64_t kLargestInDigits = 999'999'999'999'999'999;
constexpr const char* kNoComma = "no comma behind the payload";

}  // namespace

NetString::NetString(const NetStringOptions& options)
    : max_payload_bytes_(static_cast<std::size_t>(
          std::min<std::uint64_t>(options.max_payload_bytes, kLargestInDigits))),
      oversize_(options.oversize) {
  OptionsCheck("NetStringOptions")
      .that(options.max_payload_bytes > 0, "max_payload_bytes", 0, "no payload fits");
}

std::size_t NetString::largest_frame_bytes() const noexcept {
  // A length that is too large is read all the same.
  return std::max(overhead_bytes(max_payload_bytes_) + max_payload_bytes_ + 1, kMostDigits + 1);
}

std::size_t NetString::overhead_bytes(std::size_t payload_bytes) const noexcept {
  std::size_t bytes = 2;
  for (; payload_bytes >= 10; payload_bytes /= 10) ++bytes;
  return bytes;
}

Decoded NetString::decode(ByteView input, FrameState& state) const noexcept {
  if (state.skipping()) return skip(input, state);
  std::uint64_t length = 0;
  std::size_t digits = 0;
  for (;; ++digits) {
    // Not more: the very next byte may be one that no length has.
    if (digits == input.size()) return Decoded::need(digits + 1);
    const char c = static_cast<char>(input[digits]);
    if (c == ':' && digits > 0) break;
    if (c < '0' || c > '9') return Decoded::corrupt("a length that is not written in digits");
    if (digits == 1 && length == 0) return Decoded::corrupt("a length that begins with 0");
    if (digits == kMostDigits) return Decoded::corrupt("a length of too many digits");
    length = length * 10 + static_cast<std::uint64_t>(c - '0');
  }
  if (length > max_payload_bytes_) {
    if (oversize_ == Oversize::fail) return Decoded::too_large(length, max_payload_bytes_);
    set_to_skip(state, length + 1);
    return Decoded::skip_oversized(length, max_payload_bytes_, digits + 1);
  }
  const std::uint64_t whole = digits + 1 + length + 1;
  if (input.size() < whole) return Decoded::need(static_cast<std::size_t>(whole), length);
  const ByteView frame = input.first(static_cast<std::size_t>(whole));
  if (frame[frame.size() - 1] != std::byte{','}) {
    return Decoded::corrupt(kNoComma, length);
  }
  return Decoded::ready(frame.first(frame.size() - 1).from(digits + 1), frame.size());
}

// The payload, and then the comma for itself: an error is at the same place however this is cut.
Decoded NetString::skip(ByteView input, FrameState& state) noexcept {
  const std::uint64_t payload = (state.note & ~FrameState::kSkipping) - 1;
  if (payload == 0) {
    if (!input.empty() && input[0] != std::byte{','}) return Decoded::corrupt(kNoComma);
    return skip_rest(input, state);
  }
  return skip_rest(input.first(std::min<std::uint64_t>(payload, input.size())), state);
}

void NetString::wrap(ByteView payload, std::size_t following, FrameEdges& edges) const {
  const std::size_t length = payload.size() + following;
  check_payload(length, max_payload_bytes_);
  const std::size_t n = overhead_bytes(length);
  char* to = reinterpret_cast<char*>(edges.add_before(n));
  *std::to_chars(to, to + n - 1, length).ptr = ':';
  edges.set_payload(payload);
  edges.add_after(",");
}

}  // namespace millrace
