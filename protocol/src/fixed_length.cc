#include <millrace/fixed_length.h>

#include "options_check.h"

#include <stdexcept>
#include <string>

namespace millrace {

FixedLength::FixedLength(std::size_t frame_bytes) : frame_bytes_(frame_bytes) {
  OptionsCheck("FixedLength")
      .that(frame_bytes > 0, "frame_bytes", frame_bytes, "a frame without bytes has no end");
}

void FixedLength::wrap(ByteView payload, std::size_t following, FrameEdges& edges) const {
  if (payload.size() + following != frame_bytes_) {
    throw std::length_error("frame of " + std::to_string(payload.size() + following) +
                            " bytes to send, not of " + std::to_string(frame_bytes_));
  }
  edges.set_payload(payload);
}

}  // namespace millrace
