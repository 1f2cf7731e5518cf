// The echo server over libuv: one read buffer for all connections (what alloc_cb gives out is free
// again when read_cb returns), uv_try_write first, and uv_write for what the kernel refused.
#include "peer.h"

#include <csignal>
#include <string>
#include <vector>

#include <uv.h>

using peer::kBlock, peer::Mode;

namespace {

struct Connection {
  uv_tcp_t tcp;
  std::uint64_t received = 0;
  peer::Frames frames;

  uv_stream_t* stream() { return reinterpret_cast<uv_stream_t*>(&tcp); }
  uv_handle_t* handle() { return reinterpret_cast<uv_handle_t*>(&tcp); }
};

struct Write {
  uv_write_t request;
  std::string bytes;
};

Mode mode;
std::vector<Connection*> open;  // of the broadcast alone
char block[kBlock];

Connection& connection_of(void* handle) {
  return *static_cast<Connection*>(static_cast<uv_handle_t*>(handle)->data);
}

uv_buf_t buffer(const char* from, std::size_t n) {
  return uv_buf_init(const_cast<char*>(from), static_cast<unsigned>(n));
}

void write_all(Connection& c, const char* from, std::size_t n) {
  uv_buf_t bytes = buffer(from, n);
  const int written = uv_try_write(c.stream(), &bytes, 1);  // UV_EAGAIN while others wait
  if (written == static_cast<int>(n)) return;
  const std::size_t done = written > 0 ? static_cast<std::size_t>(written) : 0;
  auto* write = new Write{{}, std::string(from + done, n - done)};
  write->request.data = write;
  bytes = buffer(write->bytes.data(), write->bytes.size());
  const auto done_with = [](uv_write_t* request, int) {
    delete static_cast<Write*>(request->data);
  };
  if (uv_write(&write->request, c.stream(), &bytes, 1, done_with) != 0) delete write;
}

void receive(Connection& c, const char* from, std::size_t n) {
  switch (mode) {
    case Mode::echo:
      return write_all(c, from, n);
    case Mode::framed:
      return c.frames.take(
          from, n, [&](const char* frames, std::size_t size) { write_all(c, frames, size); });
    case Mode::sink:
      c.received += n;
      return;
    case Mode::broadcast:
      return c.frames.take(from, n, [&](const char* frames, std::size_t size) {
        for (Connection* other : open) {
          if (other != &c) write_all(*other, frames, size);
        }
      });
  }
}

void close_connection(Connection& c) {
  if (uv_is_closing(c.handle())) return;
  if (mode == Mode::broadcast) std::erase(open, &c);
  uv_close(c.handle(), [](uv_handle_t* handle) { delete &connection_of(handle); });
}

void handle_end(Connection& c) {
  if (mode == Mode::sink) {
    const auto count = peer::big_endian(c.received);
    write_all(c, count.data(), count.size());
  }
  if (uv_stream_get_write_queue_size(c.stream()) == 0) return close_connection(c);
  // uv_close would drop what waits; uv_shutdown comes after it.
  uv_shutdown(new uv_shutdown_t, c.stream(), [](uv_shutdown_t* request, int) {
    close_connection(connection_of(request->handle));
    delete request;
  });
}

void give_block(uv_handle_t*, std::size_t, uv_buf_t* to) {
  *to = uv_buf_init(block, kBlock);
}

void handle_read(uv_stream_t* stream, ssize_t got, const uv_buf_t* bytes) {
  Connection& c = connection_of(stream);
  if (got > 0) {
    receive(c, bytes->base, static_cast<std::size_t>(got));
  } else if (got == UV_EOF) {
    handle_end(c);
  } else if (got < 0) {
    close_connection(c);
  }
}

void handle_connection(uv_stream_t* listener, int status) {
  if (status < 0) return;
  auto* c = new Connection;
  uv_tcp_init(listener->loop, &c->tcp);
  c->tcp.data = c;
  if (uv_accept(listener, c->stream()) != 0) return close_connection(*c);
  if (mode == Mode::broadcast) open.push_back(c);
  uv_read_start(c->stream(), give_block, handle_read);
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = peer::arguments(argc, argv, std::string("libuv ") + uv_version_string());
  mode = arguments.mode;
  std::signal(SIGPIPE, SIG_IGN);  // libuv leaves it to its user
  uv_loop_t* loop = uv_default_loop();
  uv_tcp_t listener;
  uv_tcp_init(loop, &listener);
  sockaddr_in address = peer::loopback(arguments.port);
  auto* native = reinterpret_cast<sockaddr*>(&address);
  if (uv_tcp_bind(&listener, native, 0) != 0) peer::fail("bind");
  uv_tcp_nodelay(&listener, 1);  // inherited by what it accepts
  if (uv_listen(reinterpret_cast<uv_stream_t*>(&listener), peer::kBacklog, handle_connection) != 0)
    peer::fail("listen");
  int size = sizeof address;
  uv_tcp_getsockname(&listener, native, &size);
  peer::announce(ntohs(address.sin_port));
  uv_run(loop, UV_RUN_DEFAULT);
}
