#include <millrace/socket_address.h>

#include "support/random.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <limits>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace millrace::test {
namespace {

using Family = SocketAddress::Family;

TEST(SocketAddress, IsOfNoFamilyByDefault) {
  const SocketAddress none;
  EXPECT_EQ(none.family(), Family::none);
  EXPECT_EQ(none.port(), 0);
  EXPECT_EQ(none.ipv4(), 0u);
  EXPECT_EQ(none.scope(), 0u);
  EXPECT_EQ(none.to_string(), "(none)");
  EXPECT_EQ(none.with_port(80), none);
  EXPECT_EQ(none, SocketAddress());
}

TEST(SocketAddress, ReadsIpv4) {
  const SocketAddress a = SocketAddress::parse("10.1.2.3:7000");
  EXPECT_EQ(a.family(), Family::ipv4);
  EXPECT_EQ(a.port(), 7000);
  EXPECT_EQ(a.ipv4(), 0x0a010203u);
  EXPECT_EQ(a.scope(), 0u);
  EXPECT_EQ(a.host(), "10.1.2.3");
  EXPECT_EQ(a.to_string(), "10.1.2.3:7000");
}

TEST(SocketAddress, ReadsTheSmallestAndTheLargest) {
  EXPECT_EQ(SocketAddress::parse("0.0.0.0:0"), SocketAddress::any(0));
  EXPECT_EQ(SocketAddress::parse("255.255.255.255:65535"), SocketAddress::ipv4(0xffffffff, 65535));
}

TEST(SocketAddress, LocalhostIsTheOneNameThatItKnows) {
  EXPECT_EQ(SocketAddress::parse("localhost:80"), SocketAddress::loopback(80));
}

TEST(SocketAddress, ReadsIpv6) {
  const SocketAddress a = SocketAddress::parse("[2001:db8::1:0:2]:443");
  EXPECT_EQ(a.family(), Family::ipv6);
  EXPECT_EQ(a.port(), 443);
  EXPECT_EQ(a.ipv4(), 0u);
  EXPECT_EQ(a.host(), "2001:db8::1:0:2");
  EXPECT_EQ(a.to_string(), "[2001:db8::1:0:2]:443");
  EXPECT_EQ(SocketAddress::parse("[::1]:5"), SocketAddress::loopback_v6(5));
  EXPECT_EQ(SocketAddress::parse("[::]:0"), SocketAddress::any_v6(0));
}

TEST(SocketAddress, PrintsIpv6InItsShortestForm) {
  EXPECT_EQ(SocketAddress::parse("[0:0:0:0:0:0:0:1]:1").to_string(), "[::1]:1");
  EXPECT_EQ(SocketAddress::parse("[FE80:0::A]:1").to_string(), "[fe80::a]:1");
}

TEST(SocketAddress, KeepsAnIpv4AddressInsideIpv6Apart) {
  const SocketAddress a = SocketAddress::parse("[::ffff:192.0.2.1]:9");
  EXPECT_EQ(a.family(), Family::ipv6);
  EXPECT_EQ(a.ipv4(), 0u);
  EXPECT_EQ(a.to_string(), "[::ffff:192.0.2.1]:9");
  EXPECT_NE(a, SocketAddress::parse("192.0.2.1:9"));
}

TEST(SocketAddress, ReadsAScopeByNameAndByNumber) {
  const unsigned lo = ::if_nametoindex("lo");
  ASSERT_NE(lo, 0u);
  const SocketAddress by_name = SocketAddress::parse("[fe80::1%lo]:7000");
  EXPECT_EQ(by_name.scope(), lo);
  EXPECT_EQ(by_name.host(), "fe80::1%lo");
  EXPECT_EQ(by_name.to_string(), "[fe80::1%lo]:7000");
  EXPECT_EQ(SocketAddress::parse("[fe80::1%" + std::to_string(lo) + "]:7000"), by_name);
  EXPECT_NE(SocketAddress::parse("[fe80::1]:7000"), by_name);
}

TEST(SocketAddress, ReadsTheNumberOfAnInterfaceThatIsNotThere) {
  const SocketAddress a = SocketAddress::parse("[fe80::1%4000000000]:1");
  EXPECT_EQ(a.scope(), 4000000000u);
  EXPECT_EQ(a.to_string(), "[fe80::1%4000000000]:1");
}

std::string long_text(const char* before, std::size_t letters, const char* behind) {
  std::ostringstream text;
  text << before << std::string(letters, 'a') << behind;
  return text.str();
}

TEST(SocketAddress, SaysWhatIsWrongWithAText) {
  const std::string nul("\0", 1);
  const struct {
    std::string text;
    std::string why;
  } cases[] = {
      {"", "it is empty"},
      {":", "the port is missing"},
      {"127.0.0.1", "the port is missing"},
      {"localhost", "the port is missing"},
      {"127.0.0.1:", "the port is missing"},
      {":80", "the host is missing"},
      {"127.0.0.1:65536", "port '65536' is not between 0 and 65535"},
      {"127.0.0.1:99999999999999999999", "is not between 0 and 65535"},
      {"127.0.0.1:-1", "port '-1' is not a number"},
      {"127.0.0.1:+1", "port '+1' is not a number"},
      {"127.0.0.1: 1", "port ' 1' is not a number"},
      {"127.0.0.1:1 ", "port '1 ' is not a number"},
      {"127.0.0.1:http", "port 'http' is not a number"},
      {"127.0.0.1:0x50", "port '0x50' is not a number"},
      {"127.0.0.1:80" + nul, "is not a number"},
      {"127.0.0:80", "'127.0.0' is not a numeric IPv4 address"},
      {"1.2.3.4.5:80", "is not a numeric IPv4 address"},
      {"1.2.3.256:80", "is not a numeric IPv4 address"},
      {"1.2.3.04:80", "is not a numeric IPv4 address"},
      {"0x7f.1:80", "is not a numeric IPv4 address"},
      {"2130706433:80", "is not a numeric IPv4 address"},
      {" 127.0.0.1:80", "is not a numeric IPv4 address"},
      {"127.0.0.1" + nul + ":80", "is not a numeric IPv4 address"},
      {"example.org:80", "'example.org' is not a numeric IPv4 address"},
      {"LOCALHOST:80", "is not a numeric IPv4 address"},
      {long_text("", 255, ":80"), "is not a numeric IPv4 address"},
      {long_text("localhost", 256, ":80"), "is not a numeric IPv4 address"},
      {"::1:80", "an IPv6 address is written in brackets"},
      {"1.2.3.4:5:6", "an IPv6 address is written in brackets"},
      {"fe80::1%lo:80", "an IPv6 address is written in brackets"},
      {"[", "the closing ']' is missing"},
      {"[::1", "the closing ']' is missing"},
      {"[::1:80", "the closing ']' is missing"},
      {"[]", "':PORT' is missing after ']'"},
      {"[::1]", "':PORT' is missing after ']'"},
      {"[::1]80", "':PORT' is missing after ']'"},
      {"[::1] :80", "':PORT' is missing after ']'"},
      {"[::1]:", "the port is missing"},
      {"[::1]:65536", "is not between 0 and 65535"},
      {"[::1]::80", "port ':80' is not a number"},
      {"[]:80", "'' is not an IPv6 address"},
      {"[127.0.0.1]:80", "'127.0.0.1' is not an IPv6 address"},
      {"[localhost]:80", "is not an IPv6 address"},
      {"[::1::]:80", "is not an IPv6 address"},
      {"[12345::]:80", "is not an IPv6 address"},
      {"[1:2:3:4:5:6:7]:80", "is not an IPv6 address"},
      {"[1:2:3:4:5:6:7:8:9]:80", "is not an IPv6 address"},
      {"[ ::1]:80", "is not an IPv6 address"},
      {"[::1" + nul + "]:80", "is not an IPv6 address"},
      {"[%lo]:80", "is not an IPv6 address"},
      {"[[::1]]:80", "':PORT' is missing after ']'"},
      {"[fe80::1%]:80", "the scope after '%' is missing"},
      {"[fe80::1%0]:80", "no network interface '0'"},
      {"[fe80::1%nosuchif]:80", "no network interface 'nosuchif'"},
      {"[fe80::1%lo%lo]:80", "no network interface 'lo%lo'"},
      {"[fe80::1%4294967296]:80", "no network interface '4294967296'"},
      {"[fe80::1%-1]:80", "no network interface '-1'"},
      {long_text("[fe80::1%", 300, "]:80"), "no network interface"},
      {"unix:", "the path is missing"},
      {"UNIX:/x", "port '/x' is not a number"},
      {"unix:/a" + nul + "b", "holds a NUL"},
      {"unix:/a\\00b", "holds a NUL"},
      {"unix:\\", "a backslash stands before two hexadecimal digits"},
      {"unix:\\4", "a backslash stands before two hexadecimal digits"},
      {"unix:@\\4g", "a backslash stands before two hexadecimal digits"},
      {"unix:@\\-1", "a backslash stands before two hexadecimal digits"},
      {long_text("unix:/", 107, ""), "of a Unix socket is longer than 107 bytes"},
      {long_text("unix:@", 108, ""), "of a Unix socket is longer than 107 bytes"},
  };
  for (const auto& [text, why] : cases) {
    std::string said = "nothing";
    EXPECT_FALSE(SocketAddress::try_parse(text, &said)) << text;
    EXPECT_NE(said.find(why), std::string::npos) << "of '" << text << "' it said: " << said;
    EXPECT_FALSE(SocketAddress::try_parse(text)) << text;
  }
}

TEST(SocketAddress, ParseThrowsWithTheAddressAndWhatIsWrong) {
  try {
    SocketAddress::parse("example.org:80");
    FAIL() << "nothing thrown";
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), std::errc::invalid_argument);
    EXPECT_STREQ(e.what(),
                 "bad address 'example.org:80': 'example.org' is not a numeric IPv4 address: "
                 "Invalid argument");
  }
}

