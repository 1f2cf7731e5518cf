// NetString is D. J. Bernstein's framing: the length in decimal digits, a colon, the payload, a
// comma. A value without state, which may be shared by all connections and by threads.
//
//   5 : h e l l o ,           frame "hello"
//   0 : ,                     an empty frame
//   5 : h e l l               incomplete, needed = 8
//   0 5 :                     failed: frame_corrupt, a length that begins with 0
//   5 : h e l l o !           failed: frame_corrupt, no comma; also where the frame is skipped
//
// A length of more than 18 digits is frame_corrupt.
#pragma once

#include <millrace/frame_codec.h>

#include <cstddef>

namespace millrace {

struct NetStringOptions {
  // The largest payload, in either direction.
  std::size_t max_payload_bytes = 16 * 1024 * 1024;
  Oversize oversize = Oversize::fail;
};

class NetString {
 public:
  // Throws std::invalid_argument naming the field that makes no sense.
  explicit NetString(const NetStringOptions& options = {});

  Decoded decode(ByteView input, FrameState& state) const noexcept;

  std::size_t max_payload_bytes() const noexcept { return max_payload_bytes_; }
  std::size_t largest_frame_bytes() const noexcept;
  std::size_t overhead_bytes(std::size_t payload_bytes) const noexcept;

  void wrap(ByteView payload, FrameEdges& edges) const { wrap(payload, 0, edges); }
  void wrap(ByteView payload, std::size_t following, FrameEdges& edges) const;

 private:
  static Decoded skip(ByteView input, FrameState& state) noexcept;

  std::size_t max_payload_bytes_;
  Oversize oversize_;
};

}  // namespace millrace
