#include "socket_intake.h"

#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/loop_services.h>

#include "stream_io.h"
#include "syscalls.h"

#include <cerrno>
#include <utility>

namespace millrace {
namespace {

// Opened in one turn: as many as a listener accepts in one.
constexpr int kSocketsPerTurn = 64;

// 0 and the peer's address, or an errno value.
int check(int fd, SocketAddress* peer) noexcept {
  const auto ask = [fd](int option, int* value) {
    socklen_t size = sizeof *value;
    return sys::getsockopt(fd, SOL_SOCKET, option, value, &size) == 0;
  };
  int type = 0;
  int listens = 0;
  if (!ask(SO_TYPE, &type)) return errno;
  if (type != SOCK_STREAM) return EPROTOTYPE;
  if (!ask(SO_ACCEPTCONN, &listens)) return errno;
  if (listens != 0) return EINVAL;
  alignas(8) unsigned char native[SocketAddress::kNativeBytes];
  socklen_t size = sizeof native;
  if (sys::getpeername(fd, reinterpret_cast<sockaddr*>(native), &size) != 0) return errno;
  *peer = SocketAddress::from_native(native, size);
  return peer->family() == SocketAddress::Family::none ? EAFNOSUPPORT : 0;
}

// As those are that we make ourselves.
int make_ready(int fd) noexcept {
  const int flags = sys::fcntl(fd, F_GETFL, 0);
  if (flags < 0) return errno;
  if ((flags & O_NONBLOCK) == 0 && sys::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return errno;
  return sys::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? 0 : errno;
}

}  // namespace

std::error_code SocketIntake::add(UniqueFd socket) {
  SocketAddress peer;
  if (const int e = check(socket.get(), &peer)) return system_error_code(e);
  if (const int e = make_ready(socket.get())) return system_error_code(e);
  make_room();
  sockets_.push_back({std::move(socket), peer});
  if (!paused_) request_flush();
  return {};
}

// There may always be some that wait: what was offered must not be kept for ever before them.
void SocketIntake::make_room() noexcept {
  if (sockets_.size() < sockets_.capacity() || next_ < sockets_.size() / 2) return;
  sockets_.erase(sockets_.begin(), sockets_.begin() + static_cast<std::ptrdiff_t>(next_));
  next_ = 0;
}

void SocketIntake::resume() noexcept {
  paused_ = false;
  if (waiting() > 0) request_flush();
}

void SocketIntake::handle_flush() {
  // Asked for first: what a callback throws must not leave the others behind.
  if (waiting() > 1 && !paused_) request_flush();
  for (int left = kSocketsPerTurn; left > 0 && waiting() > 0 && !paused_; --left) {
    Waiting one = std::move(sockets_[next_++]);
    if (waiting() == 0) forget();
    offer_(std::move(one.socket), one.peer);
  }
}

void SocketIntake::forget() noexcept {
  std::vector<Waiting>().swap(sockets_);
  next_ = 0;
}

std::size_t SocketIntake::drop_waiting() noexcept {
  const std::size_t dropped = waiting();
  for (; waiting() > 0; ++next_) {
    // The other copies of it, if there are, would keep it open.
    if (!loop().services().forked_away()) stream_reset(sockets_[next_].socket.get(), true);
  }
  forget();
  return dropped;
}

void SocketIntake::end() noexcept {
  drop_waiting();
  bury();
}

void SocketIntake::handle_burial() noexcept {
  loop().services().slab<SocketIntake>().destroy(this);
}

}  // namespace millrace
