// VarintLength, with any options, against its reference.
#include <millrace/varint_length.h>

#include "framing_fuzz.h"
#include "reference/varint_length.h"

#include <cstdint>

using namespace millrace;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  constexpr unsigned kBits[] = {32, 64, 32, 64, 32, 64, 16, 0};
  const VarintLengthOptions options{.length_bits = kBits[in.byte() % std::size(kBits)],
                                    .max_payload_bytes = std::size_t{in.byte()} * 3,
                                    .oversize = in.oversize()};
  fuzz::check_framing<VarintLength, reference::VarintLength>(options, in);
  return 0;
}
