// Integers to and from bytes in a stated byte order, at any alignment. Plain functions without
// state; any thread.
//
//   std::uint32_t length = load<std::uint32_t>(bytes.data(), ByteOrder::big);
//   store(header, std::uint16_t{80}, ByteOrder::little);
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace millrace {

enum class ByteOrder : std::uint8_t { big, little };  // big is network order

inline constexpr ByteOrder kHostOrder =
    std::endian::native == std::endian::big ? ByteOrder::big : ByteOrder::little;

template <std::unsigned_integral T>
constexpr T byte_swap(T value) noexcept {
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
  return value;
}

// Reads sizeof(T) bytes at `from`.
template <std::unsigned_integral T>
T load(const std::byte* from, ByteOrder order) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return order == kHostOrder ? value : byte_swap(value);
}

// Writes sizeof(T) bytes at `to`.
template <std::unsigned_integral T>
void store(std::byte* to, T value, ByteOrder order) noexcept {
  if (order != kHostOrder) value = byte_swap(value);
  std::memcpy(to, &value, sizeof value);
}

}  // namespace millrace
