#include "endpoint.h"

#include <millrace/error.h>

#include "apply_socket_options.h"
#include "host_name.h"

#include <cerrno>
#include <charconv>
#include <optional>

#include <sys/socket.h>

namespace millrace {
namespace {

// That of HOST:PORT.
std::optional<std::uint16_t> port_behind(std::string_view host, std::string_view text) {
  if (host.size() == text.size()) return std::nullopt;
  const std::string_view digits = text.substr(host.size() + 1);
  const char* const end = digits.data() + digits.size();
  std::uint16_t port = 0;
  const auto [stop, error] = std::from_chars(digits.data(), end, port);
  if (digits.empty() || error != std::errc() || stop != end) return std::nullopt;
  return port;
}

}  // namespace

Endpoint Endpoint::parse(std::string_view text) {
  Endpoint made;
  const std::string_view host = text.substr(0, text.rfind(':'));
  if (const auto address = SocketAddress::try_parse(text)) {
    made.addresses.push_back(*address);
  } else if (const auto port = port_behind(host, text); port && is_host_name(host)) {
    made.host = host;
    made.port = *port;
  } else {
    SocketAddress::parse(text);  // throws: it says what is wrong
  }
  return made;
}

Endpoint Endpoint::of(std::span<const SocketAddress> addresses) {
  if (addresses.empty()) throw_system_error(EINVAL, "connect: there is no address to connect to");
  Endpoint made;
  made.addresses.assign(addresses.begin(), addresses.end());
  return made;
}

void Endpoint::check_options(const SocketOptions& options) const {
  for (const SocketAddress& address : addresses) {
    const int domain = address.native()->sa_family;
    if (const auto wrong = check_socket_options(options, domain)) wrong.throw_for(address);
  }
  if (!is_name()) return;
  for (const int domain : {AF_INET6, AF_INET}) {
    const auto wrong = check_socket_options(options, domain);
    if (wrong) throw_system_error(wrong.error, wrong.text(host));
  }
}

}  // namespace millrace