TEST(SocketAddress, TryParseLeavesTheReasonAloneOnSuccess) {
  std::string why = "untouched";
  EXPECT_TRUE(SocketAddress::try_parse("127.0.0.1:80", &why));
  EXPECT_EQ(why, "untouched");
}

TEST(SocketAddress, MakesTheAddressesThatEverybodyNeeds) {
  EXPECT_EQ(SocketAddress::loopback(1).to_string(), "127.0.0.1:1");
  EXPECT_EQ(SocketAddress::any(2).to_string(), "0.0.0.0:2");
  EXPECT_EQ(SocketAddress::ipv4(0x01020304, 3).to_string(), "1.2.3.4:3");
  EXPECT_EQ(SocketAddress::loopback_v6(4).to_string(), "[::1]:4");
  EXPECT_EQ(SocketAddress::any_v6(5).to_string(), "[::]:5");
}

TEST(SocketAddress, ChangesThePortOfACopyOnly) {
  for (const char* text : {"1.2.3.4:5", "[::1]:5", "[fe80::1%lo]:5"}) {
    const SocketAddress a = SocketAddress::parse(text);
    const SocketAddress b = a.with_port(60000);
    EXPECT_EQ(b.port(), 60000);
    EXPECT_EQ(b.host(), a.host());
    EXPECT_EQ(a.port(), 5);
    EXPECT_NE(a, b);
    EXPECT_EQ(b.with_port(5), a);
  }
}

