// VarintLength is the framing of delimited protobuf messages: each payload follows its length as a
// base-128 varint, seven bits in a byte, the lowest first. It does no I/O, has no configuration
// that changes, and may be shared by all connections and by threads.
//
//   03 'a' 'b' 'c'            frame "abc"
//   ac 02 ...                 a frame of 300 bytes: 0x2c + (0x02 << 7)
//   80 80                     incomplete, needed = 3
//   80 00                     failed: frame_corrupt; 0 is written as 00, and nothing else is 0
//   ff ff ff ff 0f            failed: frame_too_large, 4294967295 announced, limit 16777216
//   ff ff ff ff 1f            failed: frame_corrupt, more than 32 bits
//
// With 64 bits, a length of 2^63 or more is frame_corrupt too.
#pragma once

#include <millrace/frame_codec.h>

#include <cstddef>
#include <cstdint>

namespace millrace {

struct VarintLengthOptions {
  unsigned length_bits = 32;  // what a length may need: 32 or 64. More is frame_corrupt
  // The largest payload, in either direction.
  std::size_t max_payload_bytes = 16 * 1024 * 1024;
  Oversize oversize = Oversize::fail;
};

class VarintLength {
 public:
  // Throws std::invalid_argument naming the field that makes no sense.
  explicit VarintLength(const VarintLengthOptions& options = {});

  Decoded decode(ByteView input, FrameState& state) const noexcept {
    if (state.note == 0 && !input.empty()) [[likely]] {
      const std::size_t length = std::to_integer<std::size_t>(input[0]);
      if (length < 0x80 && length <= max_payload_bytes_) [[likely]] {
        if (input.size() <= length) return Decoded::need(1 + length, length);
        return Decoded::ready({input.data() + 1, length}, 1 + length);
      }
    }
    return decode_long(input, state);
  }

  std::size_t max_payload_bytes() const noexcept { return max_payload_bytes_; }
  std::size_t largest_frame_bytes() const noexcept;
  std::size_t overhead_bytes(std::size_t payload_bytes) const noexcept;

  void wrap(ByteView payload, FrameEdges& edges) const { wrap(payload, 0, edges); }
  void wrap(ByteView payload, std::size_t following, FrameEdges& edges) const;

 private:
  Decoded decode_long(ByteView input, FrameState& state) const noexcept;

  std::size_t max_payload_bytes_;
  unsigned length_bits_;
  Oversize oversize_;
};

}  // namespace millrace
