// Client makes one connection at a time, and makes it again when told to. It owns the connection
// and is destroyed whenever you like, inside its own callbacks too: that cancels an attempt
// silently and ends a connection with error::owner_destroyed. Loop's thread only; handler and loop
// outlive it.
//
//   Client client(loop, {.on_data = [](Connection& c, ReceiveBuffer& in) { ... },
//                        .on_connect_failed = [](std::error_code why) { ... }});
//   client.connect("example.com:7000");
//   client.send("hello\n");                 // waits for the connection
#pragma once

#include <millrace/client_options.h>
#include <millrace/connection_handler.h>
#include <millrace/send_result.h>
#include <millrace/socket_address.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace millrace {

struct ClientStats {
  std::uint64_t attempts = 0;     // begun; one may have tried several addresses
  std::uint64_t failures = 0;     // of them, connections that were never there
  std::uint64_t connections = 0;  // opened
  // Of Client::send(): kept for a connection, and given up together with it.
  std::uint64_t dropped_messages = 0;
  std::uint64_t dropped_bytes = 0;
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
  // on_connect_failed with the most telling of what its addresses said: that one refused (a
  // connection to itself, which the kernel can make on loopback, counts as refused) rather than
  // that one was silent, and that rather than that one cannot be reached; otherwise what was
  // wrong with the name. Takes what SocketAddress::parse() does, a host's name with a port, or
  // addresses in the order of preference (the first 64). Throws std::system_error for a text that
  // is neither, naming it, for no address at all, and for socket options that make no sense,
  // std::logic_error when not idle. An option that the kernel refuses fails the attempt with its
  // error, and a warning in the log names it.
  void connect(std::string_view target);
  void connect(const SocketAddress& address);
  void connect(std::span<const SocketAddress> addresses);
  // Ends an attempt (on_connect_failed with ECANCELED), a wait, or the connection, gracefully; no
  // reconnect follows.
  void close();

  // As Connection::send(). While it connects or waits (and, when it will reconnect, from the end of
  // a connection on) the message is kept, and goes with the next connection: right after what
  // on_open itself sends, in order, before anything else. It is given to one connection, once, and
  // whole; what that one loses is not sent again. No more than ClientOptions::queue_bytes are kept:
  // `refused` beyond (on_drained follows the queue, unless the client gives up), too_large for what
  // never fits. Closed: there is no connection and none to come. When the client gives up, or by
  // close() before a connection, what is kept is dropped and counted in stats(), before
  // on_connect_failed.
  SendResult send(ByteView bytes) { return send_together(bytes, {}); }
  SendResult send_together(ByteView first, ByteView second, ByteView third = {});
  // Kept for the next connection.
  std::size_t queued_bytes() const noexcept;

  // In on_close the connection is no longer there: idle, and connect() may be called.
  State state() const noexcept;
  // Called by the loop whenever the state has become another one, after the connection's own
  // callback; not for what your call of connect() or close() changes at once.
  void on_state_changed(Function<void(State)> callback);
  // Null unless connected.
  Connection* connection() const noexcept;
  // In a row; what ReconnectOptions::max_attempts limits.
  unsigned failed_attempts() const noexcept;
  // The connection has been of use, as only the protocol knows: the next wait is `first_delay`.
  void restart_backoff() noexcept;
  // How long it still waits; no value unless waiting.
  std::optional<std::chrono::milliseconds> next_attempt_in() const noexcept;
  // Why the last attempt failed or the last connection ended; none while connected, or before.
  std::error_code last_error() const noexcept;
  // What became of each address of the last attempt, in the order in which they were tried:
  // "[::1]:7000: Connection refused; 127.0.0.1:7000: connected".
  std::string attempt_detail() const;
  ClientStats stats() const noexcept;

 private:
  class Core;
  std::unique_ptr<Core> core_;
};

}  // namespace millrace
