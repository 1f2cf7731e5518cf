// The echo server over libev, which tells when a descriptor is ready and leaves the rest to its
// user: one recv into a shared block, the reply sent at once, a watcher for writability only while
// the kernel refuses bytes.
#include "peer.h"

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include <ev.h>
#include <sys/socket.h>
#include <unistd.h>

using peer::kBlock, peer::Mode;

namespace {

struct Connection;

struct Unsent {
  ev_io writable;
  std::string bytes;
};

struct Connection {
  ev_io readable;
  std::unique_ptr<Unsent> unsent;  // what the kernel refused
  peer::Frames frames;
  std::uint64_t received = 0;
};

Mode mode;
std::vector<Connection*> open;  // of the broadcast alone
char block[kBlock];

void handle_writable(struct ev_loop* loop, ev_io* watcher, int) {
  auto& c = *static_cast<Connection*>(watcher->data);
  std::string& bytes = c.unsent->bytes;
  const ssize_t sent = send(watcher->fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent < 0 && errno == EAGAIN) return;
  if (sent > 0) bytes.erase(0, static_cast<std::size_t>(sent));
  if (sent >= 0 && !bytes.empty()) return;
  // Everything is sent, or an error that the next recv meets too.
  ev_io_stop(loop, watcher);
  c.unsent.reset();
  ev_io_start(loop, &c.readable);
}

void send_or_keep(struct ev_loop* loop, Connection& c, const char* from, std::size_t n) {
  if (!c.unsent) {
    const ssize_t sent = send(c.readable.fd, from, n, MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(n)) return;
    if (sent > 0) from += sent, n -= static_cast<std::size_t>(sent);
    c.unsent = std::make_unique<Unsent>();
    ev_io_init(&c.unsent->writable, handle_writable, c.readable.fd, EV_WRITE);
    c.unsent->writable.data = &c;
    ev_io_start(loop, &c.unsent->writable);
  }
  c.unsent->bytes.append(from, n);
}

void receive(struct ev_loop* loop, Connection& c, const char* from, std::size_t n) {
  switch (mode) {
    case Mode::echo:
      return send_or_keep(loop, c, from, n);
    case Mode::framed:
      return c.frames.take(from, n, [&](const char* frames, std::size_t size) {
        send_or_keep(loop, c, frames, size);
      });
    case Mode::sink:
      c.received += n;
      return;
    case Mode::broadcast:
      return c.frames.take(from, n, [&](const char* frames, std::size_t size) {
        for (Connection* other : open) {
          if (other != &c) send_or_keep(loop, *other, frames, size);
        }
      });
  }
}

void close_connection(struct ev_loop* loop, Connection& c) {
  ev_io_stop(loop, &c.readable);
  if (c.unsent) ev_io_stop(loop, &c.unsent->writable);
  if (mode == Mode::broadcast) std::erase(open, &c);
  close(c.readable.fd);
  delete &c;
}

void handle_end(struct ev_loop* loop, Connection& c) {
  // Finds the end again when everything is sent.
  if (c.unsent) return ev_io_stop(loop, &c.readable);
  if (mode == Mode::sink) {
    const auto count = peer::big_endian(c.received);
    send(c.readable.fd, count.data(), count.size(), MSG_NOSIGNAL);
  }
  close_connection(loop, c);
}

void handle_readable(struct ev_loop* loop, ev_io* watcher, int) {
  auto& c = *static_cast<Connection*>(watcher->data);
  const ssize_t got = recv(watcher->fd, block, kBlock, 0);
  if (got > 0) {
    receive(loop, c, block, static_cast<std::size_t>(got));
  } else if (got == 0) {
    handle_end(loop, c);
  } else if (errno != EAGAIN) {
    close_connection(loop, c);
  }
}

void handle_acceptable(struct ev_loop* loop, ev_io* watcher, int) {
  const int fd = accept4(watcher->fd, nullptr, nullptr, SOCK_NONBLOCK);
  if (fd < 0) return;
  auto* c = new Connection;
  ev_io_init(&c->readable, handle_readable, fd, EV_READ);
  c->readable.data = c;
  ev_io_start(loop, &c->readable);
  if (mode == Mode::broadcast) open.push_back(c);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string version =
      std::to_string(ev_version_major()) + "." + std::to_string(ev_version_minor());
  const auto arguments = peer::arguments(argc, argv, "libev " + version);
  mode = arguments.mode;
  struct ev_loop* loop = ev_default_loop(EVBACKEND_EPOLL);
  ev_io listener;
  ev_io_init(&listener, handle_acceptable, peer::listen_on(arguments.port), EV_READ);
  ev_io_start(loop, &listener);
  ev_run(loop, 0);
}
