// Ends of TCP connections that behave badly on demand, and questions to sockets that the product
// owns. Values of a test; what they open closes with them.
//
//   ClosedPort nobody;                    // connect(nobody.address()) is refused
//   FullListener silent;                  // connect(silent.address()) gets no answer
//   auto peers = connect_peers(server.address(), 100);
#pragma once

#include <millrace/socket_address.h>

#include "support/raw_socket.h"

#include <cstddef>
#include <vector>

namespace millrace::test {

// A loopback port that is taken, and on which nobody listens: it stays closed.
class ClosedPort {
 public:
  explicit ClosedPort(const SocketAddress& at = SocketAddress::loopback(0));
  SocketAddress address() const { return socket_.address(); }

 private:
  RawSocket socket_;
};

// Listens, but its queue is full: the kernel drops every further SYN, and connecting takes for
// ever.
class FullListener {
 public:
  explicit FullListener(const SocketAddress& at = SocketAddress::loopback(0));
  SocketAddress address() const { return listener_.address(); }
  // Takes the one that fills the queue out of it: the next SYN is answered.
  void make_room() { accepted_ = listener_.accept(); }

 private:
  RawSocket listener_;
  RawSocket filler_;
  RawSocket accepted_;
};

std::vector<RawSocket> connect_peers(const SocketAddress& address, std::size_t n);

// A loopback port on which the test will listen, and which nobody else gets meanwhile.
class ReservedPort {
 public:
  explicit ReservedPort(const SocketAddress& like = SocketAddress::loopback(0));
  SocketAddress address() const { return socket_.address(); }

 private:
  RawSocket socket_;
};

// Of a loopback port that was free a moment ago: for who must be the only one to bind it.
SocketAddress free_address();

// The value of an integer option; -1 if it cannot be had.
int socket_option(int fd, int level, int name);

// The descriptor in this process that listens on `address`; -1 if none does.
int listening_descriptor(const SocketAddress& address);

// How many connections the kernel queues for who listens there in this process: its backlog.
unsigned longest_queue(const SocketAddress& address);

}  // namespace millrace::test
