#include "host_name.h"

#include <string>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

std::string name_of_length(std::size_t n) {
  std::string name;
  while (name.size() < n) name += name.size() % 64 == 63 ? '.' : 'a';
  return name;
}

TEST(HostName, IsMadeOfLettersDigitsHyphensUnderscoresAndDots) {
  for (const char* name :
       {"a", "example.org", "EXAMPLE.Org", "a.b.c.d", "xn--bcher-kva.example", "_sip._tcp.example",
        "my_host", "3com.com", "1.2.3.example", "a-b", "0x7f000001", "2001-db8"}) {
    EXPECT_TRUE(is_host_name(name)) << name;
  }
}

TEST(HostName, MayEndInOneDot) {
  EXPECT_TRUE(is_host_name("example.org."));
  EXPECT_FALSE(is_host_name("example.org.."));
}

TEST(HostName, HasNoEmptyLabel) {
  for (const char* name : {"", ".", "..", ".a", "a..b", "a.b.."}) {
    EXPECT_FALSE(is_host_name(name)) << "'" << name << "'";
  }
}

TEST(HostName, HasNoOtherCharacter) {
  using namespace std::string_view_literals;
  for (const std::string_view name :
       {"a b"sv, " a"sv, "a "sv, "a\tb"sv, "a\nb"sv, "a\0b"sv, "a\0"sv, "\0"sv, "a/b"sv, "a:b"sv,
        "a\\b"sv, "a%b"sv, "a@b"sv, "[a]"sv, "a,b"sv,
        "b\xc3\xbc"
        "cher"sv,
        "a\x7f"sv, "a*"sv}) {
    EXPECT_FALSE(is_host_name(name)) << name;
  }
}

TEST(HostName, EachByteIsTakenOrRefusedWhereverItStands) {
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const bool good = (byte < 128 && std::isalnum(byte)) || c == '-' || c == '_';
    EXPECT_EQ(is_host_name(std::string{'a', c, 'b'}), good || c == '.') << byte;
    EXPECT_EQ(is_host_name(std::string{c, 'b'}), good) << byte;
    EXPECT_EQ(is_host_name(std::string{'a', c}), good || c == '.') << byte;
  }
}

TEST(HostName, LabelsHaveUpTo63Bytes) {
  EXPECT_TRUE(is_host_name(std::string(63, 'a') + ".b"));
  EXPECT_FALSE(is_host_name(std::string(64, 'a') + ".b"));
  EXPECT_FALSE(is_host_name("b." + std::string(64, 'a')));
}

TEST(HostName, HasUpTo253BytesWithoutTheLastDot) {
  EXPECT_TRUE(is_host_name(name_of_length(253)));
  EXPECT_TRUE(is_host_name(name_of_length(253) + '.'));
  for (const std::size_t n : {254u, 255u, 256u, 257u, 300u, 1024u, 65'536u + 10u}) {
    EXPECT_FALSE(is_host_name(name_of_length(n))) << n;
  }
}

TEST(HostName, AMistypedAddressIsNone) {
  for (const char* name :
       {"127.1", "1", "256.1.1.1", "1.2.3.4.5", "010.0.0.1", "1.2.3.4.", "a.1"}) {
    EXPECT_FALSE(is_host_name(name)) << name;
  }
}

TEST(HostName, LocalhostIsKnownInAnyCaseAndAllBelowIt) {
  for (const char* name :
       {"localhost", "LocalHost", "localhost.", "a.localhost", "a.b.LOCALHOST."}) {
    EXPECT_TRUE(is_localhost(name)) << name;
  }
  for (const char* name :
       {"", ".", "notlocalhost", "localhost.org", "localhos", "localhost..", "ocalhost"}) {
    EXPECT_FALSE(is_localhost(name)) << name;
  }
}

TEST(NumericHost, IsAnAddressWithoutBrackets) {
  EXPECT_EQ(numeric_host("192.0.2.1", 7)->to_string(), "192.0.2.1:7");
  EXPECT_EQ(numeric_host("2001:db8::1", 7)->to_string(), "[2001:db8::1]:7");
  EXPECT_EQ(numeric_host("::", 0)->to_string(), "[::]:0");
}

TEST(NumericHost, KeepsAScope) {
  const auto address = numeric_host("fe80::1%lo", 7);
  ASSERT_TRUE(address);
  EXPECT_EQ(address->to_string(), "[fe80::1%lo]:7");
  EXPECT_EQ(address->scope(), 1u);
}

TEST(NumericHost, IsNothingThatOnlyLooksLikeOne) {
  using namespace std::string_view_literals;
  for (const std::string_view text :
       {""sv,          "[::1]"sv,         "::1]:5"sv,    "[::1"sv,
        "1.2.3"sv,     "127.1"sv,         "1.2.3.4.5"sv, "256.0.0.1"sv,
        "010.0.0.1"sv, "0x7f.0.0.1"sv,    "1.2.3.4:5"sv, "1.2.3.4 "sv,
        "1.2.3.4\0"sv, "localhost"sv,     "::1%"sv,      "::1%nosuchinterface"sv,
        ":::"sv,       "fe80::1%lo%lo"sv, "::1\0"sv,     ":"sv,
        "unix"sv,      "unix:/x"sv}) {
    EXPECT_FALSE(numeric_host(text, 7)) << text;
  }
}

}  // namespace
}  // namespace millrace::test
