// HeaderBlock, with any options, against its reference.
#include <millrace/header_block.h>

#include "framing_fuzz.h"
#include "reference/header_block.h"

#include <cstdint>

using namespace millrace;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  constexpr const char* kNames[] = {"Content-Length", "n", "Len", "", "a b", "n:", "\n"};
  constexpr const char* kAliases[] = {"", "l", "N", "x y"};
  const std::uint8_t flags = in.byte();
  const HeaderBlockOptions options{.length_field = kNames[in.byte() % std::size(kNames)],
                                   .length_alias = kAliases[in.byte() % std::size(kAliases)],
                                   .length_required = (flags & 1) != 0,
                                   .start_line = (flags & 2) != 0,
                                   .bodies_only = (flags & 4) != 0,
                                   .max_header_bytes = in.byte(),
                                   .max_body_bytes = in.byte(),
                                   .oversize = in.oversize()};
  fuzz::check_framing<HeaderBlock, reference::HeaderBlock>(options, in);
  return 0;
}
