// The text forms of an address: parse() and to_string().
#include <millrace/error.h>
#include <millrace/socket_address.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <ostream>
#include <utility>

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/un.h>

namespace millrace {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

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
  sockaddr_in6 native{};
  native.sin6_family = AF_INET6;
  native.sin6_port = htons(port);
  native.sin6_addr = address;
  native.sin6_scope_id = scope;
  return SocketAddress::from_native(&native, sizeof native);
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

// A backslash and two hexadecimal digits stand for a byte.
std::string unescaped(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      bytes += text[i];
      continue;
    }
    const std::string_view digits = text.substr(i + 1, 2);
    unsigned byte = 0;
    const char* end = digits.data() + digits.size();
    if (digits.size() != 2 || std::from_chars(digits.data(), end, byte, 16).ptr != end) {
      throw Wrong{"a backslash stands before two hexadecimal digits: " + quoted(text)};
    }
    bytes += static_cast<char>(byte);
    i += 2;
  }
  return bytes;
}

// What would be read as something else, or would not be seen.
std::string escaped(std::string_view bytes, bool is_path) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    const bool leading_at = is_path && text.empty() && c == '@';
    if (byte >= 0x20 && byte != 0x7f && c != '\\' && !leading_at) {
      text += c;
    } else {
      text += {'\\', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return text;
}

// With the NUL in front of an abstract name, or behind a path.
constexpr std::size_t kLongestName = sizeof(sockaddr_un::sun_path) - 1;

struct RefusedName {
  int error = 0;  // errno value; 0: it is a name
  std::string why;
};

RefusedName check_name(std::string_view kind, std::string_view name, bool is_path) {
  const auto refuse = [&](int error, const char* why) {
    return RefusedName{
        error, std::string(kind) + " '" + escaped(name, is_path) + "' of a Unix socket " + why};
  };
  if (is_path && name.empty()) return refuse(EINVAL, "is empty");
  if (is_path && name.find('\0') != name.npos) return refuse(EINVAL, "holds a NUL");
  if (name.size() > kLongestName) return refuse(ENAMETOOLONG, "is longer than 107 bytes");
  return {};
}
RefusedName check_path(std::string_view path) {
  return check_name("path", path, true);
}
RefusedName check_abstract(std::string_view name) {
  return check_name("abstract name", name, false);
}

// What the kernel takes as a name: family, and these bytes.
SocketAddress make_unix(std::string_view bytes) noexcept {
  sockaddr_un native{};
  native.sun_family = AF_UNIX;
  std::copy(bytes.begin(), bytes.end(), native.sun_path);  // which may be none, nowhere
  return SocketAddress::from_native(&native, offsetof(sockaddr_un, sun_path) + bytes.size());
}

SocketAddress parse_unix(std::string_view text) {
  if (text.empty()) throw Wrong{"the path is missing: write unix:PATH or unix:@NAME"};
  const bool abstract = text.front() == '@';
  const std::string name = unescaped(text.substr(abstract ? 1 : 0));
  if (auto refused = abstract ? check_abstract(name) : check_path(name); refused.error != 0) {
    throw Wrong{std::move(refused.why)};
  }
  return abstract ? SocketAddress::unix_abstract(name) : SocketAddress::unix_path(name);
}

SocketAddress parse_or_throw(std::string_view text) {
  if (text.empty()) throw Wrong{"it is empty: write HOST:PORT, [IPV6]:PORT or unix:PATH"};
  if (text.starts_with(kUnixPrefix)) return parse_unix(text.substr(kUnixPrefix.size()));
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

SocketAddress SocketAddress::unix_path(std::string_view path) {
  if (const auto refused = check_path(path); refused.error != 0) {
    throw_system_error(refused.error, refused.why);
  }
  return make_unix(path);
}

SocketAddress SocketAddress::unix_abstract(std::string_view name) {
  if (const auto refused = check_abstract(name); refused.error != 0) {
    throw_system_error(refused.error, refused.why);
  }
  return name.empty() ? make_unix({}) : make_unix('\0' + std::string(name));
}

std::string SocketAddress::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  switch (family()) {
    case Family::none:
      return "(none)";
    case Family::unix_domain:
      return path().empty() ? "@" + escaped(abstract_name(), false) : escaped(path(), true);
    case Family::ipv4:
      inet_ntop(AF_INET, native_ + offsetof(sockaddr_in, sin_addr), text, sizeof text);
      return text;
    case Family::ipv6:
      inet_ntop(AF_INET6, native_ + offsetof(sockaddr_in6, sin6_addr), text, sizeof text);
      break;
  }
  if (scope() == 0) return text;
  char name[IF_NAMESIZE];
  const char* found = if_indextoname(scope(), name);
  return std::string(text) + "%" + (found ? found : std::to_string(scope()));
}

std::string SocketAddress::to_string() const {
  switch (family()) {
    case Family::ipv4:
      return host() + ":" + std::to_string(port());
    case Family::ipv6:
      return "[" + host() + "]:" + std::to_string(port());
    case Family::unix_domain:
      return std::string(kUnixPrefix) + host();
    case Family::none:
      break;
  }
  return "(none)";
}

std::ostream& operator<<(std::ostream& out, const SocketAddress& address) {
  return out << address.to_string();
}

}  // namespace millrace
