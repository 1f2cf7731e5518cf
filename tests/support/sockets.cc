#include "support/sockets.h"

#include "support/process.h"

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace millrace::test {
namespace {

RawSocket bound_socket(const SocketAddress& address, bool shared = false) {
  RawSocket made(UniqueFd(::socket(address.native()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0)));
  // Those who both say this may bind the same port, as long as neither listens.
  const int reuse = shared ? 1 : 0;
  ::setsockopt(made.fd(), SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
  if (!made || ::bind(made.fd(), address.native(), address.native_size()) != 0) {
    throw std::runtime_error(std::string("cannot bind: ") + std::strerror(errno));
  }
  return made;
}

}  // namespace

ClosedPort::ClosedPort(const SocketAddress& at) : socket_(bound_socket(at)) {}

// A queue of length 0 takes one connection (the kernel asks whether it is longer than that).
FullListener::FullListener(const SocketAddress& at)
    : listener_(RawSocket::listen(0, at)), filler_(RawSocket::connect_to(listener_.address())) {}

std::vector<RawSocket> connect_peers(const SocketAddress& address, std::size_t n) {
  std::vector<RawSocket> peers;
  peers.reserve(n);
  while (peers.size() < n) peers.push_back(RawSocket::connect_to(address));
  return peers;
}

ReservedPort::ReservedPort(const SocketAddress& like) : socket_(bound_socket(like, true)) {}

SocketAddress free_address() {
  return bound_socket(SocketAddress::loopback(0)).address();
}

int socket_option(int fd, int level, int name) {
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, level, name, &value, &size) == 0 ? value : -1;
}

int listening_descriptor(const SocketAddress& address) {
  for (const auto& [fd, target] : open_descriptors()) {
    if (target.rfind("socket:", 0) != 0) continue;
    if (socket_option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1) continue;
    unsigned char native[SocketAddress::kNativeBytes];
    socklen_t size = sizeof native;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(native), &size) != 0) continue;
    if (SocketAddress::from_native(native, size) == address) return fd;
  }
  return -1;
}

unsigned longest_queue(const SocketAddress& address) {
  tcp_info info{};
  socklen_t size = sizeof info;
  const int fd = listening_descriptor(address);
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return info.tcpi_sacked;  // that is what it means for a listening socket
}

}  // namespace millrace::test
