// What becomes of a frame whose length is known and larger than allowed: the end of its stream, or
// its bytes are skipped as they come; how many are still to come is what FrameState::note says.
#pragma once

#include <millrace/frame_codec.h>

#include <algorithm>

namespace millrace {

inline Decoded skip_rest(ByteView input, std::uint64_t& to_come) noexcept {
  const std::size_t here = static_cast<std::size_t>(std::min<std::uint64_t>(to_come, input.size()));
  to_come -= here;
  return Decoded::skip(here);
}

// A frame of `whole` bytes, of which errors tell `told`.
inline Decoded too_large(Oversize oversize, std::uint64_t whole, std::uint64_t told,
                         std::uint64_t limit, ByteView input, std::uint64_t& to_come) noexcept {
  if (oversize == Oversize::fail) return Decoded::too_large(told, limit);
  to_come = whole;
  const Decoded skipped = skip_rest(input, to_come);
  return Decoded::skip_oversized(told, limit, skipped.consumed);
}

}  // namespace millrace
