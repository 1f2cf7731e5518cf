// For whoever writes a layer around a framing, as Checksummed and Compressed are: which framings can
// carry what the layer makes of a payload. It is known when the program is compiled, but for what
// the options of a framing decide.
//
//   template <FrameCodec C>
//   requires kCarriesAnyBytes<C>  // or, to append to a payload without a copy: OpaqueFrameCodec
//   class Encrypted {
//    public:
//     explicit Encrypted(C inner) : inner_(std::move(inner)) {
//       require_own_payload(inner_, "Encrypted");
//     }
#pragma once

#include <millrace/frame_codec.h>

#include <cstddef>
#include <stdexcept>
#include <string>

namespace millrace {

// A codec whose payload may be any bytes, so that a layer can append some: `following` bytes will
// stand behind the payload, within the frame.
template <class C>
concept OpaqueFrameCodec = FrameCodec<C> &&
    requires(const C& codec, ByteView payload, FrameEdges& edges) {
  codec.wrap(payload, std::size_t{}, edges);
};

// Whether any bytes may be sent as a payload, so that a layer can put there what it makes of one.
template <class C>
inline constexpr bool kCarriesAnyBytes = OpaqueFrameCodec<C>;

// Throws std::invalid_argument when frames of `codec` begin with a header that was not
// stripped: what the layer makes of a payload would hide it.
template <FrameCodec C>
void require_own_payload(const C& codec, const std::string& layer) {
  if constexpr (requires { codec.strip_bytes() < codec.header_bytes(); }) {
    if (codec.strip_bytes() >= codec.header_bytes()) return;
    throw std::invalid_argument(layer + ": LengthFieldOptions::strip_bytes is " +
                                std::to_string(codec.strip_bytes()) + ", less than the header's " +
                                std::to_string(codec.header_bytes()));
  }
}

}  // namespace millrace
