// DatagramSocket is what all datagram sockets have in common; one makes a UdpSocket or a
// UnixDatagramSocket. It is an owner: destroying it closes it, also inside its own callbacks. No
// callback runs from inside a call. Loop's thread only.
//
//   socket.send_to(to, bytes);     // leaves when the callback returns, with all others
//   socket.reply(d, bytes);        // to who sent d, from where it arrived
//   if (!socket.send(bytes)) ...   // connected; see DatagramResult
//
// Sending makes no system call: what a callback sends leaves together when it returns, and what is
// sent from elsewhere at the end of the loop's iteration. What the kernel has no room for waits in
// a queue (DatagramOptions::queue_bytes) and leaves when there is room.
#pragma once

#include <millrace/bytes.h>
#include <millrace/datagram.h>
#include <millrace/datagram_options.h>
#include <millrace/function.h>
#include <millrace/socket_address.h>

#include <cstddef>
#include <system_error>

namespace millrace {

class DatagramCore;
class EventLoop;
struct DatagramHooks;

// Each is optional; without on_datagram nothing is read. What one throws goes to the loop's
// exception hook, and the socket goes on.
template <class Socket>
struct DatagramCallbacks {
  // Once for each datagram, in the order of their arrival.
  Function<void(Socket&, const Datagram&)> on_datagram = {};
  // After a result `refused` or `dropped`, or a drop of the oldest: half of the queue is free
  // again.
  Function<void(Socket&)> on_drained = {};
  Function<void(Socket&, const DatagramError&)> on_error = {};
};

class DatagramSocket {
 public:
  DatagramSocket(const DatagramSocket&) = delete;
  DatagramSocket& operator=(const DatagramSocket&) = delete;

  // These copy the bytes, and may throw std::bad_alloc. To the peer of a connected socket:
  DatagramResult send(ByteView bytes);
  // Of a socket that is not connected:
  DatagramResult send_to(const SocketAddress& to, ByteView bytes);
  // To d.from, connected or not; from d.local, if that is known.
  DatagramResult reply(const Datagram& d, ByteView bytes);
  // Hands what is queued to the kernel now, instead of when the callback returns.
  void flush();

  // While paused the kernel keeps what arrives, as far as its receive buffer goes. What was already
  // taken from it is delivered after resume_reading(). Errors are reported all the same.
  void pause_reading();
  void resume_reading();
  bool reading_paused() const noexcept;

  // Forgets the peer. Fails with ENOTCONN when there is none. What is queued for it is tried once
  // more and then given up.
  std::error_code disconnect();
  // Tries what is queued once more and gives the rest up. Afterwards the socket may be bound anew.
  // No callback follows, but for those of a later life.
  void close();

  bool is_open() const noexcept;
  bool is_connected() const noexcept;
  // Where it is bound; none while it is not open.
  SocketAddress address() const;
  SocketAddress peer() const;  // none unless connected
  std::size_t queued_bytes() const noexcept;
  std::size_t queued_datagrams() const noexcept;
  DatagramStats stats() const;
  // For options that have no name here. -1 while it is not open. Not for reading, writing, closing.
  int fd() const noexcept;
  EventLoop& loop() const noexcept;

 protected:
  DatagramSocket(EventLoop& loop, DatagramHooks hooks, const DatagramOptions& options);
  ~DatagramSocket();

  DatagramCore& core() const noexcept { return *core_; }

 private:
  DatagramCore* core_;
};

}  // namespace millrace
