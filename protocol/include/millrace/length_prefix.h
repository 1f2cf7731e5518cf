// LengthPrefix is the framing in which each frame follows its length: the short way to write the
// LengthField that most protocols have. A value without state, which may be shared by all
// connections and by threads.
//
//   before                              after decode()
//   00 00 00 03 'a' 'b' 'c' 00 00 ...   frame = "abc", consumed = 7
//   00 00 00 03 'a'                     incomplete, needed = 7
//   00 00                               incomplete, needed = 4
//   7f ff ff ff ...                     failed: frame_too_large, 2147483647 announced
//
//   LengthPrefix framing({.width_bytes = 2, .order = ByteOrder::little});
//   for (auto d = framing.decode(in); d.status == Decoded::frame_ready; d = framing.decode(in)) {
//     use(d.frame);
//     in = in.from(d.consumed);
//   }
//
// The length counts the payload alone. It is checked against the maximum before anything depends on
// it; cutting the input at any place never changes the frames.
#pragma once

#include <millrace/length_field.h>

namespace millrace {

struct LengthPrefixOptions {
  unsigned width_bytes = 4;  // of the length: 1, 2, 3, 4 or 8
  ByteOrder order = ByteOrder::big;
  // The largest payload, in either direction. What the width cannot express is lowered to what it
  // can.
  std::size_t max_payload_bytes = 16 * 1024 * 1024;
  Oversize oversize = Oversize::fail;
};

class LengthPrefix : public LengthField {
 public:
  static constexpr std::size_t kLargestHeaderBytes = 8;

  // Throws std::invalid_argument naming the field that makes no sense.
  explicit LengthPrefix(const LengthPrefixOptions& options = {});

  std::size_t max_payload_bytes() const noexcept { return largest_frame_bytes() - header_bytes(); }

  // Writes the header_bytes() of a frame of `payload_bytes` to `to`. Throws std::length_error when
  // that is more than max_payload_bytes(), naming both.
  void write_header(std::byte* to, std::size_t payload_bytes) const {
    write_length(to, length_of(payload_bytes + header_bytes()));
  }
  using LengthField::wrap;
  void wrap(ByteView payload, std::size_t following, FrameEdges& edges) const {
    write_header(edges.add_before(header_bytes()), payload.size() + following);
    edges.set_payload(payload);
  }
  void wrap(ByteView payload, FrameEdges& edges) const { wrap(payload, 0, edges); }
};

}  // namespace millrace
