// Server listens, accepts and owns its connections. It is destroyed whenever you like, inside its
// own callbacks too: that ends its connections with error::owner_destroyed. Loop's thread only; the
// handler and the loop outlive it.
//
//   Server server(loop, {.on_data = [](Connection& c, ReceiveBuffer& in) {
//     c.send(in.view());
//     in.consume_all();
//   }});
//   server.listen("127.0.0.1:7000");
//   loop.run();
#pragma once

#include <millrace/connection_handler.h>
#include <millrace/connection_options.h>
#include <millrace/listener.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>

namespace millrace {

struct ServerOptions {
  ListenOptions listen;
  ConnectionOptions connection;
  // With so many open the server stops accepting until one leaves; more wait in the kernel's queue.
  std::size_t max_connections = 100'000;
};

struct ServerStats {
  std::uint64_t accepted = 0;
  std::uint64_t adopted = 0;
  std::uint64_t refused =
      0;  // accepted or adopted, and closed at once: no memory, or the kernel had no room
  std::uint64_t aborted = 0;    // went away before they were accepted
  std::uint64_t exhausted = 0;  // times that accepting paused because descriptors ran out
  std::uint64_t dropped = 0;    // were queued when listening stopped, and could not be taken: reset
};

struct DrainResult {
  std::size_t finished = 0;  // ended by themselves before the deadline
  std::size_t cut = 0;       // aborted at the deadline, or still waiting to be opened
};

class Server {
 public:
  // One handler for all connections: of yours, owned by the server, or as lambdas; or one made for
  // each connection.
  Server(EventLoop& loop, ConnectionHandler& handler, const ServerOptions& options = {});
  Server(EventLoop& loop, std::unique_ptr<ConnectionHandler> handler,
         const ServerOptions& options = {});
  Server(EventLoop& loop, Callbacks callbacks, const ServerOptions& options = {});
  Server(EventLoop& loop, HandlerFactory factory, const ServerOptions& options = {});
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  // on_close of every connection runs before this returns, but for a connection whose own callback
  // is on the stack: its on_close runs when that callback returns.
  ~Server();

  // Starts listening, on further addresses too: "127.0.0.1:7000", "unix:/run/x.sock". Throws
  // std::system_error naming address and reason: bad text, address in use, no permission ...
  void listen(std::string_view address);
  void listen(const SocketAddress& address);
  // Opens a connection on a connected socket that was made elsewhere: accepted by another process
  // and passed (unix_connection.h), inherited, or one of a socketpair. on_open comes from the loop,
  // above max_connections when one leaves; its options stay as they are, but for O_NONBLOCK, which
  // is set for all who share it. What is not a connected stream socket, of TCP or Unix, is closed:
  // EBADF, ENOTSOCK, EPROTOTYPE (of another type), EINVAL (it listens), ENOTCONN, EAFNOSUPPORT.
  [[nodiscard]] std::error_code adopt(UniqueFd socket);
  // Where the first listener listens, with the port that the kernel chose; none if there is none.
  SocketAddress address() const;

  // Closes the listeners; open connections live on. Whoever has connected by now and only waits to
  // be accepted is not reset (see Listener::stop()): it is opened from the loop, above
  // max_connections when one leaves.
  void stop_accepting();
  // Stops accepting, and asks every connection to come to an end, also those that are yet to be
  // opened: on_drain, from the loop, which closes it gracefully unless your handler does otherwise.
  // Those that are still there at the deadline are aborted with error::drain_deadline; with a
  // deadline of zero that is all, and at once. `done` (may be empty) is called once, from the loop.
  // Again while it lasts: the new deadline counts for all, on_drain is not repeated, and each
  // `done` is called.
  void drain(std::chrono::milliseconds deadline, Function<void(DrainResult)> done = {});

  // Without a connection whose on_close has begun.
  std::size_t connection_count() const noexcept;
  // Calls visit(Connection&) for each open connection; it may close any of them.
  void for_each(Function<void(Connection&)> visit);
  ServerStats stats() const noexcept;

 private:
  class Core;
  std::unique_ptr<Core> core_;
};

}  // namespace millrace
