// SocketAddress is an IPv4 or IPv6 address with a port, or the name of a Unix socket: a value,
// cheap to copy, any thread.
//
//   SocketAddress a = SocketAddress::parse("127.0.0.1:7000");
//   SocketAddress b = SocketAddress::parse("[fe80::1%eth0]:7000");   // with a scope
//   SocketAddress c = SocketAddress::parse("unix:/run/x.sock");      // a path
//   SocketAddress d = SocketAddress::parse("unix:@x");               // an abstract name, no file
//   std::cout << b.to_string();                                      // as it can be parsed again
//
// Names of hosts are not looked up here, but for `localhost`, which is 127.0.0.1.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>

struct sockaddr;

namespace millrace {

class SocketAddress {
 public:
  enum class Family : std::uint8_t { none, ipv4, ipv6, unix_domain };

  SocketAddress() noexcept = default;  // Family::none

  // `HOST:PORT` with a numeric IPv4 host or `localhost`; `[IPV6]:PORT`, where IPV6 may carry a
  // scope: `%` and the name or number of an interface; `unix:PATH` with an absolute or relative
  // path; `unix:@NAME` with an abstract name, in which a backslash and two hexadecimal digits stand
  // for a byte. Throws std::system_error (EINVAL) whose text shows the address and says what is
  // wrong with it.
  static SocketAddress parse(std::string_view text);
  // The same without exceptions; on failure `why` (if given) says what is wrong.
  static std::optional<SocketAddress> try_parse(std::string_view text, std::string* why = nullptr);

  static SocketAddress loopback(std::uint16_t port) noexcept;  // 127.0.0.1
  static SocketAddress any(std::uint16_t port) noexcept;       // 0.0.0.0
  static SocketAddress ipv4(std::uint32_t host_order, std::uint16_t port) noexcept;
  static SocketAddress loopback_v6(std::uint16_t port) noexcept;
  static SocketAddress any_v6(std::uint16_t port) noexcept;
  // Throw std::system_error naming the limit: EINVAL for what is empty or holds a NUL, ENAMETOOLONG
  // for a path of more than 107 bytes.
  static SocketAddress unix_path(std::string_view path);
  // Any bytes, 107 at the most. An empty name is none: the kernel gives one to who binds it.
  static SocketAddress unix_abstract(std::string_view name);

  Family family() const noexcept;
  std::uint16_t port() const noexcept;  // 0 for a Unix socket
  // The same for families without ports.
  SocketAddress with_port(std::uint16_t port) const noexcept;
  std::uint32_t ipv4() const noexcept;   // in host order; 0 for other families
  std::uint32_t scope() const noexcept;  // interface index of an IPv6 address, 0: none
  // Of a Unix socket, pointing into this object; empty for what has none. A socket that was not
  // bound has neither.
  std::string_view path() const noexcept;
  std::string_view abstract_name() const noexcept;
  // Without the port and without brackets; of a Unix socket what follows `unix:`.
  std::string host() const;
  // What parse() takes; "(none)" for Family::none.
  std::string to_string() const;

  friend bool operator==(const SocketAddress& a, const SocketAddress& b) noexcept;
  friend std::ostream& operator<<(std::ostream& out, const SocketAddress& address);

  // For system calls: room for what the kernel writes, and what was written. Addresses of families
  // that this type does not know become Family::none.
  static constexpr std::size_t kNativeBytes = 110;
  const ::sockaddr* native() const noexcept;
  std::uint32_t native_size() const noexcept;
  static SocketAddress from_native(const void* native, std::size_t size) noexcept;

 private:
  alignas(4) unsigned char native_[kNativeBytes] = {};  // sockaddr_in, sockaddr_in6 or sockaddr_un
  std::uint16_t native_size_ = 0;
};

}  // namespace millrace