TEST(SocketAddress, ReadsThePathOfAUnixSocket) {
  for (const char* path : {"/run/x.sock", "x", "./a b:c", "a@b", "unix:"}) {
    const SocketAddress a = SocketAddress::parse(std::string("unix:") + path);
    EXPECT_EQ(a.family(), Family::unix_domain);
    EXPECT_EQ(a.path(), path);
    EXPECT_EQ(a.abstract_name(), "");
    EXPECT_EQ(a.port(), 0);
    EXPECT_EQ(a.with_port(80), a);
    EXPECT_EQ(a.host(), path);
    EXPECT_EQ(a.to_string(), std::string("unix:") + path);
    EXPECT_EQ(a, SocketAddress::unix_path(path));
  }
}

TEST(SocketAddress, ReadsTheAbstractNameOfAUnixSocket) {
  const SocketAddress a = SocketAddress::parse("unix:@broker");
  EXPECT_EQ(a.family(), Family::unix_domain);
  EXPECT_EQ(a.abstract_name(), "broker");
  EXPECT_EQ(a.path(), "");
  EXPECT_EQ(a.to_string(), "unix:@broker");
  EXPECT_EQ(a, SocketAddress::unix_abstract("broker"));
  EXPECT_NE(a, SocketAddress::unix_path("broker"));
  EXPECT_NE(a, SocketAddress::unix_abstract(std::string("broker\0", 7)));
}

