// The callbacks of one kind of datagram socket, as its DatagramCore calls them.
#pragma once

#include <millrace/datagram_socket.h>

#include "datagram_core.h"

#include <utility>

namespace millrace {

// Each is called with `socket`, which must not be moved.
template <class Socket>
DatagramHooks bind_hooks(Socket& socket, DatagramCallbacks<Socket> callbacks) {
  DatagramHooks hooks;
  if (callbacks.on_datagram) {
    hooks.on_datagram = [&socket, f = std::move(callbacks.on_datagram)](const Datagram& d) mutable {
      f(socket, d);
    };
  }
  if (callbacks.on_drained) {
    hooks.on_drained = [&socket, f = std::move(callbacks.on_drained)]() mutable { f(socket); };
  }
  if (callbacks.on_error) {
    hooks.on_error = [&socket, f = std::move(callbacks.on_error)](const DatagramError& e) mutable {
      f(socket, e);
    };
  }
  return hooks;
}

}  // namespace millrace
