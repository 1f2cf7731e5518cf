#include "unix_listen.h"

#include <millrace/error.h>

#include "apply_socket_options.h"
#include "syscalls.h"

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>

namespace millrace {

UnixListening listen_unix(const SocketAddress& address, const ListenOptions& options) {
  const auto fail = [&](const char* call) {
    throw_system_error(errno, fmt::format("{} {}", call, address.to_string()));
  };
  if (const auto wrong = check_listen_options(options, AF_UNIX)) wrong.throw_for(address);
  UniqueFd socket(sys::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) fail("socket for");
  UnixPath path(socket.get(), address, options.path);
  // Who connects before this is refused: the file has its permissions by now.
  if (sys::listen(socket.get(), std::max(options.backlog, 0)) != 0) fail("listen on");
  return {std::move(socket), std::move(path)};
}

}  // namespace millrace
