// The bare loop that every ratio is measured against: level-triggered epoll, batches of 512, one
// recv into a shared 64 KiB block, the reply sent at once; with --framed the complete frames of one
// recv go back in one send. No timers, no callbacks, no limits, no error handling: what it does not
// do is what a framework has to do for its users. Only what the kernel refuses is kept, per
// connection.
//
// peer.h has the command line. A broadcast is one send to each of the others.
#include "peer.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

using peer::kBlock, peer::Mode, peer::whole_frames;

namespace {

struct Peer {
  char* partial = nullptr;  // the beginning of a frame
  std::size_t partial_size = 0;
  std::size_t partial_capacity = 0;
  std::string* unsent = nullptr;  // what the kernel refused
};

int epoll_fd;
Mode mode;
std::vector<Peer> peers(1024);        // by descriptor
std::vector<std::uint64_t> received;  // by descriptor, of the sink alone
std::vector<int> open_fds;            // of the broadcast alone
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

void keep_partial(Peer& peer, const char* from, std::size_t n) {
  if (peer.partial_size + n > peer.partial_capacity) {
    peer.partial_capacity = (peer.partial_size + n) * 2;
    peer.partial = static_cast<char*>(std::realloc(peer.partial, peer.partial_capacity));
  }
  std::memcpy(peer.partial + peer.partial_size, from, n);
  peer.partial_size += n;
}

// What the frames of one recv are for: echo or broadcast.
template <class Send>
void take_frames(Peer& peer, const char* from, std::size_t n, Send&& send_whole) {
  if (peer.partial_size > 0) {
    keep_partial(peer, from, n);
    const std::size_t whole = whole_frames(peer.partial, peer.partial_size);
    if (whole == 0) return;
    send_whole(peer.partial, whole);
    peer.partial_size -= whole;
    std::memmove(peer.partial, peer.partial + whole, peer.partial_size);
    return;
  }
  const std::size_t whole = whole_frames(from, n);
  if (whole > 0) send_whole(from, whole);
  if (whole < n) keep_partial(peer, from + whole, n - whole);
}

void receive(int fd, Peer& peer, const char* from, std::size_t n) {
  switch (mode) {
    case Mode::echo:
      return send_or_keep(fd, peer, from, n);
    case Mode::framed:
      return take_frames(peer, from, n, [&](const char* frames, std::size_t size) {
        send_or_keep(fd, peer, frames, size);
      });
    case Mode::sink:
      received[static_cast<std::size_t>(fd)] += n;
      return;
    case Mode::broadcast:
      return take_frames(peer, from, n, [&](const char* frames, std::size_t size) {
        for (const int other : open_fds) {
          if (other != fd)
            send_or_keep(other, peers[static_cast<std::size_t>(other)], frames, size);
        }
      });
  }
}

void close_peer(int fd, Peer& peer) {
  std::free(peer.partial);
  delete peer.unsent;
  peer = {};
  if (mode == Mode::broadcast) std::erase(open_fds, fd);
  close(fd);
}

void handle_end(int fd, Peer& peer) {
  // Silent until the kernel has taken everything; drain() listens again, and finds the end again.
  if (peer.unsent) return arm(fd, EPOLLOUT, EPOLL_CTL_MOD);
  if (mode == Mode::sink) {
    const auto count = peer::big_endian(received[static_cast<std::size_t>(fd)]);
    send(fd, count.data(), count.size(), MSG_NOSIGNAL);
  }
  close_peer(fd, peer);
}

void accept_one(int listener) {
  const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
  if (fd < 0) return;
  const auto index = static_cast<std::size_t>(fd);
  if (index >= peers.size()) peers.resize(peers.size() * 2);
  if (mode == Mode::broadcast) open_fds.push_back(fd);
  if (mode == Mode::sink) {
    received.resize(peers.size());
    received[index] = 0;
  }
  arm(fd, EPOLLIN, EPOLL_CTL_ADD);
}

}  // namespace

int main(int argc, char** argv) {
  const peer::Arguments arguments = peer::arguments(argc, argv, "epoll by hand");
  mode = arguments.mode;
  epoll_fd = epoll_create1(0);
  const int listener = peer::listen_on(arguments.port);
  arm(listener, EPOLLIN, EPOLL_CTL_ADD);
  static epoll_event events[512];
  for (;;) {
    const int n = epoll_wait(epoll_fd, events, 512, -1);
    for (int i = 0; i < n; ++i) {
      const int fd = events[i].data.fd;
      if (fd == listener) {
        accept_one(listener);
        continue;
      }
      Peer& peer = peers[static_cast<std::size_t>(fd)];
      if (peer.unsent && (events[i].events & EPOLLOUT)) drain(fd, peer);
      if (!(events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
      const ssize_t got = recv(fd, block, kBlock, 0);
      if (got > 0) {
        receive(fd, peer, block, static_cast<std::size_t>(got));
      } else if (got == 0) {
        handle_end(fd, peer);
      } else {
        close_peer(fd, peer);
      }
    }
  }
}
