// The receive limit of a connection that carries frames.
#pragma once

#include <millrace/framing.h>

#include <algorithm>
#include <cstddef>

namespace millrace {

// What may arrive behind a frame in one receive, and is kept while reading is paused.
inline constexpr std::size_t kBehindFrameBytes = 256 * 1024;

// Server or client options with a receive limit above the framing's, which is the one that shall
// count: it knows the numbers to name.
template <class Options>
Options with_room_for_frames(Options options, const Framing& framing) {
  std::size_t& limit = options.connection.limits.receive_bytes;
  const std::size_t largest = std::min(framing.largest_frame_bytes(), SIZE_MAX / 2);
  limit = std::max(limit, largest + kBehindFrameBytes);
  return options;
}

}  // namespace millrace
