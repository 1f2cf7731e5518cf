// ConnectionLease is the right to use a connection of a ConnectionPool: it ends when the lease is
// destroyed, and gives the connection back to the pool, which lends it again if it is sound. It may
// outlive the pool, and is empty then. Movable; loop's thread.
//
//   lease->set_handler(*this);        // what arrives is ours now
//   lease->send(request);
//   ...
//   lease.release();                  // the answer is complete: for the next one
//
// As long as no handler was set, what arrives is kept for it. Once the lease has ended, the handler
// is told nothing more, not even on_close. A lease that an exception destroys is discarded.
// Contexts stay with the connection: what is known of it (a prepared statement) is known to the
// next.
#pragma once

#include <millrace/connection.h>

#include <exception>

namespace millrace {

class PooledConnection;

class ConnectionLease {
 public:
  ConnectionLease() noexcept = default;  // of nothing
  ConnectionLease(ConnectionLease&& other) noexcept;
  ConnectionLease& operator=(ConnectionLease&& other) noexcept;
  ~ConnectionLease();

  // Null once the connection has ended (its on_close is the last moment), and when there is none.
  Connection* get() const noexcept;
  explicit operator bool() const noexcept { return get() != nullptr; }
  // Precondition: get() is not null.
  Connection* operator->() const;
  Connection& operator*() const { return *operator->(); }

  // Gives it back. It is not lent again, but closes (what was sent still arrives), if it has ended
  // either way, is paused, or has received something that was not consumed (or descriptors that
  // were not taken): an answer to the last user must not become one to the next. (One that was
  // piped goes on to the end of its pipe.)
  void release() noexcept;
  // Gives it back to be closed: for who does not know any more what will arrive next.
  void discard() noexcept;

 private:
  friend class PooledConnection;
  explicit ConnectionLease(PooledConnection& connection) noexcept;
  PooledConnection* pooled_ = nullptr;
  int exceptions_ = std::uncaught_exceptions();  // that were under way when it was made
};

}  // namespace millrace
