// The datagram echo server over millrace.
#include <millrace/event_loop.h>
#include <millrace/udp_socket.h>

#include "peer.h"

using namespace millrace;

int main(int argc, char** argv) {
  const auto arguments = peer::arguments(argc, argv, "millrace " PEER_VERSION);
  EventLoop loop;
  UdpSocket echo(
      loop, {.on_datagram = [](UdpSocket& s, const Datagram& d) { s.send_to(d.from, d.bytes); }});
  echo.bind(SocketAddress::loopback(arguments.port));
  peer::announce(echo.address().port());
  loop.run();
}
