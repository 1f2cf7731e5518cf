// Compressed is a layer around a framing: each payload is compressed by itself, with zstd, as one
// zstd frame. What comes is decompressed only as far as max_payload_bytes, so that a small frame
// cannot become more than that. Like the framing inside, a value without state, for any thread.
//
//   FramedServer server(loop, {.on_frame = ...}, Compressed(LengthPrefix()));
//   Compressed(Checksummed(LengthPrefix()))        // the checksum is that of the compressed bytes
//
// What it costs: a frame of 535 bytes can become 16 MiB, in about a millisecond. Where peers are
// not trusted, set max_payload_bytes to what your messages have. A frame that is too large when
// decompressed ends the stream, also with Oversize::discard.
//
// It takes the library millrace::compression, which is there when libzstd is. on_frame gets a view
// of memory that is used again for the next frame: it is valid until the callback returns, as ever.
#pragma once

#include <millrace/frame_layer.h>

#include <cstddef>
#include <utility>

namespace millrace {

struct CompressedOptions {
  int level = 3;  // of zstd: from 1, fast, to 19, small; below 0 faster still
  // The largest payload, not compressed, in either direction.
  std::size_t max_payload_bytes = 16 * 1024 * 1024;
};

// What does not depend on the framing inside.
class Compression {
 public:
  // Throws std::invalid_argument naming the field that makes no sense.
  explicit Compression(const CompressedOptions& options);

  // `found` with the decompressed frame, which lies in `scratch`; or failed.
  Decoded decompress(const Decoded& found, Scratch& scratch) const noexcept;
  // Valid until the next call in this thread. Throws std::length_error and std::bad_alloc.
  ByteView compress(ByteView payload) const;

 private:
  int level_;
  std::size_t max_payload_bytes_;
};

template <FrameCodec C>
requires kCarriesAnyBytes<C>
class Compressed {
 public:
  // Throws std::invalid_argument as Compression does, and when the framing leaves its header in the
  // frame.
  explicit Compressed(C inner, const CompressedOptions& options = {})
      : inner_(std::move(inner)), compression_(options) {
    require_own_payload(inner_, "Compressed");
  }

  Decoded decode(ByteView input, FrameState& state) const {
    const Decoded found = inner_.decode(input, state);
    if (found.status != Decoded::frame_ready) return found;
    return compression_.decompress(found, state.scratch);
  }

  std::size_t largest_frame_bytes() const noexcept { return inner_.largest_frame_bytes(); }
  std::size_t overhead_bytes(std::size_t payload_bytes) const noexcept {
    return inner_.overhead_bytes(payload_bytes);
  }
  void wrap(ByteView payload, FrameEdges& edges) const {
    inner_.wrap(compression_.compress(payload), edges);
  }

 private:
  C inner_;
  Compression compression_;
};

}  // namespace millrace
