#include "stream_io.h"

#include "syscalls.h"

#include <cerrno>
#include <cstring>

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

IoResult stream_write(int fd, const std::byte* from, std::size_t n,
                      std::span<const UniqueFd> descriptors) noexcept {
  alignas(cmsghdr) std::byte control[CMSG_SPACE(kMostDescriptors * sizeof(int))] = {};
  iovec part{const_cast<std::byte*>(from), n};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
  cmsghdr* const head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
  unsigned char* to = CMSG_DATA(head);
  for (const UniqueFd& descriptor : descriptors) {
    const int number = descriptor.get();
    std::memcpy(to, &number, sizeof number);
    to += sizeof number;
  }
  return repeat([&] { return sys::sendmsg(fd, &message, MSG_NOSIGNAL); });
}

IoResult stream_read(int fd, std::byte* to, std::size_t n, PassedDescriptors* passed) noexcept {
  alignas(cmsghdr) std::byte control[CMSG_SPACE(kMostDescriptors * sizeof(int))];
  iovec part{to, n};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const IoResult got = repeat([&] {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    return sys::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  });
  if (got.error != 0) return got;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int number;
      std::memcpy(&number, CMSG_DATA(head) + i * sizeof number, sizeof number);
      passed->descriptors[passed->count++] = UniqueFd(number);
    }
  }
  passed->lost = (message.msg_flags & MSG_CTRUNC) != 0;
  return got;
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
  if (!copied && !refused) return;
  // Disconnects, with RST. What knows none (a Unix socket) ends both ways.
  if (sys::connect(fd, &nowhere, sizeof nowhere) != 0) sys::shutdown(fd, SHUT_RDWR);
}

}  // namespace millrace
