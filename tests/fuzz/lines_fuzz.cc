// Lines, with any options, against its reference.
#include <millrace/lines.h>

#include "framing_fuzz.h"
#include "reference/lines.h"

#include <cstdint>

using namespace millrace;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  constexpr LineEnd kEnds[] = {LineEnd::any, LineEnd::lf, LineEnd::strict_crlf};
  const LinesOptions options{.end = kEnds[in.byte() % std::size(kEnds)],
                             .max_line_bytes = in.byte(),
                             .oversize = in.oversize()};
  fuzz::check_framing<Lines, reference::Lines>(options, in);
  return 0;
}
