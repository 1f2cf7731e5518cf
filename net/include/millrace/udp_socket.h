// UdpSocket sends and receives UDP datagrams over IPv4 and IPv6: bound, connected or both, with
// multicast and broadcast. It is an owner (see DatagramSocket): destroyed whenever you like, inside
// its own callbacks too, and before its loop. Loop's thread only.
//
//   UdpSocket echo(loop, {.on_datagram = [](UdpSocket& s, const Datagram& d) {
//                           s.reply(d, d.bytes);
//                         }});
//   echo.bind("0.0.0.0:7000");     // or connect("192.0.2.1:7000"), or both
//
// One that is connected receives from its peer only. An error that the network reports (nobody
// listens there, no route) goes to on_error with the destination that it is about, and the socket
// goes on.
#pragma once

#include <millrace/datagram_socket.h>

#include <string_view>

namespace millrace {

class UdpSocket;
using UdpCallbacks = DatagramCallbacks<UdpSocket>;

class UdpSocket final : public DatagramSocket {
 public:
  // Opens nothing yet. May throw std::bad_alloc.
  UdpSocket(EventLoop& loop, UdpCallbacks callbacks, const DatagramOptions& options = {});

  // Port 0: the kernel chooses, address() tells. To receive multicast bind the wildcard address, or
  // that of the group to receive nothing else. They throw std::system_error naming the call and the
  // address (EADDRINUSE, EACCES, EADDRNOTAVAIL, ENETUNREACH ...; EINVAL for bad text and for what
  // is bound already; EISCONN for what is connected already) and leave the socket as it was.
  void bind(std::string_view address);
  void bind(const SocketAddress& address);
  void connect(std::string_view peer);
  void connect(const SocketAddress& peer);

  // Receives what is sent to a group (its port does not matter), until leave() of the same or
  // close(). A socket receives only of the groups that it has joined itself. They throw
  // std::system_error naming the group: ENODEV for no such interface, EADDRINUSE when it is a
  // member, EADDRNOTAVAIL when it is not, EBADF before bind() or connect().
  void join(const SocketAddress& group, const MulticastMembership& membership = {});
  void leave(const SocketAddress& group, const MulticastMembership& membership = {});
};

}  // namespace millrace
