// LengthPrefix is the framing in which each frame follows its length: a value without state that
// cuts frames off the front of any bytes, and writes headers. It does no I/O, may be shared by all
// connections, and by threads.
//
//   before                              after decode()
//   00 00 00 03 'a' 'b' 'c' 00 00 ...   frame = "abc", consumed = 7
//   00 00 00 03 'a'                     incomplete, needed = 7
//   00 00                               incomplete, needed = 4
//   7f ff ff ff ...                     failed: frame_too_large, 2147483647 announced, limit
//   16777216
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

#include <millrace/byte_order.h>
#include <millrace/bytes.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>

namespace millrace {

// What was wrong with a stream, and where.
struct FrameError {
  std::error_code code;         // error::frame_too_large, frame_corrupt or frame_truncated
  std::uint64_t announced = 0;  // the length that the header says, in bytes
  std::uint64_t limit = 0;      // the largest allowed
  std::uint64_t offset = 0;     // of the frame's first byte in the stream

  // "frame of 99999999 bytes announced, limit 16777216, at byte 0 of the stream"
  std::string text() const;
};

struct Decoded {
  enum Status : std::uint8_t { frame_ready, incomplete, failed };

  Status status;
  ByteView frame;               // frame_ready: the payload, a view into the input
  std::size_t consumed = 0;     // frame_ready: header and payload
  std::size_t needed = 0;       // incomplete: so many bytes of input before there can be more
  std::uint64_t announced = 0;  // failed: the length in the header
  std::error_code error = {};   // failed
};

struct LengthPrefixOptions {
  unsigned width_bytes = 4;  // of the length: 1, 2, 4 or 8
  ByteOrder order = ByteOrder::big;
  // The largest payload, in either direction. What the width cannot express is lowered to what it
  // can.
  std::size_t max_frame_bytes = 16 * 1024 * 1024;
};

class LengthPrefix {
 public:
  static constexpr std::size_t kLargestHeaderBytes = 8;

  // Throws std::invalid_argument naming the field that makes no sense.
  explicit LengthPrefix(const LengthPrefixOptions& options = {});

  // Looks at the first frame of `input`.
  Decoded decode(ByteView input) const noexcept {
    if (input.size() < header_bytes_) return incomplete(header_bytes_);
    const std::uint64_t length = read_length(input.data());
    if (length > max_frame_bytes_) return too_large(length);
    const std::size_t whole = header_bytes_ + static_cast<std::size_t>(length);
    if (input.size() < whole) return incomplete(whole);
    return {.status = Decoded::frame_ready,
            .frame = ByteView(input.data() + header_bytes_, static_cast<std::size_t>(length)),
            .consumed = whole};
  }

  std::size_t header_bytes() const noexcept { return header_bytes_; }
  std::size_t max_frame_bytes() const noexcept { return max_frame_bytes_; }

  // Writes the header_bytes() of a frame of `payload_bytes` to `to`. Throws std::length_error when
  // that is more than max_frame_bytes(), naming both.
  void write_header(std::byte* to, std::size_t payload_bytes) const {
    if (payload_bytes > max_frame_bytes_) throw_too_large(payload_bytes);
    switch (header_bytes_) {
      case 1:
        return store(to, static_cast<std::uint8_t>(payload_bytes), order_);
      case 2:
        return store(to, static_cast<std::uint16_t>(payload_bytes), order_);
      case 4:
        return store(to, static_cast<std::uint32_t>(payload_bytes), order_);
      default:
        return store(to, static_cast<std::uint64_t>(payload_bytes), order_);
    }
  }

 private:
  std::uint64_t read_length(const std::byte* from) const noexcept {
    switch (header_bytes_) {
      case 1:
        return load<std::uint8_t>(from, order_);
      case 2:
        return load<std::uint16_t>(from, order_);
      case 4:
        return load<std::uint32_t>(from, order_);
      default:
        return load<std::uint64_t>(from, order_);
    }
  }
  static Decoded incomplete(std::size_t needed) noexcept {
    return {.status = Decoded::incomplete, .frame = {}, .needed = needed};
  }
  static Decoded too_large(std::uint64_t length) noexcept;
  [[noreturn]] void throw_too_large(std::size_t payload_bytes) const;

  std::size_t max_frame_bytes_;
  std::uint32_t header_bytes_;
  ByteOrder order_;
};

}  // namespace millrace
