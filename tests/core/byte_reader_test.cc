#include <millrace/byte_reader.h>

#include <cstdint>
#include <string>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

TEST(ByteReader, ReadsWhatIsThereInItsOrder) {
  const std::string bytes("\x07\x01\x02\x01\x02\x03\x04nametext", 15);
  ByteReader in(bytes);
  EXPECT_EQ(in.get<std::uint8_t>(), 7u);
  EXPECT_EQ(in.get<std::uint16_t>(ByteOrder::little), 0x0201u);
  EXPECT_EQ(in.get<std::uint32_t>(ByteOrder::big), 0x01020304u);
  EXPECT_EQ(in.take(4).text(), "name");
  EXPECT_EQ(in.left(), 4u);
  EXPECT_EQ(in.rest().text(), "text");
  EXPECT_EQ(in.rest().text(), "");
  EXPECT_EQ(in.take(0).text(), "");
  EXPECT_EQ(in.left(), 0u);
  EXPECT_TRUE(in.ok());
}

TEST(ByteReader, StaysFailedAfterAReadPastTheEnd) {
  for (std::size_t n = 0; n < 8; ++n) {
    const std::string bytes(n, 'x');
    ByteReader in(bytes);
    EXPECT_EQ(in.get<std::uint64_t>(ByteOrder::big), 0u) << n;
    EXPECT_FALSE(in.ok()) << n;
    EXPECT_EQ(in.get<std::uint8_t>(), 0u) << "no part of it is read by the next one";
    EXPECT_EQ(in.take(0).size() + in.take(1).size() + in.rest().size() + in.left(), 0u) << n;
    EXPECT_FALSE(in.ok()) << n;
  }
}

TEST(ByteReader, GivesViewsAllOrNone) {
  ByteReader in("abc");
  EXPECT_EQ(in.take(2).text(), "ab");
  EXPECT_EQ(in.take(2).text(), "");
  EXPECT_FALSE(in.ok());
  ByteReader huge("abc");
  EXPECT_EQ(huge.take(SIZE_MAX).text(), "");
  EXPECT_FALSE(huge.ok());
  ByteReader nothing{ByteView()};
  EXPECT_EQ(nothing.rest().size(), 0u);
  EXPECT_TRUE(nothing.ok());
}

}  // namespace
}  // namespace millrace::test
