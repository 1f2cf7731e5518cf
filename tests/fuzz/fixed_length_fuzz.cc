// FixedLength, of any size, against its reference.
#include <millrace/fixed_length.h>

#include <cstdint>

#include "framing_fuzz.h"
#include "reference/fixed_length.h"

using namespace millrace;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  const std::size_t frame_bytes = in.byte();
  const auto codec = fuzz::make<FixedLength>(frame_bytes);
  fuzz::must(codec.has_value() == (frame_bytes > 0), "0 bytes, and nothing else, are refused");
  if (codec) fuzz::check_framing(*codec, reference::FixedLength(frame_bytes), in);
  return 0;
}
