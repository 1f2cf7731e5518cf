#include "support/sim/sim_socket.h"

#include "support/sim/sim_network.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <netinet/in.h>
#include <sys/un.h>
#include <unistd.h>

namespace millrace::test {
namespace {

constexpr std::size_t kLeastSendBuffer = 4608;
constexpr std::size_t kLeastReceiveBuffer = 2304;

int put(const void* from, std::size_t size, void* to, socklen_t* n) {
  *n = std::min(*n, static_cast<socklen_t>(size));
  std::memcpy(to, from, *n);
  return 0;
}

}  // namespace

SimSocket::SimSocket(SimKernel& kernel, int domain, int type)
    : SimFile(kernel),
      domain_(domain),
      type_(type),
      local_(SimAddress::any(domain)),
      send_buffer_(kernel.options().send_buffer),
      receive_buffer_(kernel.options().receive_buffer) {}

int SimSocket::bind(const SimAddress& address) {
  if (address.family() != domain_) return is_unix() ? EINVAL : EAFNOSUPPORT;
  if (is_unix() && address.size > sizeof(sockaddr_un)) return EINVAL;
  const bool autobind = is_unix() && address.size == sizeof(sa_family_t);
  if (is_bound()) return autobind ? 0 : EINVAL;
  SimAddress wanted = address;
  if (const int e = kernel().network().bind(*this, wanted)) return e;
  local_ = wanted;
  return 0;
}

int SimSocket::bind_anywhere() {
  return is_bound() ? 0 : SimSocket::bind(local_);
}

int SimSocket::take_error() {
  const int e = std::exchange(error_, 0);
  if (e != 0) touch();
  return e;
}

int SimSocket::set_option(int level, int name, const void* value, socklen_t n) {
  int given = 0;
  if (n < sizeof given) return EINVAL;
  std::memcpy(&given, value, sizeof given);
  if (level == SOL_SOCKET && name == SO_SNDBUF) {
    send_buffer_ = std::max(static_cast<std::size_t>(given) * 2, kLeastSendBuffer);
  } else if (level == SOL_SOCKET && name == SO_RCVBUF) {
    receive_buffer_ = std::max(static_cast<std::size_t>(given) * 2, kLeastReceiveBuffer);
  }
  options_[{level, name}] = given;
  return 0;
}

int SimSocket::option(int level, int name) const {
  const auto found = options_.find({level, name});
  return found == options_.end() ? 0 : found->second;
}

int SimSocket::get_option(int level, int name, void* value, socklen_t* n) {
  int answer = option(level, name);
  if (level == SOL_SOCKET && name == SO_PEERCRED) {
    // Everybody here is this process; who has no peer hears of nobody.
    ucred peer{0, static_cast<uid_t>(-1), static_cast<gid_t>(-1)};
    if (has_peer_credentials_) peer = {::getpid(), ::geteuid(), ::getegid()};
    return put(&peer, sizeof peer, value, n);
  }
  if (level == SOL_SOCKET && name == SO_ERROR) answer = take_error();
  if (level == SOL_SOCKET && name == SO_SNDBUF) answer = static_cast<int>(send_buffer_);
  if (level == SOL_SOCKET && name == SO_RCVBUF) answer = static_cast<int>(receive_buffer_);
  if (level == SOL_SOCKET && name == SO_TYPE) answer = type_;
  if (level == SOL_SOCKET && name == SO_DOMAIN) answer = domain_;
  if (level == SOL_SOCKET && name == SO_ACCEPTCONN) answer = listening() ? 1 : 0;
  if (level == SOL_SOCKET && name == SO_PROTOCOL && !is_unix()) {
    answer = type_ == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP;
  }
  if (*n < sizeof answer) return EINVAL;
  return put(&answer, sizeof answer, value, n);
}

int SimSocket::local_address(sockaddr* to, socklen_t* n) const {
  local_.copy_to(to, n);
  return 0;
}

int SimSocket::peer_address(sockaddr* to, socklen_t* n) const {
  if (!connected()) return ENOTCONN;
  remote_.copy_to(to, n);
  return 0;
}

}  // namespace millrace::test
