// What goes wrong with datagrams: the kernel that would not send one, and the network that reports
// one. Neither ends a socket.
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/loop_services.h>

#include "datagram_core.h"
#include "syscalls.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>  // for <linux/errqueue.h>
#include <new>
#include <utility>

#include <linux/errqueue.h>

namespace millrace {
namespace {

// Reported in one turn; the kernel keeps the others.
constexpr int kErrorsPerTurn = 32;
// Failures of one turn that are told one by one; all are counted.
constexpr std::size_t kFailuresKept = 32;
// A send also fails for what became of one before it, and that once for each such error; another
// may arrive meanwhile.
constexpr int kAttempts = 4;
constexpr std::chrono::milliseconds kLongestRetry{64};

// Whether a send may have failed for what became of an earlier one. Of a Unix socket it has not,
// but for the news that its peer has another peer now.
bool may_be_of_another(int error, bool ip) noexcept {
  if (!ip) return error == ECONNRESET;
  constexpr int kReported[] = {ECONNREFUSED, ECONNRESET,  EHOSTUNREACH, ENETUNREACH, EHOSTDOWN,
                               ENONET,       ENOPROTOOPT, EPROTO,       EACCES,      EOPNOTSUPP,
                               EMSGSIZE,     ETIMEDOUT,   ENETDOWN};
  return std::find(std::begin(kReported), std::end(kReported), error) != std::end(kReported);
}

// The extended error among the control data.
const sock_extended_err* extended_error(msghdr& message) noexcept {
  for (auto* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
    const bool v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
    const bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;
    if (v4 || v6) return reinterpret_cast<const sock_extended_err*>(CMSG_DATA(c));
  }
  return nullptr;
}

SocketAddress offender_of(const sock_extended_err& error) noexcept {
  const sockaddr* native = SO_EE_OFFENDER(&error);
  const bool v6 = native->sa_family == AF_INET6;
  return SocketAddress::from_native(native, v6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in));
}

}  // namespace

// True: try again, with what is now the first.
bool DatagramCore::send_failed(int error, int& attempts) noexcept {
  if (error == EINTR) return true;
  if (error == EAGAIN) {
    block();
    return false;
  }
  if (may_be_of_another(error, is_ip()) && ++attempts < kAttempts) return true;
  attempts = 0;
  if (queue_.in_train()) {
    queue_.split();
    // For lack of memory nothing is said about its size.
    suspect_segment_ = error == ENOBUFS || error == ENOMEM ? 0u : queue_.segment();
    if (error == EIO) largest_segment_ = suspect_segment_ = 0;  // this device cannot, whatever size
    return true;
  }
  suspect_segment_ = 0;
  lose_first(error);
  return true;
}

// EPOLLOUT of a Unix socket says nothing of whom it is not connected to: it would come at once.
void DatagramCore::block() noexcept {
  blocked_ = true;
  const bool to_peer = queue_.destination().family() == SocketAddress::Family::none;
  if (is_ip() || (connected_ && to_peer)) return;
  TimerNode::start(loop(), retry_after_);
  retry_after_ = std::min(retry_after_ * 2, kLongestRetry);
}

void DatagramCore::lose_first(int error) noexcept {
  ++stats_.send_failures;
  turn_bytes_ += 1024;
  if (hooks_.on_error && failures_.size() < kFailuresKept) {
    try {
      const SocketAddress to = queue_.destination();
      const bool none = to.family() == SocketAddress::Family::none;
      failures_.push_back({system_error_code(error), none ? peer_ : to, {}, 0});
    } catch (const std::bad_alloc&) {
      // It is counted.
    }
  }
  queue_.remove(1, loop().services().blocks());
  if (!in_turn_) request_flush();
}

void DatagramCore::report_failures() {
  const std::uint32_t life = life_;
  for (const DatagramError& error : std::exchange(failures_, {})) {
    if (life != life_) return;
    report(error);
  }
}

void DatagramCore::report(const DatagramError& error) {
  if (hooks_.on_error) call(hooks_.on_error, "datagram error", error);
}

// One that is not in the queue, and that epoll would tell of until it is asked for.
void DatagramCore::read_socket_error() {
  int error = 0;
  socklen_t size = sizeof error;
  sys::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error == 0) return;
  ++stats_.errors;
  report({system_error_code(error), peer_, {}, 0});
}

void DatagramCore::read_errors() {
  if (!is_ip()) return read_socket_error();  // which knows no such queue, and would take a datagram
  const std::uint32_t life = life_;
  for (int left = kErrorsPerTurn; left > 0 && life == life_; --left) {
    if (!read_error()) return;
  }
}

// False when there is none left.
bool DatagramCore::read_error() {
  sockaddr_storage destination;
  alignas(cmsghdr) std::array<std::byte, 256> control;
  msghdr message{};
  message.msg_name = &destination;
  message.msg_namelen = sizeof destination;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (sys::recvmsg(fd(), &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) {
    read_socket_error();
    return false;
  }
  const sock_extended_err* error = extended_error(message);
  // What our own kernel said it has said to the send as well.
  if (!error || error->ee_origin == SO_EE_ORIGIN_LOCAL) return true;
  ++stats_.errors;
  const bool too_large = error->ee_errno == EMSGSIZE;
  report({system_error_code(static_cast<int>(error->ee_errno)),
          SocketAddress::from_native(&destination, message.msg_namelen), offender_of(*error),
          too_large ? error->ee_info : 0});
  return true;
}

}  // namespace millrace
