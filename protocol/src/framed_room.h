// The receive limit of a connection that carries frames.
#pragma once

#include <millrace/length_prefix.h>

#include <algorithm>
#include <cstddef>

namespace millrace {

// What may arrive behind a frame in one receive, and is kept while reading is paused.
inline constexpr std::size_t kBehindFrameBytes = 256 * 1024;

// Server or client options with a receive limit above the decoder's, which is the one that shall
// count: it knows the numbers to name.
template <class Options>
Options with_room_for_frames(Options options, const LengthPrefix& framing) {
  std::size_t& limit = options.connection.limits.receive_bytes;
  limit = std::max(limit, framing.header_bytes() + framing.max_frame_bytes() + kBehindFrameBytes);
  return options;
}

}  // namespace millrace
