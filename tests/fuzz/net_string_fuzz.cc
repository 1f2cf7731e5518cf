// NetString, with any options, against its reference.
#include <millrace/net_string.h>

#include "framing_fuzz.h"
#include "reference/net_string.h"

#include <cstdint>

using namespace millrace;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  const NetStringOptions options{.max_payload_bytes = std::size_t{in.byte()} * 4,
                                 .oversize = in.oversize()};
  fuzz::check_framing<NetString, reference::NetString>(options, in);
  return 0;
}