TEST(SocketAddress, AUnixSocketWithoutANameHasOneThatSaysSo) {
  const SocketAddress a = SocketAddress::parse("unix:@");
  EXPECT_EQ(a.family(), Family::unix_domain);
  EXPECT_EQ(a.path(), "");
  EXPECT_EQ(a.abstract_name(), "");
  EXPECT_EQ(a.native_size(), sizeof(sa_family_t));
  EXPECT_EQ(a.to_string(), "unix:@");
  EXPECT_EQ(a, SocketAddress::unix_abstract({}));
  EXPECT_NE(a, SocketAddress());
}

TEST(SocketAddress, WritesBytesThatCannotBeSeenAsHexadecimalDigits) {
  const std::string name("a\0b\n\\\x7f", 6);
  const SocketAddress a = SocketAddress::unix_abstract(name);
  EXPECT_EQ(a.abstract_name(), name);
  EXPECT_EQ(a.to_string(), "unix:@a\\00b\\0a\\5c\\7f");
  EXPECT_EQ(SocketAddress::parse(a.to_string()), a);
  EXPECT_EQ(SocketAddress::parse("unix:@\\2F").abstract_name(), "/");
  const SocketAddress b = SocketAddress::unix_path("@x\n@");
  EXPECT_EQ(b.to_string(), "unix:\\40x\\0a@") << "or it would be read as an abstract name";
  EXPECT_EQ(SocketAddress::parse(b.to_string()), b);
}

TEST(SocketAddress, RefusesANameOfAUnixSocketThatItWouldHaveToChange) {
  const auto refusal = [](auto&& make) -> std::string {
    try {
      make();
    } catch (const std::system_error& e) {
      return e.what();
    }
    return "nothing thrown";
  };
  const std::string fits(107, 'x');
  EXPECT_EQ(SocketAddress::unix_path(fits).path(), fits);
  EXPECT_EQ(SocketAddress::unix_abstract(fits).abstract_name(), fits);
  EXPECT_EQ(refusal([&] { SocketAddress::unix_path(fits + "y"); }),
            "path '" + fits + "y' of a Unix socket is longer than 107 bytes: File name too long");
  EXPECT_EQ(refusal([&] { SocketAddress::unix_abstract(fits + "y"); }),
            "abstract name '" + fits +
                "y' of a Unix socket is longer than 107 bytes: File name too long");
  EXPECT_EQ(refusal([] { SocketAddress::unix_path(""); }),
            "path '' of a Unix socket is empty: Invalid argument");
  EXPECT_EQ(refusal([] { SocketAddress::unix_path(std::string_view("a\0b", 3)); }),
            "path 'a\\00b' of a Unix socket holds a NUL: Invalid argument");
}

TEST(SocketAddress, IsWrittenToAStreamAsItIsParsed) {
  std::ostringstream out;
  out << SocketAddress::loopback(80) << ' ' << SocketAddress::any_v6(1) << ' ' << SocketAddress();
  EXPECT_EQ(out.str(), "127.0.0.1:80 [::]:1 (none)");
}

TEST(SocketAddress, IsWhatTheKernelTakesAndGives) {
  for (const SocketAddress& a : {SocketAddress::loopback(0), SocketAddress::loopback_v6(0)}) {
    const int fd = ::socket(a.native()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::bind(fd, a.native(), a.native_size()), 0) << std::strerror(errno);
    unsigned char native[SocketAddress::kNativeBytes];
    socklen_t size = sizeof native;
    ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(native), &size), 0);
    const SocketAddress bound = SocketAddress::from_native(native, size);
    EXPECT_EQ(bound.with_port(0), a);
    EXPECT_NE(bound.port(), 0);
    EXPECT_EQ(size, a.native_size());
    ::close(fd);
  }
}

