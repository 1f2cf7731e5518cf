#include <gtest/gtest.h>
#include <millrace/length_prefix.h>

namespace millrace {
namespace {

TEST(LengthPrefix, CutsAFrameOffTheFront) {
  const LengthPrefix framing;
  const Decoded decoded = framing.decode(std::string_view("\0\0\0\3abcxyz", 10));
  EXPECT_EQ(decoded.status, Decoded::frame_ready);
  EXPECT_EQ(decoded.frame.text(), "abc");
  EXPECT_EQ(decoded.consumed, 7u);
}

}  // namespace
}  // namespace millrace
