// Payload is what the load tool sends and expects back: each message of each connection has content
// of its own, cut from one random table, so that a byte that is lost, doubled, changed or sent to
// the wrong connection shows. Immutable; any thread.
#pragma once

#include <millrace/bytes.h>

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace millrace::bench {

class Payload {
 public:
  explicit Payload(std::size_t message_bytes)
      : message_bytes_(message_bytes), table_(message_bytes + kVariants) {
    std::mt19937_64 random(20'260'101);  // any fixed seed: runs can be compared
    for (auto& byte : table_) byte = static_cast<std::byte>(random());
  }

  std::size_t message_bytes() const noexcept { return message_bytes_; }
  ByteView message(std::uint64_t connection, std::uint64_t number) const noexcept {
    const std::size_t variant = (connection * 2'654'435'761u + number * 97) % kVariants;
    return {table_.data() + variant, message_bytes_};
  }

 private:
  static constexpr std::size_t kVariants = 4096;
  std::size_t message_bytes_;
  std::vector<std::byte> table_;
};

}  // namespace millrace::bench