TEST(SocketAddress, AUnixNameIsWhatTheKernelTakesAndGives) {
  const std::string directory = ::testing::TempDir() + "millrace_address";
  const std::string path = directory + std::to_string(::getpid());
  for (const SocketAddress& a :
       {SocketAddress::unix_path(path), SocketAddress::unix_abstract(path),
        SocketAddress::unix_abstract(std::string("\0a\0", 3) + std::to_string(::getpid()))}) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::bind(fd, a.native(), a.native_size()), 0) << std::strerror(errno);
    unsigned char native[SocketAddress::kNativeBytes];
    socklen_t size = sizeof native;
    ASSERT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(native), &size), 0);
    EXPECT_EQ(SocketAddress::from_native(native, size), a);
    ::close(fd);
  }
  ::unlink(path.c_str());
}

TEST(SocketAddress, TakesAPathWithWhateverLiesBehindItsNul) {
  sockaddr_un native;
  std::memset(&native, 0xee, sizeof native);
  native.sun_family = AF_UNIX;
  std::strcpy(native.sun_path, "/x");
  const SocketAddress expected = SocketAddress::unix_path("/x");
  EXPECT_EQ(SocketAddress::from_native(&native, sizeof native), expected);
  EXPECT_EQ(SocketAddress::from_native(&native, offsetof(sockaddr_un, sun_path) + 2), expected);
  EXPECT_EQ(SocketAddress::from_native(expected.native(), expected.native_size()), expected);
}

TEST(SocketAddress, APathThatFillsAllOfItsRoomNeedsNoNul) {
  // The kernel says one byte more than it had room for.
  sockaddr_un native{};
  native.sun_family = AF_UNIX;
  std::memset(native.sun_path, 'x', sizeof native.sun_path);
  const SocketAddress a = SocketAddress::from_native(&native, sizeof native + 1);
  EXPECT_EQ(a.path(), std::string(108, 'x'));
  EXPECT_EQ(SocketAddress::from_native(a.native(), a.native_size()), a);
}

TEST(SocketAddress, IgnoresWhatIsNoPartOfAnAddress) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(80);
  v4.sin_addr.s_addr = htonl(0x7f000001);
  std::memset(v4.sin_zero, 0xff, sizeof v4.sin_zero);
  EXPECT_EQ(SocketAddress::from_native(&v4, sizeof v4), SocketAddress::loopback(80));
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(80);
  v6.sin6_addr = in6addr_loopback;
  v6.sin6_flowinfo = 77;
  EXPECT_EQ(SocketAddress::from_native(&v6, sizeof v6), SocketAddress::loopback_v6(80));
}

TEST(SocketAddress, OfWhatItDoesNotKnowIsOfNoFamily) {
  sockaddr_storage other{};
  other.ss_family = AF_NETLINK;
  EXPECT_EQ(SocketAddress::from_native(&other, sizeof other), SocketAddress());
  const SocketAddress known = SocketAddress::loopback_v6(80);
  for (std::size_t size = 0; size < known.native_size(); ++size) {
    EXPECT_EQ(SocketAddress::from_native(known.native(), size), SocketAddress()) << size;
  }
  EXPECT_EQ(SocketAddress::from_native(nullptr, 0), SocketAddress());
}

TEST(SocketAddress, ComparesFamilyAddressPortAndScope) {
  const char* texts[] = {"1.2.3.4:5",
                         "1.2.3.4:6",
                         "1.2.3.5:5",
                         "[::1]:5",
                         "[::1]:6",
                         "[::2]:5",
                         "[fe80::1]:5",
                         "[fe80::1%lo]:5",
                         "0.0.0.0:0",
                         "[::]:0",
                         "[::ffff:1.2.3.4]:5",
                         "unix:/a",
                         "unix:/ab",
                         "unix:@/a",
                         "unix:@",
                         "unix:a"};
  std::vector<SocketAddress> all{SocketAddress()};
  for (const char* text : texts) all.push_back(SocketAddress::parse(text));
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < all.size(); ++j) {
      EXPECT_EQ(all[i] == all[j], i == j) << all[i] << " and " << all[j];
    }
  }
}

