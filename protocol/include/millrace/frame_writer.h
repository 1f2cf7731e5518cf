// FrameWriter serialises one frame straight into the send queue of its connection: what the framing
// puts around the payload is filled in by commit(). Without commit() nothing is sent and no trace
// left. It must not outlive the callback that made it, and nothing else is sent on its connection,
// nor flushed, while it is open.
//
//   FrameWriter w = c.frame_writer();
//   w.write("temperature ");
//   w.put(std::uint32_t{celsius}, ByteOrder::big);
//   w.advance(encode(reading, w.room(64)));            // at least 64 bytes, in place
//   fmt::format_to(w.out(), "{} of {}", part, all);    // anything that writes to an iterator
//   w.commit();
//
// next() and back_up() are those of protobuf's ZeroCopyOutputStream.
#pragma once

#include <millrace/byte_order.h>
#include <millrace/bytes.h>
#include <millrace/framing.h>
#include <millrace/send_writer.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>

namespace millrace {

class FrameWriter {
 public:
  // For FramedConnection::frame_writer(). Throws std::bad_alloc, as do all that write.
  FrameWriter(Connection& connection, const Framing& framing, std::size_t payload_bytes);
  FrameWriter(Connection& connection, Framing&& gone_too_soon, std::size_t) = delete;
  FrameWriter(const FrameWriter&) = delete;
  FrameWriter& operator=(const FrameWriter&) = delete;

  // Bytes of the payload so far.
  std::size_t bytes() const noexcept { return bytes_; }
  ByteView payload() const noexcept { return {at_ - bytes_, bytes_}; }

  void write(ByteView more) {
    if (more.empty()) return;
    std::memcpy(room(more.size()).data(), more.data(), more.size());
    advance(more.size());
  }
  template <std::unsigned_integral T>
  void put(T value, ByteOrder order) {
    store(room(sizeof value).data(), value, order);
    advance(sizeof value);
  }
  // A byte has no order.
  template <std::same_as<std::uint8_t> T>
  void put(T value) {
    put(value, ByteOrder::big);
  }
  void put(std::byte value) { put(std::to_integer<std::uint8_t>(value)); }

  // Room for at least `n` bytes behind the payload so far, valid until the next call of any other
  // function but advance(); the first so many bytes of it become part of the payload by advance().
  std::span<std::byte> room(std::size_t n) {
    if (static_cast<std::size_t>(end_ - at_) < n) [[unlikely]]
      grow(n);
    return {at_, end_};
  }
  void advance(std::size_t n) {
    MILLRACE_CHECK_LE(n, static_cast<std::size_t>(end_ - at_), "advance() of more than room()");
    at_ += n;
    bytes_ += n;
  }
  // All the room there is, at least a byte, as part of the payload already; what was not needed of
  // it goes back.
  std::span<std::byte> next();
  void back_up(std::size_t n) {
    MILLRACE_CHECK_LE(n, bytes_, "back_up() of more than was written");
    at_ -= n;
    bytes_ -= n;
  }

  // Where to write characters to, one by one: an output iterator.
  class Out {
   public:
    using iterator_category = std::output_iterator_tag;
    using difference_type = std::ptrdiff_t;
    using value_type = void;
    using pointer = void;
    using reference = void;

    Out& operator=(char c) {
      *writer_->room(1).data() = static_cast<std::byte>(c);
      writer_->advance(1);
      return *this;
    }
    Out& operator*() noexcept { return *this; }
    Out& operator++() noexcept { return *this; }
    Out operator++(int) noexcept { return *this; }

   private:
    friend class FrameWriter;
    explicit Out(FrameWriter& writer) noexcept : writer_(&writer) {}
    FrameWriter* writer_;
  };
  Out out() noexcept { return Out(*this); }

  // Queues the frame, whole or not at all; the result is that of Connection::send(). Throws what
  // send_frame() throws, and nothing is queued then. After it, only destruction.
  SendResult commit();

 private:
  void grow(std::size_t more);

  const Framing& framing_;
  std::size_t before_;  // bytes kept free before the payload
  SendWriter writer_;
  std::byte* at_;   // behind the payload
  std::byte* end_;  // of the room
  std::size_t bytes_ = 0;
  bool committed_ = false;
};

}  // namespace millrace
