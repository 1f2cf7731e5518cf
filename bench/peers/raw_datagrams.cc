// The bare loop that the datagram ratios are measured against: epoll, one recvmmsg of up to 64 into
// buffers of 2 KiB, one sendmmsg from where they lie. No callbacks, no limits, no queue: what the
// kernel does not take is lost.
//
//   raw_datagrams PORT         PORT 0: the kernel chooses
#include "peer.h"

#include <sys/epoll.h>
#include <unistd.h>

namespace {

constexpr unsigned kBatch = 64;
constexpr std::size_t kBuffer = 2048;

mmsghdr messages[kBatch];
iovec parts[kBatch];
sockaddr_in names[kBatch];
char buffers[kBatch][kBuffer];

void echo(int fd) {
  const int n = recvmmsg(fd, messages, kBatch, MSG_DONTWAIT, nullptr);
  if (n <= 0) return;
  for (int i = 0; i < n; ++i) parts[i].iov_len = messages[i].msg_len;
  sendmmsg(fd, messages, static_cast<unsigned>(n), MSG_DONTWAIT);
  for (int i = 0; i < n; ++i) {
    parts[i].iov_len = kBuffer;
    messages[i].msg_hdr.msg_namelen = sizeof names[i];
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = peer::arguments(argc, argv, "epoll");
  const int fd = peer::receive_datagrams_on(arguments.port);
  for (unsigned i = 0; i < kBatch; ++i) {
    parts[i] = {buffers[i], kBuffer};
    messages[i].msg_hdr.msg_name = &names[i];
    messages[i].msg_hdr.msg_namelen = sizeof names[i];
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  const int epoll_fd = epoll_create1(0);
  epoll_event event{};
  event.events = EPOLLIN;
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
  epoll_event ready[8];
  for (;;) {
    if (epoll_wait(epoll_fd, ready, 8, -1) > 0) echo(fd);
  }
}