SocketAddress random_address(Random& random) {
  if (random.one_in(4)) {
    std::string name = random.bytes(1 + random.below(107));
    if (random.one_in(2)) return SocketAddress::unix_abstract(name);
    std::replace(name.begin(), name.end(), '\0', '@');
    return SocketAddress::unix_path(name);
  }
  if (random.one_in(2)) {
    return SocketAddress::ipv4(static_cast<std::uint32_t>(random.bits()),
                               static_cast<std::uint16_t>(random.bits()));
  }
  sockaddr_in6 native{};
  native.sin6_family = AF_INET6;
  native.sin6_port = static_cast<in_port_t>(random.bits());
  // Runs of zeros, as addresses have them, and a v4 address at the end at times.
  for (unsigned char& byte : native.sin6_addr.s6_addr) {
    byte = random.one_in(2) ? 0 : static_cast<unsigned char>(random.bits());
  }
  if (random.one_in(8)) {
    std::memset(native.sin6_addr.s6_addr, 0, 10);
    std::memset(native.sin6_addr.s6_addr + 10, random.one_in(2) ? 0xff : 0, 2);
  }
  if (random.one_in(4)) native.sin6_scope_id = static_cast<std::uint32_t>(random.bits());
  return SocketAddress::from_native(&native, sizeof native);
}

TEST(SocketAddress, RandomAddressesComeBackFromTheirTextAndFromTheirNativeForm) {
  Random random(1);
  for (int i = 0; i < 20'000; ++i) {
    const SocketAddress a = random_address(random);
    std::string why;
    const auto parsed = SocketAddress::try_parse(a.to_string(), &why);
    ASSERT_TRUE(parsed) << a << ": " << why;
    ASSERT_EQ(*parsed, a);
    ASSERT_EQ(SocketAddress::from_native(a.native(), a.native_size()), a);
  }
}

// What is accepted means what it says: printed and parsed again, it is the same address; and for
// IPv4 the text of the host is the same, too.
void expect_refused_or_meant(const std::string& text) {
  const auto address = SocketAddress::try_parse(text);
  if (!address) return;
  const auto again = SocketAddress::try_parse(address->to_string());
  ASSERT_TRUE(again) << text;
  ASSERT_EQ(*again, *address) << text;
  if (address->family() == Family::ipv4 && text.rfind("localhost:", 0) != 0) {
    ASSERT_EQ(text.substr(0, text.find(':')), address->host());
  }
}

TEST(SocketAddress, RandomGarbageIsRefused) {
  Random random(2);
  for (int i = 0; i < 20'000; ++i) expect_refused_or_meant(random.bytes(random.below(40)));
}

TEST(SocketAddress, WhatLooksLikeAnAddressIsRefusedOrMeansWhatItSays) {
  const std::string letters = "0123456789abcdefF:.[]%- lounix:@\\/";
  Random random(3);
  for (int i = 0; i < 50'000; ++i) {
    std::string text;
    for (std::size_t n = random.below(24); n > 0; --n)
      text += letters[random.below(letters.size())];
    expect_refused_or_meant(text);
  }
}

TEST(SocketAddress, AGoodAddressWithOneWrongByteIsRefusedOrMeansWhatItSays) {
  Random random(4);
  for (int i = 0; i < 50'000; ++i) {
    std::string text = random_address(random).to_string();
    const std::size_t at = random.below(text.size());
    const auto byte = static_cast<char>(random.bits());
    switch (random.below(3)) {
      case 0:
        text[at] = byte;
        break;
      case 1:
        text.insert(at, 1, byte);
        break;
      default:
        text.erase(at, 1);
        break;
    }
    expect_refused_or_meant(text);
  }
}

}  // namespace
}  // namespace millrace::test
