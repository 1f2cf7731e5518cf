// ByteReader reads bytes field by field and never past their end: what FrameWriter's put() and
// write() have put together. It is a look at bytes that somebody else owns, and so are the views
// that it hands out; one thread at a time.
//
//   ByteReader in(frame);
//   const auto id = in.get<std::uint64_t>(ByteOrder::big);
//   const auto name_bytes = in.get<std::uint8_t>();
//   const ByteView name = in.take(name_bytes);
//   const ByteView text = in.rest();
//   if (!in.ok()) return c->close(error::frame_corrupt, "message cut short");
//
// What would go past the end fails the reader for good: from then on there are zeros and empty
// views only, so that one look at ok(), when all is read, is enough.
#pragma once

#include <millrace/byte_order.h>
#include <millrace/bytes.h>

#include <concepts>
#include <cstddef>
#include <cstdint>

namespace millrace {

class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) noexcept : left_(bytes) {}

  // The next sizeof(T) bytes as a number; a byte has no order.
  template <std::unsigned_integral T>
  T get(ByteOrder order) noexcept {
    const ByteView bytes = take(sizeof(T));
    return bytes.empty() ? T{0} : load<T>(bytes.data(), order);
  }
  template <std::same_as<std::uint8_t> T>
  T get() noexcept {
    return get<T>(ByteOrder::big);
  }
  // The next `n` bytes, all or none.
  ByteView take(std::size_t n) noexcept {
    if (n > left_.size()) {
      ok_ = false;
      left_ = {};
      return {};
    }
    const ByteView bytes = left_.first(n);
    left_ = left_.from(n);
    return bytes;
  }
  // All that was not read yet.
  ByteView rest() noexcept { return take(left_.size()); }

  // Whether all that was asked for was there.
  bool ok() const noexcept { return ok_; }
  // Bytes that were not read yet.
  std::size_t left() const noexcept { return left_.size(); }

 private:
  ByteView left_;
  bool ok_ = true;
};

}  // namespace millrace
