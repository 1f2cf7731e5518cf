#include <millrace/byte_order.h>
#include <millrace/bytes.h>

#include "support/random.h"

#include <array>
#include <cstdint>
#include <string>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

template <class T>
std::string stored(T value, ByteOrder order) {
  std::array<std::byte, sizeof(T)> bytes;
  store(bytes.data(), value, order);
  return std::string(ByteView(bytes).text());
}

template <class T>
T loaded(const std::string& bytes, ByteOrder order) {
  return load<T>(ByteView(bytes).data(), order);
}

TEST(ByteOrder, BigPutsTheMostSignificantByteFirst) {
  EXPECT_EQ(stored(std::uint8_t{0xab}, ByteOrder::big), "\xab");
  EXPECT_EQ(stored(std::uint16_t{0x0102}, ByteOrder::big), "\x01\x02");
  EXPECT_EQ(stored(std::uint32_t{0x01020304}, ByteOrder::big), "\x01\x02\x03\x04");
  EXPECT_EQ(stored(std::uint64_t{0x0102030405060708}, ByteOrder::big),
            "\x01\x02\x03\x04\x05\x06\x07\x08");
}

TEST(ByteOrder, LittlePutsTheLeastSignificantByteFirst) {
  EXPECT_EQ(stored(std::uint8_t{0xab}, ByteOrder::little), "\xab");
  EXPECT_EQ(stored(std::uint16_t{0x0102}, ByteOrder::little), "\x02\x01");
  EXPECT_EQ(stored(std::uint32_t{0x01020304}, ByteOrder::little), "\x04\x03\x02\x01");
  EXPECT_EQ(stored(std::uint64_t{0x0102030405060708}, ByteOrder::little),
            "\x08\x07\x06\x05\x04\x03\x02\x01");
}

TEST(ByteOrder, LoadReadsWhatOthersHaveWritten) {
  EXPECT_EQ(loaded<std::uint8_t>("\xff", ByteOrder::big), 0xff);
  EXPECT_EQ(loaded<std::uint16_t>("\xff\xfe", ByteOrder::big), 0xfffe);
  EXPECT_EQ(loaded<std::uint16_t>("\xff\xfe", ByteOrder::little), 0xfeff);
  EXPECT_EQ(loaded<std::uint32_t>("\x80\x01\x02\x03", ByteOrder::big), 0x80010203u);
  EXPECT_EQ(loaded<std::uint32_t>("\x80\x01\x02\x03", ByteOrder::little), 0x03020180u);
  EXPECT_EQ(loaded<std::uint64_t>("\xff\x01\x02\x03\x04\x05\x06\x80", ByteOrder::big),
            0xff01020304050680u);
  EXPECT_EQ(loaded<std::uint64_t>("\xff\x01\x02\x03\x04\x05\x06\x80", ByteOrder::little),
            0x80060504030201ffu);
}

TEST(ByteOrder, SwapsBytesAtCompileTime) {
  static_assert(byte_swap(std::uint8_t{0x12}) == 0x12);
  static_assert(byte_swap(std::uint16_t{0x1234}) == 0x3412);
  static_assert(byte_swap(std::uint32_t{0x12345678}) == 0x78563412);
  static_assert(byte_swap(std::uint64_t{0x123456789abcdef0}) == 0xf0debc9a78563412);
  std::uint32_t host = 0x01020304;
  EXPECT_EQ(stored(host, kHostOrder)[0], *reinterpret_cast<const char*>(&host));
}

// At each of eight alignments, and without touching what lies beside.
template <class T>
void comes_back_unchanged_at_any_alignment() {
  Random random(sizeof(T));
  for (int round = 0; round < 1000; ++round) {
    const auto value = static_cast<T>(random.bits());
    const auto order = random.one_in(2) ? ByteOrder::big : ByteOrder::little;
    const std::size_t at = 1 + random.below(8);
    std::array<std::byte, 24> bytes;
    bytes.fill(std::byte{0x5a});
    store(bytes.data() + at, value, order);
    EXPECT_EQ(load<T>(bytes.data() + at, order), value);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (i >= at && i < at + sizeof(T)) continue;
      EXPECT_EQ(bytes[i], std::byte{0x5a}) << i;
    }
  }
}

TEST(ByteOrder, WhatIsStoredComesBackUnchangedAtAnyAlignment) {
  comes_back_unchanged_at_any_alignment<std::uint8_t>();
  comes_back_unchanged_at_any_alignment<std::uint16_t>();
  comes_back_unchanged_at_any_alignment<std::uint32_t>();
  comes_back_unchanged_at_any_alignment<std::uint64_t>();
}

}  // namespace
}  // namespace millrace::test
