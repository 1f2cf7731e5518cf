#include <millrace/error.h>
#include <millrace/udp_socket.h>

#include "apply_datagram_options.h"
#include "datagram_core.h"
#include "syscalls.h"

#include <cerrno>
#include <utility>

#include <fmt/format.h>

namespace millrace {
namespace {

// The socket's callbacks, called with it.
DatagramHooks bind_hooks(UdpSocket& socket, UdpCallbacks callbacks) {
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

void check_family(const SocketAddress& address, const char* call) {
  const auto family = address.family();
  if (family == SocketAddress::Family::ipv4 || family == SocketAddress::Family::ipv6) return;
  throw_system_error(EAFNOSUPPORT,
                     fmt::format("{} {}: not an address of UDP", call, address.to_string()));
}

}  // namespace

UdpSocket::UdpSocket(EventLoop& loop, UdpCallbacks callbacks, const DatagramOptions& options)
    : DatagramSocket(loop, bind_hooks(*this, std::move(callbacks)), options) {}

void UdpSocket::bind(std::string_view address) {
  bind(SocketAddress::parse(address));
}

void UdpSocket::bind(const SocketAddress& address) {
  check_family(address, "bind");
  if (is_open()) {
    throw_system_error(EINVAL, fmt::format("bind {}: the socket is {} already", address.to_string(),
                                           this->address().to_string()));
  }
  UniqueFd socket = open_datagram_socket(address, core().options());
  if (sys::bind(socket.get(), address.native(), address.native_size()) != 0) {
    throw_system_error(errno, fmt::format("bind {}", address.to_string()));
  }
  core().open(std::move(socket), address);
}

void UdpSocket::connect(std::string_view peer) {
  connect(SocketAddress::parse(peer));
}

void UdpSocket::connect(const SocketAddress& peer) {
  check_family(peer, "connect");
  if (is_connected()) {
    throw_system_error(EISCONN, fmt::format("connect {}: the socket is connected to {}",
                                            peer.to_string(), this->peer().to_string()));
  }
  UniqueFd socket;
  if (!is_open()) socket = open_datagram_socket(peer, core().options());
  const int its_fd = is_open() ? fd() : socket.get();
  if (sys::connect(its_fd, peer.native(), peer.native_size()) != 0) {
    throw_system_error(errno, fmt::format("connect {}", peer.to_string()));
  }
  if (socket) core().open(std::move(socket), peer);
  core().set_peer(peer);
}

void UdpSocket::join(const SocketAddress& group, const MulticastMembership& membership) {
  change_membership(fd(), true, group, membership);
}

void UdpSocket::leave(const SocketAddress& group, const MulticastMembership& membership) {
  change_membership(fd(), false, group, membership);
}

}  // namespace millrace
