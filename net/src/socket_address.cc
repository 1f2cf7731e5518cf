#include <millrace/socket_address.h>

#include <algorithm>
#include <cstring>

#include <netinet/in.h>
#include <sys/un.h>

namespace millrace {
namespace {

static_assert(sizeof(sockaddr_un) == SocketAddress::kNativeBytes);

constexpr std::size_t kPathAt = offsetof(sockaddr_un, sun_path);

template <class Native>
Native as(const unsigned char* bytes) noexcept {
  Native native;
  std::memcpy(&native, bytes, sizeof native);
  return native;
}

template <class Native>
SocketAddress make(const Native& native) noexcept {
  return SocketAddress::from_native(&native, sizeof native);
}

SocketAddress make_v6(const in6_addr& address, std::uint16_t port) noexcept {
  sockaddr_in6 native{};
  native.sin6_family = AF_INET6;
  native.sin6_port = htons(port);
  native.sin6_addr = address;
  return make(native);
}

bool has_port(SocketAddress::Family family) noexcept {
  return family == SocketAddress::Family::ipv4 || family == SocketAddress::Family::ipv6;
}

sa_family_t family_in(const unsigned char* bytes) noexcept {
  return as<sockaddr>(bytes).sa_family;
}

}  // namespace

SocketAddress SocketAddress::loopback(std::uint16_t port) noexcept {
  return ipv4(INADDR_LOOPBACK, port);
}
SocketAddress SocketAddress::any(std::uint16_t port) noexcept {
  return ipv4(INADDR_ANY, port);
}
SocketAddress SocketAddress::ipv4(std::uint32_t host_order, std::uint16_t port) noexcept {
  sockaddr_in native{};
  native.sin_family = AF_INET;
  native.sin_port = htons(port);
  native.sin_addr.s_addr = htonl(host_order);
  return make(native);
}
SocketAddress SocketAddress::loopback_v6(std::uint16_t port) noexcept {
  return make_v6(in6addr_loopback, port);
}
SocketAddress SocketAddress::any_v6(std::uint16_t port) noexcept {
  return make_v6(in6addr_any, port);
}

SocketAddress::Family SocketAddress::family() const noexcept {
  switch (family_in(native_)) {
    case AF_INET:
      return Family::ipv4;
    case AF_INET6:
      return Family::ipv6;
    case AF_UNIX:
      return Family::unix_domain;
    default:
      return Family::none;
  }
}

std::uint16_t SocketAddress::port() const noexcept {
  static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
  return has_port(family()) ? ntohs(as<sockaddr_in>(native_).sin_port) : std::uint16_t{0};
}

SocketAddress SocketAddress::with_port(std::uint16_t port) const noexcept {
  SocketAddress other = *this;
  if (!has_port(family())) return other;
  const in_port_t network = htons(port);
  std::memcpy(other.native_ + offsetof(sockaddr_in, sin_port), &network, sizeof network);
  return other;
}

std::uint32_t SocketAddress::ipv4() const noexcept {
  return family() == Family::ipv4 ? ntohl(as<sockaddr_in>(native_).sin_addr.s_addr) : 0;
}

std::uint32_t SocketAddress::scope() const noexcept {
  return family() == Family::ipv6 ? as<sockaddr_in6>(native_).sin6_scope_id : 0;
}

std::string_view SocketAddress::path() const noexcept {
  if (family() != Family::unix_domain || native_size_ <= kPathAt || native_[kPathAt] == 0)
    return {};
  const std::string_view name(reinterpret_cast<const char*>(native_) + kPathAt,
                              native_size_ - kPathAt);
  return name.substr(0, name.find('\0'));
}

std::string_view SocketAddress::abstract_name() const noexcept {
  if (family() != Family::unix_domain || native_size_ <= kPathAt || native_[kPathAt] != 0)
    return {};
  return {reinterpret_cast<const char*>(native_) + kPathAt + 1, native_size_ - kPathAt - 1};
}

bool operator==(const SocketAddress& a, const SocketAddress& b) noexcept {
  return a.native_size_ == b.native_size_ && std::memcmp(a.native_, b.native_, a.native_size_) == 0;
}

const ::sockaddr* SocketAddress::native() const noexcept {
  return reinterpret_cast<const ::sockaddr*>(native_);
}

std::uint32_t SocketAddress::native_size() const noexcept {
  return native_size_;
}

SocketAddress SocketAddress::from_native(const void* native, std::size_t size) noexcept {
  SocketAddress address;
  const auto take = [&](std::size_t bytes) {
    std::memcpy(address.native_, native, bytes);
    address.native_size_ = static_cast<std::uint16_t>(bytes);
  };
  sa_family_t family = AF_UNSPEC;
  if (size >= sizeof family) std::memcpy(&family, native, sizeof family);
  if (family == AF_INET && size >= sizeof(sockaddr_in)) {
    take(sizeof(sockaddr_in));
    // sin_zero carries nothing, and would make equal addresses differ.
    std::memset(address.native_ + offsetof(sockaddr_in, sin_zero), 0,
                sizeof(sockaddr_in::sin_zero));
  } else if (family == AF_INET6 && size >= sizeof(sockaddr_in6)) {
    take(sizeof(sockaddr_in6));
    std::memset(address.native_ + offsetof(sockaddr_in6, sin6_flowinfo), 0, 4);
  } else if (family == AF_UNIX) {
    take(std::min(size, kNativeBytes));
    // The kernel counts the NUL behind a path, and others count all behind that.
    if (const std::size_t length = address.path().size()) {
      std::memset(address.native_ + kPathAt + length, 0, kNativeBytes - kPathAt - length);
      address.native_size_ =
          static_cast<std::uint16_t>(std::min(kPathAt + length + 1, kNativeBytes));
    }
  }
  return address;
}

}  // namespace millrace
