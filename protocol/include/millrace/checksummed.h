// Checksummed is a layer around a framing: behind each payload, inside the frame, stands its
// CRC32C. A frame that does not match it ends the stream with error::frame_checksum. Like the
// framing inside, a value without state, for any thread.
//
//   00 00 00 0d '1' ... '9' e3 06 92 83      Checksummed(LengthPrefix()): frame "123456789"
//   00 00 00 0d '1' ... '8' e3 06 92 83      failed: frame_checksum
//
//   FramedServer server(loop, {.on_frame = ...}, Checksummed(VarintLength()));
//
// The limits of the framing inside count the four bytes too. Framings that look for an end (Lines,
// Delimited) cannot carry a checksum: its bytes may be that end.
#pragma once

#include <millrace/byte_order.h>
#include <millrace/crc32c.h>
#include <millrace/frame_layer.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace millrace {

template <OpaqueFrameCodec C>
class Checksummed {
 public:
  static constexpr std::size_t kBytes = 4;

  // `order` is that of the checksum. Throws std::invalid_argument when the framing leaves its
  // header in the frame: a checksum is one of the payload.
  explicit Checksummed(C inner, ByteOrder order = ByteOrder::big)
      : inner_(std::move(inner)), order_(order) {
    require_own_payload(inner_, "Checksummed");
  }

  Decoded decode(ByteView input, FrameState& state) const {
    const Decoded found = inner_.decode(input, state);
    if (found.status != Decoded::frame_ready) return found;
    if (found.frame.size() < kBytes) return Decoded::corrupt("no room for a checksum");
    const ByteView payload = found.frame.first(found.frame.size() - kBytes);
    if (load<std::uint32_t>(payload.end(), order_) != crc32c(payload)) {
      return Decoded::wrong_checksum(payload.size());
    }
    return Decoded::ready(payload, found.consumed);
  }

  std::size_t largest_frame_bytes() const noexcept { return inner_.largest_frame_bytes(); }
  std::size_t overhead_bytes(std::size_t payload_bytes) const noexcept {
    return inner_.overhead_bytes(payload_bytes + kBytes);
  }
  void wrap(ByteView payload, FrameEdges& edges) const {
    std::byte checksum[kBytes];
    store(checksum, crc32c(payload), order_);
    edges.add_after({checksum, kBytes});
    inner_.wrap(payload, kBytes, edges);
  }

 private:
  C inner_;
  ByteOrder order_;
};

template <class C>
inline constexpr bool kCarriesAnyBytes<Checksummed<C>> = true;

}  // namespace millrace
