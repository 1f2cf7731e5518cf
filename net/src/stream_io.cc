#include "stream_io.h"

#include "syscalls.h"

#include <cerrno>

namespace millrace {
namespace {

// Runs a call again while a signal interrupts it.
template <class Call>
IoResult repeat(Call&& call) noexcept {
  for (;;) {
    const ssize_t n = call();
    if (n >= 0) return {static_cast<std::size_t>(n), 0};
    if (errno != EINTR) return {0, errno};
  }
}

// sendfile() knows no MSG_NOSIGNAL: holds a SIGPIPE of this thread back and takes it away.
class WithoutSigpipe {
 public:
  WithoutSigpipe() noexcept {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sys::pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~WithoutSigpipe() {
    if (sigismember(&before_, SIGPIPE) == 1) return;  // blocked anyway: it may be somebody else's
    const int saved = errno;
    const timespec at_once{};
    sys::sigtimedwait(&pipe_, &at_once);
    sys::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = saved;
  }

 private:
  sigset_t pipe_;
  sigset_t before_;
};

}  // namespace

IoResult stream_read(int fd, std::byte* to, std::size_t n) noexcept {
  return repeat([&] { return sys::recv(fd, to, n, 0); });
}

IoResult stream_write(int fd, const std::byte* from, std::size_t n) noexcept {
  return repeat([&] { return sys::send(fd, from, n, MSG_NOSIGNAL); });
}

IoResult stream_write(int fd, std::span<const iovec> parts, bool more) noexcept {
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts.data());  // sendmsg() does not write to it
  message.msg_iovlen = parts.size();
  const int flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0);
  return repeat([&] { return sys::sendmsg(fd, &message, flags); });
}

IoResult stream_send_file(int fd, int file, std::uint64_t offset, std::size_t n) noexcept {
  const WithoutSigpipe quiet;
  auto at = static_cast<off_t>(offset);
  return repeat([&] { return sys::sendfile(fd, file, &at, n); });
}

IoResult stream_peek(int fd) noexcept {
  std::byte one;
  return repeat([&] { return sys::recv(fd, &one, 1, MSG_PEEK); });
}

int stream_error(int fd) noexcept {
  int error = 0;
  socklen_t size = sizeof error;
  return sys::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
}

void stream_reset(int fd, bool copied) noexcept {
  const linger reset{1, 0};
  const bool refused = sys::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0;
  const sockaddr nowhere{AF_UNSPEC, {}};
  // Disconnects, with RST.
  if (copied || refused) sys::connect(fd, &nowhere, sizeof nowhere);
}

}  // namespace millrace
