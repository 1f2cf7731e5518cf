// ConnectionHandler is what you write: the callbacks of one kind of connection. One object may
// serve all connections of a server, or a factory makes one for each; it must outlive its
// connections' on_close. All callbacks run in the loop's thread, never from inside a call that you
// make.
//
//   struct Echo : ConnectionHandler {
//     void on_data(Connection& c, ReceiveBuffer& in) override {
//       c.send(in.view());
//       in.consume_all();
//     }
//   };
//
// A callback may do anything: close this or another connection, stop or destroy the server, throw
// (which closes the connection with error::handler_exception).
#pragma once

#include <millrace/connection.h>
#include <millrace/error.h>
#include <millrace/function.h>
#include <millrace/receive_buffer.h>

#include <memory>
#include <system_error>

namespace millrace {

class ConnectionHandler {
 public:
  virtual ~ConnectionHandler() = default;

  // The connection is there; from now until on_close returns, `c` is valid.
  virtual void on_open(Connection&) {}
  // Bytes have arrived. Consume what you can: the rest comes again, together with more.
  virtual void on_data(Connection& c, ReceiveBuffer& in) = 0;
  // The send queue had been above its high watermark, or had no room for a message, and has come
  // down to the low one.
  virtual void on_drained(Connection&) {}
  // The peer has sent FIN: nothing more will come. What was not consumed is in c.unconsumed(). By
  // default what is queued is sent and the connection closed; to go on sending, override it and
  // close() later.
  virtual void on_peer_end(Connection& c) { c.close(); }
  // Only of a Server: it drains (Server::drain). Once for each open connection, right after on_open
  // for one that opens while it does, while reading is paused too. By default what is queued is
  // sent and the connection closes; to finish your work first, override it and close() later: what
  // is still there at the deadline is aborted with error::drain_deadline.
  virtual void on_drain(Connection& c) { c.close(); }
  // The last callback, exactly once for each on_open. No error: an orderly end. `c` may still be
  // asked (peer(), stats(), close_detail()); what it is told to do has no effect, and what this
  // throws is reported and changes nothing.
  virtual void on_close(Connection&, std::error_code /*why*/) {}
  // Only of a Client: no connection could be made, so that there will be no on_open and no
  // on_close.
  virtual void on_connect_failed(std::error_code /*why*/) {}
};

// The same as lambdas, shared by all connections. What is left out does what ConnectionHandler
// does; on_data left out discards.
struct Callbacks {
  Function<void(Connection&)> on_open = {};
  Function<void(Connection&, ReceiveBuffer&)> on_data = {};
  Function<void(Connection&)> on_drained = {};
  Function<void(Connection&)> on_peer_end = {};
  Function<void(Connection&)> on_drain = {};
  Function<void(Connection&, std::error_code)> on_close = {};
  Function<void(std::error_code)> on_connect_failed = {};
};

// Makes the handler of a new connection, which owns it until after on_close.
using HandlerFactory = Function<std::unique_ptr<ConnectionHandler>()>;

}  // namespace millrace
