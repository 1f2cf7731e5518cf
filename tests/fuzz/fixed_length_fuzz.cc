// FixedLength, of any size, against its reference.
#include <millrace/fixed_length.h>

#include "framing_fuzz.h"
#include "reference/fixed_length.h"

#include <cstdint>

using namespace millrace;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  const std::size_t frame_bytes = in.byte();
  fuzz::check_framing<FixedLength, reference::FixedLength>(frame_bytes, in);
  return 0;
}
