// What the text of a host is: a name that DNS servers may be asked for, a number, or this host.
// Nothing is ever truncated or mended. Functions of their arguments; any thread.
#pragma once

#include <millrace/socket_address.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace millrace {

// Labels of 1 to 63 letters, digits, '-' and '_', 253 characters with the dots between them; a dot
// behind the last one says that no search domain is meant. The last label is not all digits: no
// such name exists, but there are mistyped addresses that others would take for ones ("127.1").
bool is_host_name(std::string_view text) noexcept;

// `localhost` and all that lies below it.
bool is_localhost(std::string_view name) noexcept;

// An IPv4 or IPv6 address without brackets, the latter perhaps with a scope.
std::optional<SocketAddress> numeric_host(std::string_view text, std::uint16_t port);

}  // namespace millrace
