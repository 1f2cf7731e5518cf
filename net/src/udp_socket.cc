#include <millrace/error.h>
#include <millrace/udp_socket.h>

#include "apply_datagram_options.h"
#include "datagram_core.h"
#include "datagram_hooks.h"
#include "syscalls.h"

#include <cerrno>
#include <utility>

#include <fmt/format.h>

namespace millrace {
namespace {

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
  core().check_unbound(address);
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
  core().connect(peer);
}

void UdpSocket::join(const SocketAddress& group, const MulticastMembership& membership) {
  change_membership(fd(), true, group, membership);
}

void UdpSocket::leave(const SocketAddress& group, const MulticastMembership& membership) {
  change_membership(fd(), false, group, membership);
}

}  // namespace millrace
