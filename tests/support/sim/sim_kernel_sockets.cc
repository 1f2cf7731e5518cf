// The socket calls of SimKernel: what can go wrong with each, and what is asked of the socket.
#include "support/sim/sim_datagram.h"
#include "support/sim/sim_kernel.h"
#include "support/sim/sim_network.h"
#include "support/sim/sim_stream.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace millrace::test {

int SimKernel::no_memory(std::initializer_list<int> errors) {
  if (!decisions_.chance(options_.faults.no_memory)) return 0;
  return errors.begin()[decisions_.below(errors.size())];
}

int SimKernel::socket(int domain, int type, int) {
  enter();
  int error = room_for_descriptor() ? 0 : EMFILE;
  if (error == 0 && decisions_.chance(options_.faults.no_descriptor)) error = ENFILE;
  if (error == 0) error = no_memory({ENOMEM, ENOBUFS});
  if (error != 0) return leave("socket", 0, 0, error);
  std::shared_ptr<SimSocket> made;
  if ((type & SOCK_DGRAM) != 0) {
    made = std::make_shared<SimDatagram>(*this, domain);
  } else {
    made = std::make_shared<SimStream>(*this, domain);
  }
  network_->enter(made);
  return leave("socket", 0, install(std::move(made)), 0);
}

int SimKernel::bind(int fd, const sockaddr* to, socklen_t n) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  return leave("bind", fd, 0, socket->bind(SimAddress(to, n)));
}

int SimKernel::listen(int fd, int backlog) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  return leave("listen", fd, 0, socket->listen(backlog));
}

int SimKernel::accept_fault() {
  constexpr std::array kAborted{ECONNABORTED, EPROTO, ENETDOWN, EHOSTUNREACH, EPERM};
  constexpr std::array kNoDescriptor{EMFILE, ENFILE};
  if (interrupted()) return EINTR;
  if (spurious()) return EAGAIN;
  if (decisions_.chance(options_.faults.no_descriptor)) return kNoDescriptor[order(2)];
  if (decisions_.chance(options_.faults.aborted)) return kAborted[order(kAborted.size())];
  return no_memory({ENOMEM, ENOBUFS});
}

int SimKernel::accept4(int fd, sockaddr* from, socklen_t* n, int) {
  enter();
  if (!socket_of(fd)) return -1;
  auto* socket = find<SimStream>(fd);
  if (!socket) return leave("accept4", fd, 0, EOPNOTSUPP);
  if (!socket->listening()) return leave("accept4", fd, 0, EINVAL);
  if (socket->waiting() == 0) return leave("accept4", fd, 0, EAGAIN);
  int error = room_for_descriptor() ? accept_fault() : EMFILE;
  const bool aborted = error != 0 && error != EINTR && error != EAGAIN && error != EMFILE &&
                       error != ENFILE && error != ENOMEM && error != ENOBUFS;
  if (error != 0 && !aborted) return leave("accept4", fd, 0, error);
  auto accepted = socket->accept();
  if (aborted) accepted->close();
  if (error != 0) return leave("accept4", fd, 0, error);
  accepted->remote_address(from, n);
  return leave("accept4", fd, install(std::move(accepted)), 0);
}

int SimKernel::connect(int fd, const sockaddr* to, socklen_t n) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  if (to->sa_family == AF_UNSPEC) return leave("connect", fd, 0, socket->disconnect());
  if (const int error = no_memory({ENOBUFS, ENOMEM})) return leave("connect", fd, 0, error);
  int error = socket->connect(SimAddress(to, n));
  if (error == EINPROGRESS && interrupted()) error = EINTR;  // and it goes on
  return leave("connect", fd, 0, error);
}

int SimKernel::shutdown(int fd, int how) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  return leave("shutdown", fd, 0, socket->shutdown(how));
}

std::size_t SimKernel::shortened(std::size_t n) {
  if (n <= 1 || !decisions_.chance(options_.faults.short_transfer)) return n;
  return 1 + decisions_.size_up_to(n - 1);
}

