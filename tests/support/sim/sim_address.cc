#include "support/sim/sim_address.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <netinet/in.h>
#include <sys/un.h>

namespace millrace::test {
namespace {

constexpr auto kPathAt = offsetof(sockaddr_un, sun_path);

sockaddr_in& v4(SimAddress& address) {
  return reinterpret_cast<sockaddr_in&>(address.native);
}
const sockaddr_in& v4(const SimAddress& address) {
  return reinterpret_cast<const sockaddr_in&>(address.native);
}
sockaddr_in6& v6(SimAddress& address) {
  return reinterpret_cast<sockaddr_in6&>(address.native);
}
const sockaddr_in6& v6(const SimAddress& address) {
  return reinterpret_cast<const sockaddr_in6&>(address.native);
}

}  // namespace

SimAddress::SimAddress(const sockaddr* from, socklen_t n)
    : size(std::min<socklen_t>(n, sizeof native)) {
  if (size > 0) std::memcpy(&native, from, size);
  if (!is_path()) return;
  const auto* path = reinterpret_cast<const sockaddr_un&>(native).sun_path;
  size = static_cast<socklen_t>(kPathAt + ::strnlen(path, size - kPathAt) + 1);
}

SimAddress SimAddress::any(int domain) {
  SimAddress made;
  made.native.ss_family = static_cast<sa_family_t>(domain);
  made.size = domain == AF_INET    ? sizeof(sockaddr_in)
              : domain == AF_INET6 ? sizeof(sockaddr_in6)
                                   : sizeof(sa_family_t);
  return made;
}

SimAddress SimAddress::loopback(int domain) {
  SimAddress made = any(domain);
  if (domain == AF_INET) v4(made).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (domain == AF_INET6) v6(made).sin6_addr = in6addr_loopback;
  return made;
}

SimAddress SimAddress::abstract(const std::string& name) {
  SimAddress made = any(AF_UNIX);
  auto* to = reinterpret_cast<sockaddr_un&>(made.native).sun_path;
  std::memcpy(to + 1, name.data(), name.size());
  made.size = static_cast<socklen_t>(kPathAt + 1 + name.size());
  return made;
}

std::uint16_t SimAddress::port() const {
  if (family() == AF_INET) return ntohs(v4(*this).sin_port);
  return family() == AF_INET6 ? ntohs(v6(*this).sin6_port) : std::uint16_t{0};
}

void SimAddress::set_port(std::uint16_t port) {
  if (family() == AF_INET) {
    v4(*this).sin_port = htons(port);
  } else {
    v6(*this).sin6_port = htons(port);
  }
}

bool SimAddress::any_host() const {
  if (family() == AF_INET) return v4(*this).sin_addr.s_addr == htonl(INADDR_ANY);
  return IN6_IS_ADDR_UNSPECIFIED(&v6(*this).sin6_addr);
}

bool SimAddress::multicast() const {
  if (family() == AF_INET) return IN_MULTICAST(ntohl(v4(*this).sin_addr.s_addr));
  return family() == AF_INET6 && IN6_IS_ADDR_MULTICAST(&v6(*this).sin6_addr);
}

bool SimAddress::same_host(const SimAddress& other) const {
  if (family() != other.family()) return false;
  if (family() == AF_INET) return v4(*this).sin_addr.s_addr == v4(other).sin_addr.s_addr;
  return IN6_ARE_ADDR_EQUAL(&v6(*this).sin6_addr, &v6(other).sin6_addr);
}

SimAddress SimAddress::unmapped() const {
  if (family() != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&v6(*this).sin6_addr)) return *this;
  SimAddress made = any(AF_INET);
  std::memcpy(&v4(made).sin_addr, v6(*this).sin6_addr.s6_addr + 12, 4);
  v4(made).sin_port = v6(*this).sin6_port;
  return made;
}

SimAddress SimAddress::mapped() const {
  if (family() != AF_INET) return *this;
  SimAddress made = any(AF_INET6);
  auto* bytes = v6(made).sin6_addr.s6_addr;
  bytes[10] = bytes[11] = 0xff;
  std::memcpy(bytes + 12, &v4(*this).sin_addr, 4);
  v6(made).sin6_port = v4(*this).sin_port;
  return made;
}

std::string SimAddress::name() const {
  if (family() != AF_UNIX || size <= kPathAt) return {};
  const auto& un = reinterpret_cast<const sockaddr_un&>(native);
  return {un.sun_path, size - kPathAt - (is_path() ? 1 : 0)};
}

bool SimAddress::is_path() const {
  if (family() != AF_UNIX || size <= kPathAt) return false;
  return reinterpret_cast<const sockaddr_un&>(native).sun_path[0] != '\0';
}

void SimAddress::copy_to(sockaddr* to, socklen_t* n) const {
  if (!to || !n) return;
  std::memcpy(to, &native, std::min(*n, size));
  *n = size;
}

}  // namespace millrace::test
