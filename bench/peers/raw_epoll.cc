// The bare loop that every ratio is measured against: level-triggered epoll, batches of 512, one
// recv into a shared 64 KiB block, the reply sent at once; with --framed the complete frames of one
// recv go back in one send. No timers, no callbacks, no limits, no error handling: what it does not
// do is what a framework has to do for its users. Only what the kernel refuses is kept, per
// connection.
//
//   raw_epoll PORT [--framed]      PORT 0: the kernel chooses; prints `listening on ADDRESS`
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

constexpr std::size_t kBlock = 64 * 1024;

struct Peer {
  char* partial = nullptr;  // the beginning of a frame
  std::size_t partial_size = 0;
  std::size_t partial_capacity = 0;
  std::string* unsent = nullptr;  // what the kernel refused
};

int epoll_fd;
std::vector<Peer> peers(1024);  // by descriptor
char block[kBlock];

void arm(int fd, std::uint32_t events, int operation) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  epoll_ctl(epoll_fd, operation, fd, &event);
}

void send_or_keep(int fd, Peer& peer, const char* from, std::size_t n) {
  if (!peer.unsent) {
    const ssize_t sent = send(fd, from, n, MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(n)) return;
    if (sent > 0) from += sent, n -= static_cast<std::size_t>(sent);
    peer.unsent = new std::string;
    arm(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  }
  peer.unsent->append(from, n);
}

void drain(int fd, Peer& peer) {
  const ssize_t sent = send(fd, peer.unsent->data(), peer.unsent->size(), MSG_NOSIGNAL);
  if (sent > 0) peer.unsent->erase(0, static_cast<std::size_t>(sent));
  if (!peer.unsent->empty()) return;
  delete peer.unsent;
  peer.unsent = nullptr;
  arm(fd, EPOLLIN, EPOLL_CTL_MOD);
}

// How many bytes of complete frames lie at the front.
std::size_t whole_frames(const char* from, std::size_t n) {
  std::size_t at = 0;
  while (n - at >= 4) {
    std::uint32_t length;
    std::memcpy(&length, from + at, 4);
    const std::size_t whole = 4 + std::size_t{ntohl(length)};
    if (n - at < whole) break;
    at += whole;
  }
  return at;
}

void keep_partial(Peer& peer, const char* from, std::size_t n) {
  if (peer.partial_size + n > peer.partial_capacity) {
    peer.partial_capacity = (peer.partial_size + n) * 2;
    peer.partial = static_cast<char*>(std::realloc(peer.partial, peer.partial_capacity));
  }
  std::memcpy(peer.partial + peer.partial_size, from, n);
  peer.partial_size += n;
}

void echo_frames(int fd, Peer& peer, const char* from, std::size_t n) {
  if (peer.partial_size > 0) {
    keep_partial(peer, from, n);
    const std::size_t whole = whole_frames(peer.partial, peer.partial_size);
    if (whole == 0) return;
    send_or_keep(fd, peer, peer.partial, whole);
    peer.partial_size -= whole;
    std::memmove(peer.partial, peer.partial + whole, peer.partial_size);
    return;
  }
  const std::size_t whole = whole_frames(from, n);
  if (whole > 0) send_or_keep(fd, peer, from, whole);
  if (whole < n) keep_partial(peer, from + whole, n - whole);
}

void close_peer(int fd, Peer& peer) {
  std::free(peer.partial);
  delete peer.unsent;
  peer = {};
  close(fd);
}

int listen_on(std::uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);  // inherited by what it accepts
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  socklen_t size = sizeof address;
  auto* native = reinterpret_cast<sockaddr*>(&address);
  if (bind(fd, native, size) != 0 || listen(fd, 4096) != 0) {
    std::perror("raw_epoll");
    std::exit(1);
  }
  getsockname(fd, native, &size);
  std::printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: raw_epoll PORT [--framed]\n");
    return 2;
  }
  const bool framed = argc > 2 && std::strcmp(argv[2], "--framed") == 0;
  epoll_fd = epoll_create1(0);
  const int listener = listen_on(static_cast<std::uint16_t>(std::atoi(argv[1])));
  arm(listener, EPOLLIN, EPOLL_CTL_ADD);
  static epoll_event events[512];
  for (;;) {
    const int n = epoll_wait(epoll_fd, events, 512, -1);
    for (int i = 0; i < n; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener) {
        const int accepted = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        if (accepted < 0) continue;
        if (static_cast<std::size_t>(accepted) >= peers.size()) peers.resize(peers.size() * 2);
        arm(accepted, EPOLLIN, EPOLL_CTL_ADD);
        continue;
      }
      Peer& peer = peers[static_cast<std::size_t>(fd)];
      if (peer.unsent && (events[i].events & EPOLLOUT)) drain(fd, peer);
      if (!(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
      const ssize_t got = recv(fd, block, kBlock, 0);
      if (got <= 0) {
        close_peer(fd, peer);
      } else if (framed) {
        echo_frames(fd, peer, block, static_cast<std::size_t>(got));
      } else {
        send_or_keep(fd, peer, block, static_cast<std::size_t>(got));
      }
    }
  }
}
