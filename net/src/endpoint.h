// Endpoint is where a Client connects to: addresses, or a host's name to look up. A value; any
// thread.
#pragma once

#include <millrace/socket_address.h>
#include <millrace/socket_options.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

struct Endpoint {
  // What SocketAddress::parse() takes, or NAME:PORT. Throws std::system_error (EINVAL) whose text
  // shows the text and says what is wrong with it.
  static Endpoint parse(std::string_view text);
  // Throws std::system_error (EINVAL) if there are none.
  static Endpoint of(std::span<const SocketAddress> addresses);

  // Throws std::system_error naming the option that makes no sense there.
  void check_options(const SocketOptions& options) const;

  bool is_name() const noexcept { return !host.empty(); }

  std::vector<SocketAddress> addresses;  // unless it is a name
  std::string host;
  std::uint16_t port = 0;
};

}  // namespace millrace
