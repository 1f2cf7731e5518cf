// What becomes of a frame whose length is known and larger than allowed: the end of its stream, or
// its bytes are skipped as they come. FrameState::note says how many are still to come.
#pragma once

#include <millrace/frame_codec.h>

#include <algorithm>

namespace millrace {

inline void set_to_skip(FrameState& state, std::uint64_t bytes) noexcept {
  // More than the note can say never comes.
  state.note = bytes != 0 ? std::min(bytes, ~FrameState::kSkipping) | FrameState::kSkipping : 0;
}

// While state.skipping().
inline Decoded skip_rest(ByteView input, FrameState& state) noexcept {
  const std::uint64_t to_come = state.note & ~FrameState::kSkipping;
  const std::size_t here = static_cast<std::size_t>(std::min<std::uint64_t>(to_come, input.size()));
  set_to_skip(state, to_come - here);
  return here > 0 ? Decoded::skip(here) : Decoded::need(1);
}

// A frame of `whole` bytes, of which errors tell `told`.
inline Decoded too_large(Oversize oversize, std::uint64_t whole, std::uint64_t told,
                         std::uint64_t limit, ByteView input, FrameState& state) noexcept {
  if (oversize == Oversize::fail) return Decoded::too_large(told, limit);
  set_to_skip(state, whole);
  const Decoded skipped = skip_rest(input, state);
  return Decoded::skip_oversized(told, limit, skipped.consumed);
}

}  // namespace millrace
