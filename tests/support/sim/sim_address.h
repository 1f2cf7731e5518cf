// SimAddress is an address as the socket calls give and take it: IPv4, IPv6 or the name of a Unix
// socket. A value.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include <sys/socket.h>

namespace millrace::test {

struct SimAddress {
  sockaddr_storage native = {};
  socklen_t size = 0;

  SimAddress() = default;
  // A path loses what follows its end, and gets its NUL.
  SimAddress(const sockaddr* from, socklen_t n);
  // The wildcard address, or no name.
  static SimAddress any(int domain);
  static SimAddress loopback(int domain);
  static SimAddress abstract(const std::string& name);

  int family() const { return native.ss_family; }
  // Of IP addresses.
  std::uint16_t port() const;
  void set_port(std::uint16_t port);
  bool any_host() const;
  bool multicast() const;
  bool same_host(const SimAddress& other) const;
  bool same(const SimAddress& other) const { return same_host(other) && port() == other.port(); }
  // ::ffff:a.b.c.d is a.b.c.d, and the other way round; others stay.
  SimAddress unmapped() const;
  SimAddress mapped() const;

  // Of Unix addresses: as the kernel compares them; an abstract name begins with NUL. Empty: none.
  std::string name() const;
  bool is_path() const;

  void copy_to(sockaddr* to, socklen_t* n) const;
};

}  // namespace millrace::test
