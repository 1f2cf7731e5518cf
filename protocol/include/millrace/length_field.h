// LengthField is the framing in which each frame says its length in a field of its header: any
// width, place and byte order, whatever the length counts. It cuts frames off the front of any
// bytes and makes them; it does no I/O, has no state, and may be shared by all connections and by
// threads. The common case, a length and then the payload, has a short way: LengthPrefix.
//
// What on_frame gets of the 14 bytes 00 0c H E L L O , _ W O R L D, and where each option counts:
//
//   {.width_bytes = 2}                            00 0c HELLO, WORLD     the whole frame
//   {.width_bytes = 2, .strip_bytes = 2}                HELLO, WORLD     without the header
//   {.width_bytes = 2, .counts_header = true}     00 0e HELLO, WORLD     the length counts itself
//
//   ca fe | 00 00 0c | HELLO, WORLD               {.offset_bytes = 2, .width_bytes = 3}
//   00 00 0c | ca fe | HELLO, WORLD               {.width_bytes = 3, .adjustment_bytes = 2}: the
//                                                 length does not count the ca fe behind it
//   ca | 00 0c | fe | HELLO, WORLD                {.offset_bytes = 1, .width_bytes = 2,
//                                                  .adjustment_bytes = 1, .strip_bytes = 3}:
//                                                 fe HELLO, WORLD
//
// A payload to be sent is what on_frame would get: the stripped bytes are put before it as zeros,
// and the length is written into its field, wherever that lies.
#pragma once

#include <millrace/byte_order.h>
#include <millrace/check.h>
#include <millrace/frame_codec.h>

#include <cstddef>
#include <cstdint>

namespace millrace {

struct LengthFieldOptions {
  std::size_t offset_bytes = 0;  // of the length, from the frame's first byte
  unsigned width_bytes = 4;      // of the length: 1, 2, 3, 4 or 8
  ByteOrder order = ByteOrder::big;
  // So many more bytes follow the length than it says; negative: fewer.
  std::int64_t adjustment_bytes = 0;
  // The length counts all that comes before it, and itself: as if adjustment_bytes were smaller by
  // offset_bytes + width_bytes.
  bool counts_header = false;
  // The first so many bytes of a frame are not given to on_frame.
  std::size_t strip_bytes = 0;
  // The largest frame, header and all, in either direction.
  std::size_t max_frame_bytes = 16 * 1024 * 1024;
  Oversize oversize = Oversize::fail;
};

class LengthField {
 public:
  // Throws std::invalid_argument naming the field that makes no sense.
  explicit LengthField(const LengthFieldOptions& options = {});

  Decoded decode(ByteView input, FrameState& state) const noexcept {
    if (state.note != 0) [[unlikely]]
      return skip(input, state);
    if (input.size() < header_bytes_) return Decoded::need(header_bytes_);
    const std::uint64_t length = read_length(input.data() + offset_bytes_);
    // All lengths between the smallest and the largest possible give a frame that is no smaller
    // than its header and no larger than allowed: nothing below can overflow.
    if (length - least_length_ > length_range_) [[unlikely]]
      return impossible(input, length, state);
    const std::size_t whole = static_cast<std::size_t>(length + beyond_length_);
    if (input.size() < whole) return Decoded::need(whole, whole - untold_bytes_);
    return Decoded::ready({input.data() + strip_bytes_, whole - strip_bytes_}, whole);
  }
  // The same of a stream that is in memory as a whole, with Oversize::fail: how much of a frame is
  // still to be skipped would be forgotten.
  Decoded decode(ByteView input) const noexcept {
    MILLRACE_DCHECK(oversize_ == Oversize::fail, "Oversize::discard needs decode() with a state");
    FrameState none;
    return decode(input, none);
  }

  // As far as the length.
  std::size_t header_bytes() const noexcept { return header_bytes_; }
  std::size_t strip_bytes() const noexcept { return strip_bytes_; }
  std::size_t largest_frame_bytes() const noexcept { return max_frame_bytes_; }
  std::size_t overhead_bytes(std::size_t /*payload_bytes*/) const noexcept { return strip_bytes_; }

  void wrap(ByteView payload, FrameEdges& edges) const { wrap(payload, 0, edges); }
  void wrap(ByteView payload, std::size_t following, FrameEdges& edges) const;

 protected:
  // Of `whole` bytes, what is told in errors and limits.
  void tell_payloads() noexcept { untold_bytes_ = strip_bytes_; }
  [[noreturn]] void refuse(std::uint64_t whole) const;
  std::uint64_t length_of(std::size_t whole) const {
    const std::uint64_t length = whole - beyond_length_;
    if (length - least_length_ > length_range_) [[unlikely]]
      refuse(whole);
    return length;
  }
  void write_length(std::byte* to, std::uint64_t length) const noexcept {
    switch (width_bytes_) {
      case 1:
        return store(to, static_cast<std::uint8_t>(length), order_);
      case 2:
        return store(to, static_cast<std::uint16_t>(length), order_);
      case 3:
        return store_three(to, length);
      case 4:
        return store(to, static_cast<std::uint32_t>(length), order_);
      default:
        return store(to, length, order_);
    }
  }

 private:
  std::uint64_t read_length(const std::byte* from) const noexcept {
    switch (width_bytes_) {
      case 1:
        return load<std::uint8_t>(from, order_);
      case 2:
        return load<std::uint16_t>(from, order_);
      case 3:
        return load_three(from);
      case 4:
        return load<std::uint32_t>(from, order_);
      default:
        return load<std::uint64_t>(from, order_);
    }
  }
  std::uint64_t load_three(const std::byte* from) const noexcept;
  void store_three(std::byte* to, std::uint64_t length) const noexcept;
  Decoded impossible(ByteView input, std::uint64_t length, FrameState& state) const noexcept;
  static Decoded skip(ByteView input, FrameState& state) noexcept;

  // A frame is as large as its length says, and so many bytes more (modulo 2^64: it may be fewer).
  std::uint64_t beyond_length_;
  std::uint64_t least_length_;
  std::uint64_t length_range_;  // the largest possible length less the least
  std::size_t header_bytes_;    // as far as the length
  std::size_t strip_bytes_;
  std::size_t offset_bytes_;
  std::size_t max_frame_bytes_;
  std::size_t untold_bytes_ = 0;
  unsigned width_bytes_;
  ByteOrder order_;
  Oversize oversize_;
};

}  // namespace millrace
