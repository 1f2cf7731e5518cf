// Delimited, with any delimiters, against its reference.
#include <millrace/delimited.h>

#include "framing_fuzz.h"
#include "reference/delimited.h"

#include <cstdint>
#include <string>

using namespace millrace;

namespace {

// Of few different bytes, so that delimiters overlap, contain and begin one another.
std::string delimiter(fuzz::Input& in) {
  constexpr char kBytes[] = {'\0', ';', '|', 'a', '\n', '\xff'};
  std::string bytes(in.byte() % std::size_t{6}, '\0');
  for (char& c : bytes) c = kBytes[in.byte() % std::size(kBytes)];
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  DelimitedOptions options{
      .max_frame_bytes = in.byte(), .keep_delimiter = in.flag(), .oversize = in.oversize()};
  for (std::size_t i = in.byte() % 5; i > 0; --i) options.delimiters.push_back(delimiter(in));
  fuzz::check_framing<Delimited, reference::Delimited>(options, in);
  return 0;
}
