// FrameEdges is a payload and what goes around it: before(), payload() and after(), one behind the
// other, are the frame as it is sent. FrameCodec::wrap() fills a new one; layers add to it. Valid as
// long as the codec and the payload that it was made from; with Compressed only until the next
// wrap() in the same thread. One thread at a time.
//
//   FrameEdges edges;
//   codec.wrap("hello", edges);  // of LengthPrefix: 00 00 00 05, hello, nothing
#pragma once

#include <millrace/bytes.h>
#include <millrace/check.h>

#include <cstddef>

namespace millrace {

class FrameEdges {
 public:
  static constexpr std::size_t kLargestBeforeBytes = 256;
  static constexpr std::size_t kLargestAfterBytes = 32;

  FrameEdges() noexcept {}  // what is not written is not initialised: this is made for each frame
  FrameEdges(const FrameEdges&) = delete;
  FrameEdges& operator=(const FrameEdges&) = delete;

  ByteView before() const noexcept { return {before_, before_bytes_}; }
  ByteView payload() const noexcept { return payload_; }
  ByteView after() const noexcept { return after_; }
  std::size_t size() const noexcept { return before_bytes_ + payload_.size() + after_.size(); }

  // Room for `n` bytes before the payload, behind what is there already; the caller fills them.
  std::byte* add_before(std::size_t n) {
    MILLRACE_CHECK_LE(n, kLargestBeforeBytes - before_bytes_, "too much before a payload");
    std::byte* to = before_ + before_bytes_;
    before_bytes_ += n;
    return to;
  }
  void set_payload(ByteView payload) noexcept { payload_ = payload; }
  // Behind what is there already; a few bytes, which are copied.
  void add_after(ByteView bytes);
  // Nothing else: a view that outlives the edges.
  void set_after(ByteView bytes) {
    MILLRACE_CHECK(after_.empty(), "set_after() instead of what is there already");
    after_ = bytes;
  }

 private:
  std::size_t before_bytes_ = 0;
  ByteView payload_;
  ByteView after_;
  std::byte before_[kLargestBeforeBytes];
  std::byte after_bytes_[kLargestAfterBytes];
};

}  // namespace millrace
