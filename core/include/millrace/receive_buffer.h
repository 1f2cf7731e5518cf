// ReceiveBuffer is what on_data gets: the bytes that have arrived and are not consumed yet, in one
// piece. It is valid until the callback returns; what is left in it then comes again, in front of
// what arrives later. Loop's thread only; it can also be made over any bytes, to test a handler.
//
//   void on_data(Connection& c, ReceiveBuffer& in) {
//     while (in.size() >= 8) { take(in.view().first(8)); in.consume(8); }
//   }
#pragma once

#include <millrace/bytes.h>
#include <millrace/check.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace millrace {

class ReceiveBuffer {
 public:
  explicit ReceiveBuffer(ByteView bytes) noexcept : bytes_(bytes) {}
  // `stop_flags`: stopped() is true while any bit of `stop_mask` is set there.
  ReceiveBuffer(ByteView bytes, std::uint64_t remembered, const std::uint32_t* stop_flags,
                std::uint32_t stop_mask) noexcept
      : bytes_(bytes), remembered_(remembered), stop_flags_(stop_flags), stop_mask_(stop_mask) {}
  ReceiveBuffer(const ReceiveBuffer&) = delete;
  ReceiveBuffer& operator=(const ReceiveBuffer&) = delete;

  const std::byte* data() const noexcept { return bytes_.data(); }
  std::size_t size() const noexcept { return bytes_.size(); }
  bool empty() const noexcept { return bytes_.empty(); }
  ByteView view() const noexcept { return bytes_; }

  // The first `n` bytes are done with. Views of them stay readable until the callback returns.
  // Precondition: n <= size().
  void consume(std::size_t n) {
    MILLRACE_CHECK_LE(n, bytes_.size(), "consume() of more bytes than there are");
    bytes_ = bytes_.from(n);
    expected_ -= std::min(n, expected_);
  }
  void consume_all() noexcept { consume(bytes_.size()); }

  // Nothing can be done before `n` bytes (counted from the first one not consumed) are there: the
  // rest is then received straight into place, and on_data is not called before they have arrived.
  // Holds until the next call of on_data. Memory follows what arrives, never what was announced.
  void expect(std::size_t n) noexcept { expected_ = n; }
  std::size_t expected() const noexcept { return expected_; }

  // A number of the handler's own, given to the next call of on_data together with what is left
  // over: how far it has looked, say, so that it need not look there again. 0 if none was given,
  // and after the handler was switched.
  void remember(std::uint64_t note) noexcept { note_ = note; }
  std::uint64_t remembered() const noexcept { return remembered_; }
  // What is remembered for the next call.
  std::uint64_t note() const noexcept { return note_; }

  // True once this callback has closed or paused its connection or switched its handler: whoever
  // cuts messages out of the buffer delivers no further one.
  bool stopped() const noexcept { return (*stop_flags_ & stop_mask_) != 0; }

 private:
  static constexpr std::uint32_t kNever = 0;

  ByteView bytes_;
  std::size_t expected_ = 0;
  std::uint64_t remembered_ = 0;
  std::uint64_t note_ = 0;
  const std::uint32_t* stop_flags_ = &kNever;
  std::uint32_t stop_mask_ = 0;
};

}  // namespace millrace
