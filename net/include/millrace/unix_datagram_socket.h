// UnixDatagramSocket sends and receives datagrams between processes of one machine, by the names of
// Unix sockets. None is lost on the way or overtakes another; who sends waits when the receiver's
// queue is full. It is an owner (see DatagramSocket), and of the file of a path that it is bound
// to. Loop's thread only.
//
//   UnixDatagramSocket log(loop, {.on_datagram = [](UnixDatagramSocket&, const Datagram& d) {
//                            std::cout << d.from << ": " << d.bytes.text() << '\n';
//                          }});
//   log.bind("unix:/run/log.sock");   // or "unix:@log", an abstract name without a file
//
// A receiver that does not read (net.unix.max_dgram_qlen of its datagrams wait, 10 by default)
// holds back what comes behind in our queue, whomever it is for: for several receivers that cannot
// be trusted take a connected socket each. For its peer a connected one waits for EPOLLOUT; of
// whom it is not connected to the kernel does not tell when there is room, and the socket asks
// again after 1, 2, 4 ... 64 ms.
//
// A peer that is gone is lost to a connected socket: ECONNREFUSED once, then ENOTCONN, until
// disconnect() and connect(), though another may be bound to its name by then.
#pragma once

#include <millrace/datagram_socket.h>
#include <millrace/unix_path_options.h>

#include <string_view>

namespace millrace {

class UnixDatagramSocket;
using UnixDatagramCallbacks = DatagramCallbacks<UnixDatagramSocket>;

class UnixDatagramSocket final : public DatagramSocket {
 public:
  // Opens nothing yet; of the options those count that name neither IP nor multicast. May throw
  // std::bad_alloc.
  UnixDatagramSocket(EventLoop& loop, UnixDatagramCallbacks callbacks,
                     const DatagramOptions& options = {});

  // "unix:@" takes an abstract name that the kernel chooses. Who is bound to none can be heard but
  // not answered: its datagrams come from Family::none. They throw std::system_error naming the
  // call and the address (EADDRINUSE, ENOENT, EACCES, ECONNREFUSED when nobody is bound to the
  // peer's name, EPROTOTYPE when it is a stream socket's ...; EAFNOSUPPORT for an address of IP,
  // EINVAL for bad text and for what is bound already, EISCONN) and leave the socket as it was.
  void bind(std::string_view address, const UnixPathOptions& path = {});
  void bind(const SocketAddress& address, const UnixPathOptions& path = {});
  void connect(std::string_view peer);
  void connect(const SocketAddress& peer);
};

}  // namespace millrace
