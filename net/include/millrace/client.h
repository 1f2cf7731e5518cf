// Client makes one connection at a time, and makes it again when told to. It owns the connection
// and is destroyed whenever you like, inside its own callbacks too: that cancels an attempt
// silently and ends a connection with error::owner_destroyed. Loop's thread only; handler and loop
// outlive it.
//
//   Client client(loop, {.on_open = [](Connection& c) { c.send("hello\n"); },
//                        .on_connect_failed = [](std::error_code why) { ... }});
//   client.connect("127.0.0.1:7000");
#pragma once

#include <millrace/connection_handler.h>
#include <millrace/connection_options.h>
#include <millrace/socket_address.h>
#include <millrace/socket_options.h>

#include <chrono>
#include <memory>
#include <string_view>

namespace millrace {

// After a failed attempt, and after a connection has ended other than by close(): wait, try again.
struct ReconnectOptions {
  bool enabled = false;
  // The first wait, what it is multiplied by after each failure, and its limit.
  std::chrono::milliseconds first_delay{100};
  double factor = 2.0;
  std::chrono::milliseconds longest_delay{30'000};
  // Each wait is shortened by a random part of up to this share, so that a thousand clients of a
  // server that was restarted do not come back in one instant. Between 0 and 1.
  double jitter = 0.25;
  // Failed attempts in a row after which it gives up; 0: never. A connection that ends before it
  // has received anything or has lived for `longest_delay` counts as a failed attempt.
  unsigned max_attempts = 0;
};

struct ClientOptions {
  SocketOptions socket;
  ConnectionOptions connection;
  // From connect() to the answer of the peer's kernel; then it fails with ETIMEDOUT. Zero: as long
  // as the kernel tries (about two minutes).
  std::chrono::milliseconds connect_timeout{10'000};
  // What is sent in on_open goes along with the SYN, a round trip earlier, to a server that has
  // given us a cookie (TCP Fast Open; bit 0 of net.ipv4.tcp_fastopen, without which one connects as
  // usual). Then on_open comes before anything is known of the server, and nothing happens until
  // something is sent: a refusal is on_close with ECONNREFUSED, and connect_timeout is over. For
  // who speaks first, and whose request may be done twice.
  bool fast_open = false;
  // Where to connect from; Family::none: the kernel chooses.
  SocketAddress local;
  ReconnectOptions reconnect;
};

class Client {
 public:
  enum class State : std::uint8_t { idle, connecting, connected, waiting };  // waiting to reconnect

  // A handler of yours, one that the client owns, or the same as lambdas.
  Client(EventLoop& loop, ConnectionHandler& handler, const ClientOptions& options = {});
  Client(EventLoop& loop, std::unique_ptr<ConnectionHandler> handler,
         const ClientOptions& options = {});
  Client(EventLoop& loop, Callbacks callbacks, const ClientOptions& options = {});
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client();

  // Starts an attempt. Its one result comes from the loop, never from inside this call: on_open, or
  // on_connect_failed with ECONNREFUSED, ETIMEDOUT, ENETUNREACH ... (a connection to itself, which
  // the kernel can make on loopback, counts as refused). Throws std::system_error for bad text and
  // for socket options that make no sense, std::logic_error when not idle. An option that the
  // kernel refuses fails the attempt with its error, and a warning in the log names it.
  void connect(std::string_view address);
  void connect(const SocketAddress& address);
  // Ends an attempt (on_connect_failed with ECANCELED), a wait, or the connection, gracefully; no
  // reconnect follows.
  void close();

  // In on_close the connection is no longer there: idle, and connect() may be called.
  State state() const noexcept;
  // Null unless connected.
  Connection* connection() const noexcept;

 private:
  class Core;
  std::unique_ptr<Core> core_;
};

}  // namespace millrace
