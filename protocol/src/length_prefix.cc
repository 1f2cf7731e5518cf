#include <millrace/error.h>
#include <millrace/length_prefix.h>

#include <algorithm>
#include <stdexcept>

namespace millrace {
namespace {

// Lengths beyond this are no lengths: somebody wrote a negative number.
constexpr std::uint64_t kLargestLength = INT64_MAX;

std::uint64_t largest_of_width(unsigned width_bytes) {
  return width_bytes == 8 ? kLargestLength : (std::uint64_t{1} << (8 * width_bytes)) - 1;
}

}  // namespace

std::string FrameError::text() const {
  const std::string where = ", at byte " + std::to_string(offset) + " of the stream";
  if (code == error::frame_truncated) {
    return "stream ended inside a frame" +
           (announced > 0 ? " of " + std::to_string(announced) + " bytes" : std::string()) + where;
  }
  return "frame of " + std::to_string(announced) + " bytes announced, limit " +
         std::to_string(limit) + where;
}

LengthPrefix::LengthPrefix(const LengthPrefixOptions& options)
    : max_frame_bytes_(options.max_frame_bytes),
      header_bytes_(options.width_bytes),
      order_(options.order) {
  const unsigned width = options.width_bytes;
  if (width != 1 && width != 2 && width != 4 && width != 8) {
    throw std::invalid_argument("LengthPrefixOptions::width_bytes is " + std::to_string(width) +
                                ", not 1, 2, 4 or 8");
  }
  if (options.max_frame_bytes == 0) {
    throw std::invalid_argument("LengthPrefixOptions::max_frame_bytes is 0");
  }
  max_frame_bytes_ = static_cast<std::size_t>(
      std::min<std::uint64_t>(options.max_frame_bytes, largest_of_width(width)));
}

Decoded LengthPrefix::too_large(std::uint64_t length) noexcept {
  return {.status = Decoded::failed,
          .frame = {},
          .announced = length,
          .error = length > kLargestLength ? error::frame_corrupt : error::frame_too_large};
}

void LengthPrefix::throw_too_large(std::size_t payload_bytes) const {
  throw std::length_error("frame of " + std::to_string(payload_bytes) + " bytes to send, limit " +
                          std::to_string(max_frame_bytes_));
}

}  // namespace millrace
