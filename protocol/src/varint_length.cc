#include <millrace/varint_length.h>

#include "options_check.h"
#include "oversize.h"
#include "payload_check.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace millrace {
namespace {

constexpr std::uint64_t kLargestVarint = std::numeric_limits<std::int64_t>::max();

}  // namespace

VarintLength::VarintLength(const VarintLengthOptions& options)
    : max_payload_bytes_(options.max_payload_bytes),
      length_bits_(options.length_bits),
      oversize_(options.oversize) {
  const OptionsCheck check("VarintLengthOptions");
  check.that(length_bits_ == 32 || length_bits_ == 64, "length_bits", length_bits_, "not 32 or 64");
  check.that(max_payload_bytes_ > 0, "max_payload_bytes", 0, "no payload fits");
  const std::uint64_t most = length_bits_ == 32 ? std::numeric_limits<std::uint32_t>::max()
                                                : kLargestVarint - 10;  // with its header
  max_payload_bytes_ = static_cast<std::size_t>(std::min<std::uint64_t>(max_payload_bytes_, most));
}

std::size_t VarintLength::largest_frame_bytes() const noexcept {
  // A length that is too large is read all the same.
  const std::size_t largest_length = length_bits_ / 7 + 1;
  return std::max(overhead_bytes(max_payload_bytes_) + max_payload_bytes_, largest_length);
}

std::size_t VarintLength::overhead_bytes(std::size_t payload_bytes) const noexcept {
  std::size_t bytes = 1;
  for (; payload_bytes >= 0x80; payload_bytes >>= 7) ++bytes;
  return bytes;
}

Decoded VarintLength::decode_long(ByteView input, FrameState& state) const noexcept {
  if (state.note != 0) return skip_rest(input, state);
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < input.size(); ++i) {
    const std::uint64_t byte = std::to_integer<std::uint64_t>(input[i]);
    const unsigned shift = 7 * static_cast<unsigned>(i);
    const unsigned bits_left = length_bits_ - shift;
    if (bits_left < 7 && (byte >> bits_left) != 0) {
      return Decoded::corrupt(length_bits_ == 32 ? "a length of more than 32 bits"
                                                 : "a length of more than 64 bits");
    }
    length |= (byte & 0x7f) << shift;
    if (byte >= 0x80) continue;
    if (byte == 0 && i > 0) return Decoded::corrupt("a length with more bytes than it needs");
    if (length > kLargestVarint) return Decoded::corrupt("a length beyond all bounds", length);
    const std::uint64_t whole = i + 1 + length;
    if (length > max_payload_bytes_) {
      return too_large(oversize_, whole, length, max_payload_bytes_, input, state);
    }
    if (input.size() < whole) return Decoded::need(static_cast<std::size_t>(whole), length);
    return Decoded::ready(input.first(static_cast<std::size_t>(whole)).from(i + 1),
                          static_cast<std::size_t>(whole));
  }
  return Decoded::need(input.size() + 1);
}

void VarintLength::wrap(ByteView payload, std::size_t following, FrameEdges& edges) const {
  std::size_t length = payload.size() + following;
  check_payload(length, max_payload_bytes_);
  std::byte* to = edges.add_before(overhead_bytes(length));
  for (; length >= 0x80; length >>= 7) *to++ = static_cast<std::byte>((length & 0x7f) | 0x80);
  *to = static_cast<std::byte>(length);
  edges.set_payload(payload);
}

}  // namespace millrace
