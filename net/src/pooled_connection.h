// PooledConnection is one place of a ConnectionPool: a Client that connects once, and its handler
// while nobody else is. The pool's Core owns it; it is buried after its connection has ended, or
// with the pool. Loop's thread.
#pragma once

#include <millrace/client.h>
#include <millrace/connection_lease.h>
#include <millrace/connection_pool.h>
#include <millrace/loop_services.h>
#include <millrace/time.h>

#include <cstdint>
#include <optional>

namespace millrace {

class PooledConnection final : public ConnectionHandler, public Mortal {
 public:
  enum class Use : std::uint8_t { connecting, trial, idle, lent, closing };
  static constexpr std::size_t kUses = 5;

  PooledConnection(ConnectionPool::Core& pool, EventLoop& loop, const ClientOptions& options);

  // Both may be null: it is being made, or has ended.
  Connection* connection() const noexcept { return client_ ? client_->connection() : nullptr; }
  void connect(std::string_view target) { client_->connect(target); }
  std::error_code last_error() const noexcept { return client_->last_error(); }

  // An empty lease is no way to it.
  ConnectionLease lend() noexcept { return ConnectionLease(*this); }
  void take_back() noexcept;
  // It belongs to a pipe now, which sees to its end.
  bool piped() const noexcept;
  // As if nobody had used it.
  bool sound() const noexcept;
  void close() { client_->close(); }
  void abort(std::error_code why) { client_->connection()->abort(why); }
  void empty_lease() noexcept;
  void end() noexcept { client_.reset(); }  // the pool is gone: whoever has it is told by on_close

  Use use = Use::connecting;
  bool is_new = true;  // no request has had it, and no prepare_new() has passed it
  std::uint64_t uses = 0;
  TimePoint opened{};
  TimePoint used{};     // until then
  TimePoint checked{};  // or used until then
  TimePoint tried{};    // the trial that runs began then

 private:
  friend class ConnectionLease;
  // Its peer may speak first: that is for whoever gets it.
  bool is_untouched() const noexcept { return is_new && use == Use::idle; }
  void on_open(Connection& c) override;
  void on_data(Connection& c, ReceiveBuffer& in) override;
  void on_peer_end(Connection& c) override;

  ConnectionPool::Core& pool_;
  ConnectionLease* lease_ = nullptr;
  std::optional<Client> client_;
};

}  // namespace millrace
