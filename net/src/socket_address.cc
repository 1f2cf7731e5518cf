#include <millrace/error.h>
#include <millrace/socket_address.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <ostream>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>

namespace millrace {
namespace {

static_assert(sizeof(sockaddr_in6) == SocketAddress::kNativeBytes);

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

SocketAddress make_v6(const in6_addr& address, std::uint16_t port, std::uint32_t scope) noexcept {
  sockaddr_in6 native{};
  native.sin6_family = AF_INET6;
  native.sin6_port = htons(port);
  native.sin6_addr = address;
  native.sin6_scope_id = scope;
  return make(native);
}

sa_family_t family_in(const unsigned char* bytes) noexcept {
  return as<sockaddr>(bytes).sa_family;
}

std::string quoted(std::string_view text) {
  return "'" + std::string(text) + "'";
}

// The parsers below say what is wrong by throwing it; try_parse() catches.
struct Wrong {
  std::string why;
};

std::uint16_t parse_port(std::string_view text) {
  if (text.empty()) throw Wrong{"the port is missing: write HOST:PORT"};
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error == std::errc::result_out_of_range || (error == std::errc() && port > 65535)) {
    throw Wrong{"port " + quoted(text) + " is not between 0 and 65535"};
  }
  if (error != std::errc() || end != text.data() + text.size()) {
    throw Wrong{"port " + quoted(text) + " is not a number"};
  }
  return static_cast<std::uint16_t>(port);
}

std::uint32_t parse_scope(std::string_view text) {
  if (text.empty()) throw Wrong{"the scope after '%' is missing"};
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size() && number != 0) return number;
  const std::string name(text);
  number = name.size() < IF_NAMESIZE ? if_nametoindex(name.c_str()) : 0;
  if (number == 0) throw Wrong{"no network interface " + quoted(text)};
  return number;
}

SocketAddress parse_v6(std::string_view inside, std::uint16_t port) {
  const std::size_t percent = inside.find('%');
  const std::string host(inside.substr(0, percent));
  in6_addr address{};
  if (host.find('\0') != std::string::npos || inet_pton(AF_INET6, host.c_str(), &address) != 1) {
    throw Wrong{quoted(host) + " is not an IPv6 address"};
  }
  const auto scope =
      percent == std::string_view::npos ? 0 : parse_scope(inside.substr(percent + 1));
  return make_v6(address, port, scope);
}

SocketAddress parse_v4(std::string_view host, std::uint16_t port) {
  if (host.empty()) throw Wrong{"the host is missing: write 0.0.0.0 or [::] for all interfaces"};
  if (host == "localhost") return SocketAddress::loopback(port);
  in_addr address{};
  const std::string text(host);
  if (text.find('\0') != std::string::npos || inet_pton(AF_INET, text.c_str(), &address) != 1) {
    throw Wrong{quoted(host) + " is not a numeric IPv4 address"};
  }
  return SocketAddress::ipv4(ntohl(address.s_addr), port);
}

SocketAddress parse_or_throw(std::string_view text) {
  if (text.empty()) throw Wrong{"it is empty: write HOST:PORT or [IPV6]:PORT"};
  if (text.front() == '[') {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) throw Wrong{"the closing ']' is missing"};
    if (close + 1 == text.size() || text[close + 1] != ':') {
      throw Wrong{"':PORT' is missing after ']'"};
    }
    return parse_v6(text.substr(1, close - 1), parse_port(text.substr(close + 2)));
  }
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) throw Wrong{"the port is missing: write HOST:PORT"};
  if (text.find(':', colon + 1) != std::string_view::npos) {
    throw Wrong{"an IPv6 address is written in brackets: [IPV6]:PORT"};
  }
  const std::uint16_t port = parse_port(text.substr(colon + 1));
  return parse_v4(text.substr(0, colon), port);
}

}  // namespace

std::optional<SocketAddress> SocketAddress::try_parse(std::string_view text, std::string* why) {
  try {
    return parse_or_throw(text);
  } catch (const Wrong& wrong) {
    if (why) *why = wrong.why;
    return std::nullopt;
  }
}

SocketAddress SocketAddress::parse(std::string_view text) {
  std::string why;
  if (const auto address = try_parse(text, &why)) return *address;
  throw_system_error(EINVAL, "bad address " + quoted(text) + ": " + why);
}

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
  return make_v6(in6addr_loopback, port, 0);
}
SocketAddress SocketAddress::any_v6(std::uint16_t port) noexcept {
  return make_v6(in6addr_any, port, 0);
}

SocketAddress::Family SocketAddress::family() const noexcept {
  switch (family_in(native_)) {
    case AF_INET:
      return Family::ipv4;
    case AF_INET6:
      return Family::ipv6;
    default:
      return Family::none;
  }
}

std::uint16_t SocketAddress::port() const noexcept {
  static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
  return family() == Family::none ? std::uint16_t{0} : ntohs(as<sockaddr_in>(native_).sin_port);
}

SocketAddress SocketAddress::with_port(std::uint16_t port) const noexcept {
  SocketAddress other = *this;
  if (family() == Family::none) return other;
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

std::string SocketAddress::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (family() == Family::ipv4) {
    const auto native = as<sockaddr_in>(native_);
    inet_ntop(AF_INET, &native.sin_addr, text, sizeof text);
    return text;
  }
  if (family() != Family::ipv6) return "(none)";
  const auto native = as<sockaddr_in6>(native_);
  inet_ntop(AF_INET6, &native.sin6_addr, text, sizeof text);
  if (native.sin6_scope_id == 0) return text;
  char name[IF_NAMESIZE];
  const char* found = if_indextoname(native.sin6_scope_id, name);
  return std::string(text) + "%" + (found ? found : std::to_string(native.sin6_scope_id));
}

std::string SocketAddress::to_string() const {
  switch (family()) {
    case Family::ipv4:
      return host() + ":" + std::to_string(port());
    case Family::ipv6:
      return "[" + host() + "]:" + std::to_string(port());
    case Family::none:
      break;
  }
  return "(none)";
}

bool operator==(const SocketAddress& a, const SocketAddress& b) noexcept {
  return std::memcmp(a.native_, b.native_, a.native_size()) == 0 && a.family() == b.family();
}

std::ostream& operator<<(std::ostream& out, const SocketAddress& address) {
  return out << address.to_string();
}

const ::sockaddr* SocketAddress::native() const noexcept {
  return reinterpret_cast<const ::sockaddr*>(native_);
}

std::uint32_t SocketAddress::native_size() const noexcept {
  return family_in(native_) == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
}

SocketAddress SocketAddress::from_native(const void* native, std::size_t size) noexcept {
  SocketAddress address;
  sa_family_t family = AF_UNSPEC;
  if (size >= sizeof family) std::memcpy(&family, native, sizeof family);
  if (family == AF_INET && size >= sizeof(sockaddr_in)) {
    std::memcpy(address.native_, native, sizeof(sockaddr_in));
    // sin_zero carries nothing, and would make equal addresses differ.
    std::memset(address.native_ + offsetof(sockaddr_in, sin_zero), 0,
                sizeof(sockaddr_in::sin_zero));
  } else if (family == AF_INET6 && size >= sizeof(sockaddr_in6)) {
    std::memcpy(address.native_, native, sizeof(sockaddr_in6));
    std::memset(address.native_ + offsetof(sockaddr_in6, sin6_flowinfo), 0, 4);
  }
  return address;
}

}  // namespace millrace
