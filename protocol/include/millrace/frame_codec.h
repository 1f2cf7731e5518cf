// What the framings have in common. A codec is a value that cuts frames off the front of any bytes
// and says what goes around a payload to make a frame of it. It does no I/O, is not changed by use,
// and may be shared by all connections and by threads; what it must remember of one stream is in
// that stream's FrameState. These are codecs: LengthField, LengthPrefix, VarintLength, Delimited,
// Lines, FixedLength, HeaderBlock, NetString, and Checksummed and Compressed around one of them.
//
//   struct Pairs {  // one of your own: frames of two bytes
//     Decoded decode(ByteView in, FrameState&) const {
//       if (in.size() < 2) return Decoded::need(2);
//       return Decoded::ready(in.first(2), 2);
//     }
//     std::size_t largest_frame_bytes() const { return 2; }
//     std::size_t overhead_bytes(std::size_t) const { return 0; }
//     void wrap(ByteView payload, FrameEdges& edges) const { edges.set_payload(payload); }
//   };
//   FramedServer server(loop, {.on_frame = ...}, Pairs());
#pragma once

#include <millrace/bytes.h>
#include <millrace/check.h>
#include <millrace/frame_edges.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <system_error>

namespace millrace {

// What is done about a frame that is larger than allowed.
enum class Oversize : std::uint8_t {
  fail,     // the stream ends there: whoever announces too much means no good, or is out of step
  discard,  // it is told once, its bytes are skipped as they come, and the next frame follows
};

// What was wrong with a stream, and where.
struct FrameError {
  std::error_code code;         // error::frame_too_large, frame_corrupt, frame_checksum, ...
  std::uint64_t announced = 0;  // the length that the frame says, in bytes; 0 if it says none (yet)
  std::uint64_t limit = 0;      // the largest allowed
  // Of the frame's first byte in the stream. Of a frame that is being skipped: of the byte that is
  // wrong in it, or where the stream ended.
  std::uint64_t offset = 0;
  const char* detail = "";  // what is wrong, where the code does not say it: "no comma ..."

  // "frame of 99999999 bytes announced, limit 16777216, at byte 0 of the stream"
  std::string text() const;
};

// What one look at the front of a stream has found.
struct Decoded {
  enum Status : std::uint8_t {
    frame_ready,  // `frame`, and the first `consumed` bytes are done with
    incomplete,   // nothing can be done before there are `needed` bytes
    oversized,    // Oversize::discard: a frame of `announced` bytes is being skipped, told once
    skipped,      // bytes that are no part of a frame, or of one that is being skipped
    failed,       // `error`; the stream makes no sense from here on
  };

  Status status = incomplete;
  ByteView frame = {};          // frame_ready: a view into the input or the state
  std::size_t consumed = 0;     // frame_ready, oversized, skipped: so many bytes are done with
  std::size_t needed = 0;       // incomplete: counted from the first byte of the input
  std::uint64_t announced = 0;  // failed, oversized, incomplete: what the frame says of its length
  std::uint64_t limit = 0;      // failed, oversized: the largest allowed
  std::error_code error = {};   // failed, oversized
  const char* detail = "";      // failed

  // What every codec keeps to, for an input of `size` bytes: something is consumed, and no more
  // than there is; and what is incomplete needs more than there is. Otherwise who asks would ask
  // for ever.
  void check(std::size_t size) const {
    if (status == incomplete) {
      MILLRACE_CHECK(needed > size, "a codec that needs no more than it has");
    } else if (status != failed) {
      MILLRACE_CHECK(consumed > 0 && consumed <= size,
                     "a codec that consumes nothing, or too much");
    }
  }

  static Decoded ready(ByteView frame, std::size_t consumed) noexcept {
    return {.status = frame_ready, .frame = frame, .consumed = consumed};
  }
  static Decoded need(std::size_t bytes, std::uint64_t announced = 0) noexcept {
    return {.status = incomplete, .needed = bytes, .announced = announced};
  }
  static Decoded skip(std::size_t bytes) noexcept { return {.status = skipped, .consumed = bytes}; }
  // With error::frame_corrupt.
  static Decoded corrupt(const char* detail, std::uint64_t announced = 0) noexcept;
  // With error::frame_checksum.
  static Decoded wrong_checksum(std::uint64_t announced) noexcept;
  // With error::frame_too_large.
  static Decoded too_large(std::uint64_t announced, std::uint64_t limit,
                           const char* detail = "") noexcept;
  // The same, where such a frame is skipped.
  static Decoded skip_oversized(std::uint64_t announced, std::uint64_t limit, std::size_t consumed,
                                const char* detail = "") noexcept;
};

// Memory for frames that are not in their stream as they are delivered.
class Scratch {
 public:
  // At least `bytes`, not initialised, instead of what was there. Throws std::bad_alloc.
  std::byte* take(std::size_t bytes);

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { ::operator delete(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t bytes_ = 0;
};

// What a codec remembers of one stream between two looks. A new one begins a stream.
struct FrameState {
  // In `note`: an oversized frame is being skipped, and the rest is how far.
  static constexpr std::uint64_t kSkipping = std::uint64_t{1} << 63;

  // Of the frame at the front, as its codec means it; the codec sets it to 0 when a frame ends. It
  // survives while the connection waits for more bytes; the rest of the state does not.
  std::uint64_t note = 0;
  bool skipping() const noexcept { return (note & kSkipping) != 0; }
  Scratch scratch;
};

template <class C>
concept FrameCodec = std::copy_constructible<C> &&
    requires(const C& codec, ByteView bytes, FrameState& state, FrameEdges& edges) {
  // Looks at the front of a stream. Cutting the input at any place never changes what is found.
  { codec.decode(bytes, state) } -> std::same_as<Decoded>;
  // The most that decode() ever needs to have in one piece.
  { codec.largest_frame_bytes() } -> std::convertible_to<std::size_t>;
  // About how many bytes go before a payload of so many; room for them is kept free.
  { codec.overhead_bytes(std::size_t{}) } -> std::convertible_to<std::size_t>;
  // Fills the new `edges`. Throws std::length_error or std::invalid_argument for a payload that
  // cannot be sent.
  codec.wrap(bytes, edges);
};

}  // namespace millrace
