// Options of TCP sockets, with the reason beside each. A server sets them once on its listener:
// what accept() returns inherits them. Values; any thread.
#pragma once

#include <chrono>

namespace millrace {

struct SocketOptions {
  // Send small writes at once instead of waiting for the ACK of the one before (Nagle). Replies are
  // coalesced in user space, so that there is nothing to gain from waiting.
  bool no_delay = true;
  // Kernel buffers in bytes; zero leaves them to the kernel's tuning, which is right nearly always.
  // The kernel doubles what it is given and keeps it within net.core.{r,w}mem_max.
  int send_buffer_bytes = 0;
  int receive_buffer_bytes = 0;
  // Probe a connection that was silent for this long, so that a peer that vanished is noticed
  // though nothing is sent. Zero: never. Whole seconds, at least one.
  std::chrono::seconds keepalive_idle{0};
  std::chrono::seconds keepalive_interval{10};
  int keepalive_probes = 3;
  // How long sent data may stay unacknowledged before the kernel gives the connection up with
  // ETIMEDOUT. Zero: the kernel's default of about 15 minutes.
  std::chrono::milliseconds user_timeout{0};
};

}  // namespace millrace
