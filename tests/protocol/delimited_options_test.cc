#include <millrace/delimited.h>
#include <millrace/framing.h>

#include <string>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

// Whether it compiles is the question: GCC 12 has taken some of these braces for a string.
TEST(DelimitedOptionsTest, OptionsInBracesAreNoDelimiterWhicheverAreGiven) {
  EXPECT_EQ(Framing(Delimited("|")).encode("a"), "a|");
  EXPECT_EQ(Framing(Delimited(std::string("||"))).encode("a"), "a||");
  EXPECT_EQ(Framing(Delimited({.delimiters = {"|"}})).encode("a"), "a|");
  EXPECT_EQ(Framing(Delimited({.delimiters = {";", "||"}})).encode("a"), "a;");
  EXPECT_EQ(Framing(Delimited({.delimiters = {"|"}, .keep_delimiter = true})).encode("a|"), "a|");
  EXPECT_EQ(Framing(Delimited({.delimiters = {"|"}, .max_frame_bytes = 1})).encode("a"), "a|");
}

}  // namespace
}  // namespace millrace::test
