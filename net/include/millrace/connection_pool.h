// ConnectionPool lends connections to one endpoint: it keeps them open between two uses, makes new
// ones when there are too few, and never has more than its limit. It is destroyed whenever you
// like, inside its own callbacks too: that ends its connections with error::owner_destroyed,
// empties their leases and forgets who waits. Loop's thread only; the loop outlives it.
//
//   ConnectionPool pool(loop, "db.example:6379", {.max_connections = 8});
//   request_ = pool.acquire([this](std::error_code why, ConnectionLease lease) {
//     if (why) return fail(why);
//     lease->set_handler(*this);
//     lease->send("PING\r\n");
//     lease_ = std::move(lease);        // its end gives the connection back
//   });
//
// Who came first is served first. The connection used last is lent first, so that the others grow
// old and go. One that its peer closes, or that says something unasked, is closed at once.
#pragma once

#include <millrace/client_options.h>
#include <millrace/connection_lease.h>
#include <millrace/function.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>

namespace millrace {

class EventLoop;

struct ConnectionPoolOptions {
  // Lent, idle, and being made. Those that are closing do not count.
  std::size_t max_connections = 16;
  // Of them, idle: those used longest ago are closed beyond it, ...
  std::size_t max_idle = 16;
  // ... and after so long without use: shorter than the peer's patience, or it closes them while
  // they are being lent. Zero: never.
  std::chrono::milliseconds idle_timeout{30'000};
  // Requests that wait; one more fails with error::pool_full.
  std::size_t max_waiting = 1024;
  // From acquire() until a connection is there; then error::pool_timeout, or why no connection can
  // be made. Zero: for ever.
  std::chrono::milliseconds acquire_timeout{30'000};
  // A connection is not lent again once it is so old (so that all find a server that was added), or
  // has been lent so often. Zero: without limit.
  std::chrono::milliseconds max_lifetime{0};
  std::uint64_t max_uses = 0;
  // An idle connection goes through check_idle() when it was last used or checked so long ago.
  std::chrono::milliseconds check_after{10'000};
  // How long prepare_new() and check_idle() may keep a connection; then it is aborted. Zero: for
  // ever.
  std::chrono::milliseconds check_timeout{5'000};
  // How each connection is made. Of `reconnect` only the delays count: when no connection can be
  // made those who wait get the error (unless connections are lent that may come back), and the
  // next attempt, a single one, is made only after them, however many ask.
  ClientOptions client;
};

struct ConnectionPoolStats {
  std::size_t connecting = 0;  // or being prepared or checked
  std::size_t idle = 0;
  std::size_t lent = 0;
  std::size_t waiting = 0;       // requests
  std::uint64_t made = 0;        // connections that were opened
  std::uint64_t failed = 0;      // attempts that were not
  std::uint64_t leases = 0;      // given to requests
  std::uint64_t closed_old = 0;  // too old, too often used, too long or too many idle
  std::uint64_t closed_bad = 0;  // ended by the peer, spoke unasked, or failed a check while idle
  std::uint64_t timed_out = 0;   // requests
  std::uint64_t refused = 0;     // requests, with error::pool_full
};

// A request that waits: destroying it cancels it, and then its callback is not called. It may
// outlive the pool, and is inactive then.
class LeaseRequest {
 public:
  LeaseRequest() noexcept;  // of nothing
  LeaseRequest(LeaseRequest&& other) noexcept;
  LeaseRequest& operator=(LeaseRequest&& other) noexcept;
  ~LeaseRequest();

  // Whether the callback will still come. False inside it.
  bool active() const noexcept;
  void cancel() noexcept;

 private:
  friend class ConnectionPool;
  class Waiter;
  explicit LeaseRequest(std::unique_ptr<Waiter> waiter) noexcept;
  std::unique_ptr<Waiter> waiter_;
};

class ConnectionPool {
 public:
  using Acquired = Function<void(std::error_code why, ConnectionLease lease), 48>;

  // Connects only when somebody asks. Throws as Client::connect() does for a bad text.
  ConnectionPool(EventLoop& loop, std::string_view target,
                 const ConnectionPoolOptions& options = {});
  ConnectionPool(EventLoop& loop, const SocketAddress& address,
                 const ConnectionPoolOptions& options = {});
  ConnectionPool(const ConnectionPool&) = delete;
  ConnectionPool& operator=(const ConnectionPool&) = delete;
  ~ConnectionPool();

  // Calls back from the loop, never from inside this call, exactly once unless cancelled: with a
  // lease, or why there is none. Keep the result: destroying it cancels.
  [[nodiscard]] LeaseRequest acquire(Acquired done);

  // Every new connection is lent to `prepare` before anybody else gets it (to greet, to log in),
  // and every idle one to `check` when it was not used for `check_after` (to ask whether the server
  // is well): it is good when the lease is released, and not when it is discarded or the connection
  // ends. While no new one is good, the endpoint counts as one that refuses.
  void prepare_new(Function<void(ConnectionLease)> prepare);
  void check_idle(Function<void(ConnectionLease)> check);

  ConnectionPoolStats stats() const noexcept;
  // Why the last attempt to make a connection failed; none since one was made.
  std::error_code last_error() const noexcept;

 private:
  friend class LeaseRequest;
  friend class PooledConnection;
  class Core;
  std::unique_ptr<Core> core_;
};

}  // namespace millrace
