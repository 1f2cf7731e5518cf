// The datagram echo server over libuv: recvmmsg as it offers it, and uv_udp_try_send, which sends
// at once.
#include "peer.h"

#include <uv.h>

namespace {

// As many as libuv receives by one call: 20 of 64 KiB.
char block[20 * peer::kBlock];

void give_block(uv_handle_t*, std::size_t, uv_buf_t* to) {
  *to = uv_buf_init(block, sizeof block);
}

void echo(uv_udp_t* socket, ssize_t got, const uv_buf_t* bytes, const sockaddr* from, unsigned) {
  if (got < 0 || !from) return;
  const uv_buf_t back = uv_buf_init(bytes->base, static_cast<unsigned>(got));
  uv_udp_try_send(socket, &back, 1, from);
}

}  // namespace

int main(int argc, char** argv) {
  const auto arguments = peer::arguments(argc, argv, std::string("libuv ") + uv_version_string());
  uv_udp_t socket;
  uv_udp_init_ex(uv_default_loop(), &socket, UV_UDP_RECVMMSG);
  const int fd = peer::receive_datagrams_on(arguments.port);
  if (uv_udp_open(&socket, fd) != 0) peer::fail("uv_udp_open");
  uv_udp_recv_start(&socket, give_block, echo);
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
