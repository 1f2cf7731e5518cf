// crc32c() is the CRC of Castagnoli, as iSCSI, ext4 and Kafka use it: it finds every error of up to
// three bits in a frame of any sensible size, and all but one in four billion others; it is no
// protection against people. A plain function; any thread.
//
//   crc32c("123456789") == 0xe3069283
#pragma once

#include <millrace/bytes.h>

#include <cstdint>

namespace millrace {

// With `before`: of those bytes and then these, where `before` is the CRC of those.
std::uint32_t crc32c(ByteView bytes, std::uint32_t before = 0) noexcept;

// The same without the processor's instruction, which the other one uses where there is one.
std::uint32_t crc32c_portable(ByteView bytes, std::uint32_t before = 0) noexcept;

}  // namespace millrace
