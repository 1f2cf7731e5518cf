// What cannot be sent.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace millrace {

// Throws std::length_error.
inline void check_payload(std::size_t bytes, std::size_t limit) {
  if (bytes <= limit) return;
  throw std::length_error("frame of " + std::to_string(bytes) + " bytes to send, limit " +
                          std::to_string(limit));
}

}  // namespace millrace
