// ConnectionPool::Core is what a ConnectionPool is made of. It outlives it by the rest of the
// iteration, because a callback of it may be running. Loop's thread.
//
// Whatever happens (a request, a connection that is there, free or gone, a time that is over) only
// changes lists and uses, and asks for serve(), which runs as a timer: it tells who has failed,
// lends, and makes connections. Nobody else calls the user.
//
//     connecting -> trial -> idle <-> lent        (trial: with prepare_new() or check_idle())
//            \________|________|_______|___ closing -> gone
#pragma once

#include <millrace/connection_pool.h>
#include <millrace/loop_services.h>
#include <millrace/timer.h>

#include "backoff.h"
#include "pooled_connection.h"

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

namespace millrace {

// A request, owned by the LeaseRequest, in one of the pool's lists while it waits.
class LeaseRequest::Waiter {
 public:
  struct List {
    Waiter* first = nullptr;
    Waiter* last = nullptr;
    std::size_t size = 0;
    void push_back(Waiter& waiter) noexcept;
    void remove(Waiter& waiter) noexcept;
  };

  explicit Waiter(ConnectionPool::Acquired acquired) noexcept : done(std::move(acquired)) {}
  ~Waiter() { leave(); }
  void leave() noexcept {
    if (list) list->remove(*this);
  }

  ConnectionPool::Acquired done;
  TimePoint deadline{};
  std::error_code failure;  // what it will be told
  List* list = nullptr;     // null: it waits no more
  Waiter* next = nullptr;
  Waiter* previous = nullptr;
};

class ConnectionPool::Core final : public Mortal {
 public:
  using Waiter = LeaseRequest::Waiter;
  using Use = PooledConnection::Use;

  Core(EventLoop& loop, std::string target, const ConnectionPoolOptions& options);

  EventLoop& loop() const noexcept { return loop_; }
  std::unique_ptr<Waiter> acquire(Acquired done);
  void prepare_new(Function<void(ConnectionLease)> prepare) { prepare_.set(std::move(prepare)); }
  void check_idle(Function<void(ConnectionLease)> check) { check_.set(std::move(check)); }
  ConnectionPoolStats stats() const noexcept;
  std::error_code last_error() const noexcept { return last_error_; }
  void end() noexcept;  // the ConnectionPool is gone

  // Of the places.
  void opened(PooledConnection& place) noexcept;
  void returned(PooledConnection& place, bool good) noexcept;
  void spoiled(PooledConnection& place) noexcept;
  void ended(PooledConnection& place) noexcept;

 private:
  // A callback that may be replaced while it runs.
  struct Trial {
    using Callback = Function<void(ConnectionLease)>;
    void set(Callback replacement) {
      callback = std::make_shared<Callback>(std::move(replacement));
    }
    explicit operator bool() const noexcept { return callback && *callback; }
    std::shared_ptr<Callback> callback;
  };

  std::size_t count(Use use) const noexcept { return counts_[static_cast<std::size_t>(use)]; }
  std::size_t coming() const noexcept { return count(Use::connecting) + count(Use::trial); }
  std::size_t open() const noexcept { return coming() + count(Use::idle) + count(Use::lent); }
  void set_use(PooledConnection& place, Use use) noexcept;
  void serve_soon() noexcept { serve_timer_.start(Duration(0)); }

  void serve();
  bool tell_failed();
  bool lend_idle();
  void lend(PooledConnection& place);
  void try_out(PooledConnection& place, const Trial& trial) noexcept;
  void make_connections();
  void make_connection() noexcept;
  bool may_connect() const noexcept;
  void attempt_failed(std::error_code why) noexcept;
  void attempt_succeeded() noexcept;
  void trial_failed(const PooledConnection& place, std::error_code why) noexcept;
  void close(PooledConnection& place) noexcept;
  void fail_waiting(std::error_code why) noexcept;
  bool worn_out(const PooledConnection& place) const noexcept;
  bool too_long_idle(const PooledConnection& place) const noexcept;
  bool needs_check(const PooledConnection& place) const noexcept;
  void sweep() noexcept;
  void schedule_sweep() noexcept;
  void expire_waiting() noexcept;
  void schedule_expiry() noexcept;

  EventLoop& loop_;
  const std::string target_;
  const ConnectionPoolOptions options_;
  bool ended_ = false;
  std::vector<std::unique_ptr<PooledConnection>> places_;
  std::vector<PooledConnection*> idle_;  // the one used last at the end; has room for all places
  std::array<std::size_t, PooledConnection::kUses> counts_{};
  Waiter::List waiting_;
  Waiter::List failed_;  // to be told
  Trial prepare_;
  Trial check_;
  Backoff backoff_;
  unsigned failures_ = 0;  // rounds of attempts in a row
  std::error_code last_error_;
  ConnectionPoolStats stats_;
  Timer serve_timer_;
  Timer retry_timer_;   // runs while no attempt may be made
  Timer sweep_timer_;   // until an idle one or a trial is over its time
  Timer expiry_timer_;  // until the request at the head is
};

}  // namespace millrace
