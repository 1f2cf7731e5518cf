// LengthField and LengthPrefix, with any options, against their reference.
#include <millrace/length_field.h>
#include <millrace/length_prefix.h>

#include "framing_fuzz.h"
#include "reference/length_field.h"

#include <cstdint>

using namespace millrace;

namespace {

constexpr unsigned kWidths[] = {1, 2, 3, 4, 8, 1, 2, 3, 4, 8, 0, 5, 9};

// Mostly near zero, where something depends on it, seldom anything at all.
std::int64_t adjustment(fuzz::Input& in) {
  const std::int64_t near = static_cast<std::int8_t>(in.byte());
  if (near != -128 && near != 127) return near / 4;
  std::uint64_t any = 0;
  for (int i = 0; i < 8; ++i) any = any << 8 | in.byte();
  return static_cast<std::int64_t>(any);
}

void check_prefix(fuzz::Input& in, unsigned width, ByteOrder order) {
  const LengthPrefixOptions options{.width_bytes = width,
                                    .order = order,
                                    .max_payload_bytes = std::size_t{in.byte()} * 2,
                                    .oversize = in.oversize()};
  fuzz::check_framing<LengthPrefix, reference::LengthField>(options, in);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  const std::uint8_t kind = in.byte();
  const unsigned width = kWidths[in.byte() % std::size(kWidths)];
  const ByteOrder order = kind & 1 ? ByteOrder::little : ByteOrder::big;
  if (kind & 2) {
    check_prefix(in, width, order);
    return 0;
  }
  const LengthFieldOptions options{.offset_bytes = in.byte() % std::size_t{16},
                                   .width_bytes = width,
                                   .order = order,
                                   .adjustment_bytes = adjustment(in),
                                   .counts_header = (kind & 4) != 0,
                                   .strip_bytes = in.byte() % std::size_t{24},
                                   .max_frame_bytes = std::size_t{in.byte()} * 2,
                                   .oversize = in.oversize()};
  fuzz::check_framing<LengthField, reference::LengthField>(options, in);
  return 0;
}
