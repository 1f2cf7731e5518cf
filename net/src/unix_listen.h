// Opens the socket of a listener on a Unix address.
#pragma once

#include <millrace/listener.h>
#include <millrace/socket_address.h>
#include <millrace/unique_fd.h>

#include "unix_path.h"

namespace millrace {

struct UnixListening {
  UniqueFd socket;
  UnixPath path;
};

// Throws std::system_error naming the call and the address.
UnixListening listen_unix(const SocketAddress& address, const ListenOptions& options);

}  // namespace millrace
