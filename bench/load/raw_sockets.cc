#include "raw_sockets.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::bench {
namespace {

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::system_category(), what);
}

}  // namespace

UniqueFd connect_to(const SocketAddress& server, const SocketAddress& source) {
  UniqueFd fd(::socket(server.native()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) fail("socket");
  const int one = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (source.family() == server.family()) {
    // The port is chosen at connect(): it has to be free towards this server only.
    ::setsockopt(fd.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (::bind(fd.get(), source.native(), source.native_size()) != 0) fail("bind");
  }
  if (::connect(fd.get(), server.native(), server.native_size()) != 0) fail("connect");
  if (::fcntl(fd.get(), F_SETFL, O_NONBLOCK) != 0) fail("fcntl");
  return fd;
}

UniqueFd file_in_memory(ByteView content) {
  UniqueFd fd(::memfd_create("message", MFD_CLOEXEC));
  if (!fd) fail("memfd_create");
  for (std::size_t at = 0; at < content.size();) {
    const ssize_t n =
        ::pwrite(fd.get(), content.data() + at, content.size() - at, static_cast<off_t>(at));
    if (n <= 0) fail("pwrite");
    at += static_cast<std::size_t>(n);
  }
  return fd;
}

ReadySet::ReadySet() : epoll_(::epoll_create1(EPOLL_CLOEXEC)), events_() {
  if (!epoll_) fail("epoll_create1");
}

void ReadySet::add(int fd, std::size_t number, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = number;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
}

void ReadySet::change(int fd, std::size_t number, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = number;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) != 0) fail("epoll_ctl");
}

std::span<const epoll_event> ReadySet::look() {
  const int n = ::epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()), 0);
  return {events_.data(), static_cast<std::size_t>(std::max(n, 0))};
}

}  // namespace millrace::bench
