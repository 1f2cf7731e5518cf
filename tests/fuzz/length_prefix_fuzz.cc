// Whatever the bytes and wherever they are cut: the same frames, the same error, nothing read
// beyond the input, and what was written can be read back.
#include <millrace/length_prefix.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

using namespace millrace;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

struct Outcome {
  std::vector<std::string> frames;
  std::error_code error;
  std::string rest;
};

// The stream in pieces of `step` bytes; each decode sees a copy of its own, so that the sanitizer
// sees any look beyond the end.
Outcome decode(const LengthPrefix& framing, const std::string& stream, std::size_t step) {
  Outcome outcome;
  for (std::size_t at = 0; at < stream.size(); at += step) {
    outcome.rest += stream.substr(at, step);
    for (;;) {
      const std::vector<std::byte> input(ByteView(outcome.rest).begin(),
                                         ByteView(outcome.rest).end());
      const Decoded decoded = framing.decode(ByteView(input.data(), input.size()));
      if (decoded.status == Decoded::failed) {
        outcome.error = decoded.error;
        outcome.rest.clear();
        return outcome;
      }
      if (decoded.status == Decoded::incomplete) {
        must(decoded.needed > input.size());
        break;
      }
      must(decoded.consumed == framing.header_bytes() + decoded.frame.size());
      must(decoded.frame.size() <= framing.max_payload_bytes());
      outcome.frames.emplace_back(decoded.frame.text());
      outcome.rest.erase(0, decoded.consumed);
    }
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const LengthPrefix framing({.width_bytes = 1u << (data[0] % 4),
                              .order = data[0] & 4 ? ByteOrder::big : ByteOrder::little,
                              .max_payload_bytes = 1 + std::size_t{data[1]} * data[1]});
  const std::size_t step = 1 + data[2] % 16;
  const std::string stream(reinterpret_cast<const char*>(data) + 3, size - 3);
  const Outcome whole = decode(framing, stream, stream.size() + 1);
  const Outcome cut = decode(framing, stream, step);
  must(whole.frames == cut.frames && whole.error == cut.error && whole.rest == cut.rest);

  std::string again;
  for (const std::string& frame : whole.frames) {
    std::byte header[LengthPrefix::kLargestHeaderBytes];
    framing.write_header(header, frame.size());
    again += ByteView(header, framing.header_bytes()).text();
    again += frame;
  }
  must(stream.compare(0, again.size(), again) == 0);
  return 0;
}
