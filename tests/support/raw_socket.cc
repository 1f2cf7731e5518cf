#include "support/raw_socket.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::test {
namespace {

void must(bool done, const char* call) {
  if (!done) throw std::runtime_error(std::string(call) + ": " + std::strerror(errno));
}

// sendto and recvfrom: send and recv lead through Faults, which counts the product's calls alone.
ssize_t send(int fd, std::string_view bytes, int flags) {
  return ::sendto(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | flags, nullptr, 0);
}

UniqueFd tcp_socket(const SocketAddress& address) {
  UniqueFd fd(::socket(address.native()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  must(static_cast<bool>(fd), "socket");
  return fd;
}

}  // namespace

bool over_unix() {
  static const bool over = ::getenv("MILLRACE_TEST_OVER_UNIX") != nullptr;
  return over;
}

SocketAddress any_address() {
  return over_unix() ? SocketAddress::unix_abstract({}) : SocketAddress::loopback(0);
}

RawSocket RawSocket::connect_to(const SocketAddress& address, int receive_buffer, int send_buffer) {
  UniqueFd fd = tcp_socket(address);
  const int one = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (receive_buffer > 0) {
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  }
  if (send_buffer > 0) {
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
  }
  must(::connect(fd.get(), address.native(), address.native_size()) == 0, "connect");
  return RawSocket(std::move(fd));
}

RawSocket RawSocket::listen(int backlog, const SocketAddress& address) {
  UniqueFd fd = tcp_socket(address);
  must(::bind(fd.get(), address.native(), address.native_size()) == 0, "bind");
  must(::listen(fd.get(), backlog) == 0, "listen");
  return RawSocket(std::move(fd));
}

RawSocket RawSocket::accept() {
  pollfd ready{fd_.get(), POLLIN, 0};
  if (::poll(&ready, 1, 10'000) != 1) return {};
  return RawSocket(UniqueFd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
}

SocketAddress RawSocket::address() const {
  unsigned char native[SocketAddress::kNativeBytes];
  socklen_t size = sizeof native;
  must(::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(native), &size) == 0, "getsockname");
  return SocketAddress::from_native(native, size);
}

void RawSocket::send_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd_.get(), bytes, 0);
    must(n > 0, "send");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

std::size_t RawSocket::send_some(std::string_view bytes) {
  const ssize_t n = send(fd_.get(), bytes, MSG_DONTWAIT);
  error_ = n < 0 ? errno : 0;
  return n < 0 ? 0 : static_cast<std::size_t>(n);
}

std::string RawSocket::receive_some(std::size_t n) {
  std::string bytes(n, '\0');
  const ssize_t got = ::recvfrom(fd_.get(), bytes.data(), n, MSG_DONTWAIT, nullptr, nullptr);
  error_ = got < 0 ? errno : 0;
  if (got == 0 && n > 0) at_end_ = true;
  bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
  return bytes;
}

void RawSocket::end() const {
  ::shutdown(fd_.get(), SHUT_WR);
}

void RawSocket::reset() {
  const linger at_once{1, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  fd_.reset();
}

bool RawSocket::vanish() const {
  sock_filter drop_all[] = {{BPF_RET | BPF_K, 0, 0, 0}};
  const sock_fprog program{1, drop_all};
  return ::setsockopt(fd_.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

}  // namespace millrace::test