SimResult SimKernel::take(SimSocket& from, void* to, std::size_t n, int flags) {
  if (auto* stream = dynamic_cast<SimStream*>(&from)) {
    return stream->receive(to, n, (flags & MSG_PEEK) != 0);
  }
  SimReceived got;
  const SimResult result = from.receive(got, n, flags);
  if (!got.bytes.empty()) std::memcpy(to, got.bytes.data(), got.bytes.size());
  return result;
}

ssize_t SimKernel::recv(int fd, void* to, std::size_t n, int flags) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  if (const int error = receive_fault(*socket)) return leave("recv", fd, ssize_t{0}, error);
  const std::size_t most = socket->type() == SOCK_STREAM ? shortened(n) : n;
  const SimResult got = take(*socket, to, most, flags);
  if (got.value > 0) mix_bytes(to, std::min(n, static_cast<std::size_t>(got.value)));
  return leave("recv", fd, got.value, got.error);
}

int SimKernel::receive_fault(const SimSocket& socket) {
  if (interrupted()) return EINTR;
  // Not of one that has ended: no kernel takes that back.
  const bool over = (socket.poll() & (EPOLLERR | EPOLLHUP)) != 0;
  return !over && spurious() ? EAGAIN : 0;
}

int SimKernel::install_passed(const SimPassed& passed) {
  const bool none = !room_for_descriptor() || decisions_.chance(options_.faults.no_descriptor);
  if (none) {
    ++descriptors_refused_;
    return -1;
  }
  return passed.file ? install(passed.file) : ::fcntl(passed.real->get(), F_DUPFD_CLOEXEC, 0);
}

std::optional<SimPassed> SimKernel::pass(int fd) const {
  SimPassed passed;
  if (owns(fd)) {
    const auto index = static_cast<std::size_t>(fd - kFirstDescriptor);
    if (!find_any(fd)) return std::nullopt;
    passed.file = files_[index];
    return passed;
  }
  passed.real = std::make_shared<UniqueFd>(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!*passed.real) return std::nullopt;
  return passed;
}

SimResult SimKernel::take_message(SimSocket& from, msghdr& to, int flags) {
  std::size_t room = 0;
  for (std::size_t i = 0; i < to.msg_iovlen; ++i) room += to.msg_iov[i].iov_len;
  SimReceived got;
  const SimResult result =
      from.receive(got, from.type() == SOCK_STREAM ? shortened(room) : room, flags);
  if (result.error != 0) return result;
  std::string_view left = got.bytes;
  for (std::size_t i = 0; i < to.msg_iovlen && !left.empty(); ++i) {
    const std::size_t n = std::min(left.size(), to.msg_iov[i].iov_len);
    std::memcpy(to.msg_iov[i].iov_base, left.data(), n);
    left.remove_prefix(n);
  }
  if (!got.bytes.empty()) mix_bytes(got.bytes.data(), got.bytes.size());
  write_control(
      got, [this](const SimPassed& passed) { return install_passed(passed); }, to);
  return result;
}

ssize_t SimKernel::recvmsg(int fd, msghdr* message, int flags) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  if (const int error = receive_fault(*socket)) return leave("recvmsg", fd, ssize_t{0}, error);
  const SimResult got = take_message(*socket, *message, flags);
  return leave("recvmsg", fd, got.value, got.error);
}

int SimKernel::recvmmsg(int fd, mmsghdr* messages, unsigned n, int flags) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  auto* datagram = dynamic_cast<SimDatagram*>(socket);
  int error = receive_fault(*socket);
  if (error == 0 && datagram && (flags & MSG_ERRQUEUE) == 0) error = datagram->pending_error();
  const std::size_t most = error == 0 ? shortened(n) : 0;
  int done = 0;
  while (error == 0 && static_cast<std::size_t>(done) < most) {
    mmsghdr& next = messages[done];
    const SimResult got = take_message(*socket, next.msg_hdr, flags);
    error = got.error;
    if (error != 0) break;
    next.msg_len = static_cast<unsigned>(got.value);
    ++done;
  }
  if (done == 0) return leave("recvmmsg", fd, 0, error);
  if (error != 0 && error != EAGAIN && datagram) datagram->keep_error(error);
  return leave("recvmmsg", fd, done, 0);
}

