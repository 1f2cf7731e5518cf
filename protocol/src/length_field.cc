#include <millrace/error.h>
#include <millrace/length_field.h>
#include <millrace/length_prefix.h>

#include "options_check.h"
#include "oversize.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

namespace millrace {
namespace {

__extension__ typedef __int128 Wide;  // the sum of any few of the options

constexpr std::uint64_t kLargestLength = std::numeric_limits<std::int64_t>::max();

bool is_width(unsigned bytes) {
  return (bytes >= 1 && bytes <= 4) || bytes == 8;
}

std::uint64_t largest_of_width(unsigned width_bytes) {
  return width_bytes == 8 ? kLargestLength : (std::uint64_t{1} << (8 * width_bytes)) - 1;
}

LengthFieldOptions options_of(const LengthPrefixOptions& options) {
  const OptionsCheck check("LengthPrefixOptions");
  check.that(is_width(options.width_bytes), "width_bytes", options.width_bytes,
             "not 1, 2, 3, 4 or 8");
  check.that(options.max_payload_bytes > 0, "max_payload_bytes", 0, "no payload fits");
  const std::uint64_t most =
      std::min<std::uint64_t>({options.max_payload_bytes, largest_of_width(options.width_bytes),
                               kLargestLength - options.width_bytes});
  return {.width_bytes = options.width_bytes,
          .order = options.order,
          .strip_bytes = options.width_bytes,
          .max_frame_bytes = static_cast<std::size_t>(most) + options.width_bytes,
          .oversize = options.oversize};
}

}  // namespace

LengthField::LengthField(const LengthFieldOptions& options)
    : header_bytes_(options.offset_bytes + options.width_bytes),
      strip_bytes_(options.strip_bytes),
      offset_bytes_(options.offset_bytes),
      max_frame_bytes_(options.max_frame_bytes),
      width_bytes_(options.width_bytes),
      order_(options.order),
      oversize_(options.oversize) {
  const OptionsCheck check("LengthFieldOptions");
  check.that(is_width(width_bytes_), "width_bytes", width_bytes_, "not 1, 2, 3, 4 or 8");
  check.that(offset_bytes_ <= FrameEdges::kLargestBeforeBytes - width_bytes_, "offset_bytes",
             offset_bytes_,
             "more than " + std::to_string(FrameEdges::kLargestBeforeBytes - width_bytes_));
  check.that(strip_bytes_ <= FrameEdges::kLargestBeforeBytes, "strip_bytes", strip_bytes_,
             "more than " + std::to_string(FrameEdges::kLargestBeforeBytes));
  check.that(max_frame_bytes_ <= kLargestLength, "max_frame_bytes", max_frame_bytes_,
             "more than " + std::to_string(kLargestLength));
  const std::size_t least = std::max(header_bytes_, strip_bytes_);
  check.that(max_frame_bytes_ >= least, "max_frame_bytes", max_frame_bytes_,
             "less than the " + std::to_string(least) + " bytes of a header");

  const Wide beyond =
      Wide{options.adjustment_bytes} + (options.counts_header ? Wide{0} : Wide{header_bytes_});
  const Wide smallest = std::max(Wide{least} - beyond, Wide{0});
  const Wide largest =
      std::min(Wide{max_frame_bytes_} - beyond, Wide{largest_of_width(width_bytes_)});
  check.that(smallest <= largest, "adjustment_bytes", options.adjustment_bytes,
             "no length of this width gives a frame that is allowed");
  beyond_length_ = static_cast<std::uint64_t>(beyond);
  least_length_ = static_cast<std::uint64_t>(smallest);
  length_range_ = static_cast<std::uint64_t>(largest - smallest);
}

std::uint64_t LengthField::load_three(const std::byte* from) const noexcept {
  const auto at = [from](int i) { return std::to_integer<std::uint64_t>(from[i]); };
  return order_ == ByteOrder::big ? at(0) << 16 | at(1) << 8 | at(2)
                                  : at(2) << 16 | at(1) << 8 | at(0);
}

void LengthField::store_three(std::byte* to, std::uint64_t length) const noexcept {
  const auto part = [length](int shift) { return static_cast<std::byte>(length >> shift & 0xff); };
  to[1] = part(8);
  to[0] = part(order_ == ByteOrder::big ? 16 : 0);
  to[2] = part(order_ == ByteOrder::big ? 0 : 16);
}

// A length that no frame can have, or none that is allowed.
Decoded LengthField::impossible(ByteView input, std::uint64_t length,
                                FrameState& state) const noexcept {
  if (length > kLargestLength) return Decoded::corrupt("a negative length", length);
  if (length < least_length_) {
    return Decoded::corrupt("a length that is smaller than what it counts", length);
  }
  std::uint64_t whole;
  // beyond_length_ may be negative: what is added then is close to 2^64, and passing that is right.
  const bool carry = __builtin_add_overflow(length, beyond_length_, &whole);
  const bool negative = beyond_length_ > kLargestLength;
  if (carry != negative) {
    return Decoded::corrupt("a length beyond all bounds", length);
  }
  const std::uint64_t told = whole - untold_bytes_;
  const std::uint64_t limit = max_frame_bytes_ - untold_bytes_;
  return too_large(oversize_, whole, told, limit, input, state);
}

Decoded LengthField::skip(ByteView input, FrameState& state) noexcept {
  return skip_rest(input, state);
}

void LengthField::wrap(ByteView payload, std::size_t following, FrameEdges& edges) const {
  // The stripped bytes as zeros, and as much of the payload as belongs to the header.
  const std::size_t of_payload = header_bytes_ > strip_bytes_ ? header_bytes_ - strip_bytes_ : 0;
  if (payload.size() < of_payload) {
    throw std::length_error("frame of " + std::to_string(payload.size()) +
                            " bytes to send, its header alone has " + std::to_string(of_payload));
  }
  const std::uint64_t length = length_of(strip_bytes_ + payload.size() + following);
  std::byte* before = edges.add_before(strip_bytes_ + of_payload);
  std::memset(before, 0, strip_bytes_);
  std::memcpy(before + strip_bytes_, payload.data(), of_payload);
  write_length(before + offset_bytes_, length);
  edges.set_payload(payload.from(of_payload));
}

void LengthField::refuse(std::uint64_t whole) const {
  const auto told = [this](std::uint64_t bytes) { return std::to_string(bytes - untold_bytes_); };
  // Of the frames whose length can be written, which may be fewer than those that are allowed.
  const std::uint64_t smallest = least_length_ + beyond_length_;
  throw std::length_error("frame of " + told(whole) + " bytes to send, " +
                          (whole < smallest ? "the smallest has " + told(smallest)
                                            : "limit " + told(smallest + length_range_)));
}

LengthPrefix::LengthPrefix(const LengthPrefixOptions& options) : LengthField(options_of(options)) {
  tell_payloads();
}

}  // namespace millrace
