#include "apply_socket_options.h"

#include "syscalls.h"

#include <algorithm>
#include <cerrno>
#include <climits>

namespace millrace {

OptionFailure apply_socket_options(int fd, const SocketOptions& options) noexcept {
  OptionFailure failure;
  const auto put = [&](const char* name, int level, int option, int value) {
    if (failure.name) return;
    if (sys::setsockopt(fd, level, option, &value, sizeof value) != 0) failure = {name, errno};
  };
  const auto clamped = [](auto count) {
    return static_cast<int>(std::clamp<long long>(count, 1, INT_MAX));
  };

  if (options.no_delay) put("TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, 1);
  if (options.send_buffer_bytes > 0) {
    put("SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, options.send_buffer_bytes);
  }
  if (options.receive_buffer_bytes > 0) {
    put("SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, options.receive_buffer_bytes);
  }
  if (options.keepalive_idle.count() > 0) {
    put("SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 1);
    put("TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, clamped(options.keepalive_idle.count()));
    put("TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL, clamped(options.keepalive_interval.count()));
    put("TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, std::max(options.keepalive_probes, 1));
  }
  if (options.user_timeout.count() > 0) {
    put("TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT, clamped(options.user_timeout.count()));
  }
  return failure;
}

}  // namespace millrace