SimResult SimKernel::give_message(SimSocket& to, const msghdr& from) {
  const bool stream = to.type() == SOCK_STREAM;
  if (from.msg_iovlen > 1024) return {-1, EMSGSIZE};
  if (interrupted()) return {-1, EINTR};
  if (const int error = no_memory({ENOMEM, ENOBUFS})) return {-1, error};
  SimMessage message;
  const int error = read_control(
      from, [this](int descriptor) { return pass(descriptor); }, message);
  if (error != 0) return {-1, error};
  if (!stream && spurious()) return {-1, EAGAIN};
  if (!stream && !to.is_unix() && decisions_.chance(options_.faults.unsendable)) {
    constexpr std::array kWhy{EPERM, ENETUNREACH, EHOSTUNREACH, ENETDOWN, EINVAL};
    return {-1, kWhy[order(kWhy.size())]};
  }
  std::size_t left = 0;
  for (std::size_t i = 0; i < from.msg_iovlen; ++i) left += from.msg_iov[i].iov_len;
  if (auto* socket = dynamic_cast<SimStream*>(&to)) {
    left = std::min(left, std::max<std::size_t>(socket->room(), 1));
    left = shortened(left);
  }
  for (std::size_t i = 0; i < from.msg_iovlen && left > 0; ++i) {
    const std::size_t n = std::min(left, from.msg_iov[i].iov_len);
    message.bytes.append(static_cast<const char*>(from.msg_iov[i].iov_base), n);
    left -= n;
  }
  const std::size_t hash = std::hash<std::string_view>()(message.bytes);
  const std::size_t whole = message.bytes.size();
  const SimResult sent = to.send(std::move(message));
  if (sent.value > 0) {
    bytes_moved_ += whole;
    mix(hash);
  }
  run_due();  // what arrives at once may change what the next one meets
  return sent;
}

ssize_t SimKernel::sendmsg(int fd, const msghdr* message, int) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  const SimResult sent = give_message(*socket, *message);
  return leave("send", fd, sent.value, sent.error);
}

int SimKernel::sendmmsg(int fd, mmsghdr* messages, unsigned n, int) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  const std::size_t most = shortened(n);
  int done = 0;
  int error = 0;
  while (static_cast<std::size_t>(done) < most) {
    const SimResult sent = give_message(*socket, messages[done].msg_hdr);
    error = sent.error;
    if (error != 0) break;
    messages[done].msg_len = static_cast<unsigned>(sent.value);
    ++done;
  }
  return leave("sendmmsg", fd, done, done == 0 ? error : 0);
}

ssize_t SimKernel::sendfile(int out, int in, off_t* offset, std::size_t n) {
  std::string bytes(std::min<std::size_t>(n, 256 * 1024), '\0');
  const ssize_t got = ::pread(in, bytes.data(), bytes.size(), *offset);
  if (got <= 0) return got;
  iovec part{bytes.data(), static_cast<std::size_t>(got)};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const ssize_t sent = sendmsg(out, &message, 0);
  if (sent > 0) *offset += sent;
  return sent;
}

int SimKernel::getsockopt(int fd, int level, int name, void* value, socklen_t* n) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  const int error = socket->get_option(level, name, value, n);
  if (level == SOL_SOCKET && name == SO_ERROR && error == 0) {
    int answer = 0;
    std::memcpy(&answer, value, sizeof answer);
    if (answer != 0) socket->errors_seen().push_back(answer);
  }
  return leave("getsockopt", fd, 0, error);
}

int SimKernel::setsockopt(int fd, int level, int name, const void* value, socklen_t n) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  return leave("setsockopt", fd, 0, socket->set_option(level, name, value, n));
}

int SimKernel::getsockname(int fd, sockaddr* to, socklen_t* n) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  return leave("getsockname", fd, 0, socket->local_address(to, n));
}

int SimKernel::getpeername(int fd, sockaddr* to, socklen_t* n) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  return leave("getpeername", fd, 0, socket->peer_address(to, n));
}

int SimKernel::ioctl(int fd, unsigned long request, int* value) {
  enter();
  SimSocket* socket = socket_of(fd);
  if (!socket) return -1;
  return leave("ioctl", fd, 0, socket->queue_size(request, value));
}

}  // namespace millrace::test
