// FixedLength is the framing without any: every frame has the same number of bytes, as records and
// sensor readings have. A value without state, which may be shared by all connections and by
// threads.
//
//   'a' 'b' 'c' 'd' 'e'       FixedLength(2): frames "ab", "cd"; "e" is incomplete, needed = 2
#pragma once

#include <millrace/frame_codec.h>

#include <cstddef>

namespace millrace {

class FixedLength {
 public:
  // Throws std::invalid_argument for 0.
  explicit FixedLength(std::size_t frame_bytes);

  Decoded decode(ByteView input, FrameState&) const noexcept {
    if (input.size() < frame_bytes_) return Decoded::need(frame_bytes_, frame_bytes_);
    return Decoded::ready(input.first(frame_bytes_), frame_bytes_);
  }

  std::size_t largest_frame_bytes() const noexcept { return frame_bytes_; }
  std::size_t overhead_bytes(std::size_t /*payload_bytes*/) const noexcept { return 0; }

  // Throws std::length_error for a payload of any other size.
  void wrap(ByteView payload, FrameEdges& edges) const { wrap(payload, 0, edges); }
  void wrap(ByteView payload, std::size_t following, FrameEdges& edges) const;

 private:
  std::size_t frame_bytes_;
};

}  // namespace millrace
