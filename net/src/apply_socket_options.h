// Puts SocketOptions on a socket.
#pragma once

#include <millrace/socket_options.h>

namespace millrace {

struct OptionFailure {
  const char* name = nullptr;  // of the option that could not be set; null: all are set
  int error = 0;               // errno value
};

OptionFailure apply_socket_options(int fd, const SocketOptions& options) noexcept;

}  // namespace millrace
