// Listener waits for connections on one address, TCP or Unix, and hands over their sockets; a
// Server does that and the rest. It is an owner: destroying it stops listening, also inside its own
// callback; that resets the connections that still wait in its queue, unless stop() has come before
// and they were handed over. Loop's thread only.
//
//   Listener listener(loop, SocketAddress::parse("127.0.0.1:0"),
//                     [](UniqueFd socket, const SocketAddress& peer) { ... });
//   std::cout << listener.address();   // with the port that the kernel chose
#pragma once

#include <millrace/function.h>
#include <millrace/socket_address.h>
#include <millrace/socket_options.h>
#include <millrace/unique_fd.h>
#include <millrace/unix_path_options.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <system_error>

namespace millrace {

class EventLoop;

struct ListenOptions {
  // How many connections the kernel completes and queues before we accept them; it caps this at
  // net.core.somaxconn.
  int backlog = 4096;
  // The port may be taken though connections of an earlier process are still in TIME_WAIT there,
  // which is where each is for a minute that we closed first. Off: a restart fails with EADDRINUSE
  // for that minute. Two sockets that listen never share a port by this.
  bool reuse_address = true;
  // Several sockets may listen on one port, and the kernel spreads connections over them: of one
  // user, and each of them must say so. Off: two processes never share a port by accident, and the
  // connections that wait in the queue of one that is gone are not lost.
  bool reuse_port = false;
  // An IPv6 listener takes IPv6 connections only. Off: IPv4 ones too, as ::ffff:a.b.c.d; then no
  // other socket can have the port for IPv4.
  bool v6_only = false;
  // The kernel reports a connection only when its first bytes are there, or after about this time
  // (to 3,600 s). For protocols in which the client speaks first: who only connects costs us
  // nothing, and connection and first bytes cost one wake-up. Zero: at once.
  std::chrono::seconds defer_accept{0};
  // So many clients at once may send their first bytes along with their SYN, which saves them a
  // round trip: those who were here before and have a cookie (TCP Fast Open). A SYN may come twice,
  // and its bytes with it: for requests that may be done twice. Needs bit 1 (2) of
  // net.ipv4.tcp_fastopen. Zero: none.
  int fast_open_queue = 0;
  // Set on the listener, inherited by what it accepts.
  SocketOptions socket;
  // Of the file of a Unix socket. The options of ports mean nothing to those.
  UnixPathOptions path;
};

struct ListenerStats {
  std::uint64_t accepted = 0;
  std::uint64_t aborted = 0;    // went away before they were accepted
  std::uint64_t exhausted = 0;  // times that descriptors or memory ran out
  std::uint64_t dropped = 0;    // were queued when it stopped, and could not be taken: reset
};

class Listener {
 public:
  // The socket is non-blocking and close-on-exec. Do anything with it, and to the listener.
  using Accepted = Function<void(UniqueFd socket, const SocketAddress& peer), 48>;

  // Throws std::system_error naming the call and the address: EADDRINUSE, EACCES, EADDRNOTAVAIL ...
  Listener(EventLoop& loop, const SocketAddress& address, Accepted accepted,
           const ListenOptions& options = {});
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&& other) noexcept;
  ~Listener();

  SocketAddress address() const;
  // While paused, connections wait in the kernel's queue. When the process runs out of descriptors
  // or memory the listener pauses itself, and tries again after 10 ms, doubling up to one second.
  void pause() noexcept;
  void resume() noexcept;
  bool paused() const noexcept;
  // Something was freed: what was paused by exhaustion tries again at once.
  void retry() noexcept;
  // Stops listening without resetting who has connected: takes what waits in the kernel's queue out
  // of it now, so that the port is free when this returns, and hands it over from the loop, as many
  // per turn as otherwise; pause() holds it back. What cannot be taken, for want of descriptors or
  // memory, is reset and counted (of Unix sockets not: the kernel does not tell how many). A
  // connection whose handshake ends in the instant between the last look and the end is reset too:
  // Linux knows no way to end a queue without that. Once this process has forked, another one may
  // share the socket: its queue then keeps its length, and in a child that has not called
  // reinit_after_fork() nothing is taken. Afterwards address() is none.
  void stop() noexcept;
  // How many stop() has taken that are not handed over yet.
  std::size_t waiting() const noexcept;
  // The listening socket itself has failed, which no known kernel does; it accepts no more.
  // Default: an error in the log.
  void on_failure(Function<void(std::error_code)> callback);
  ListenerStats stats() const noexcept;

 private:
  class Core;
  Core* core_;
};

}  // namespace millrace
