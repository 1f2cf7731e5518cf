#include "pooled_connection.h"

#include <millrace/check.h>

#include "connection_core.h"
#include "connection_pool_core.h"

#include <utility>

namespace millrace {

PooledConnection::PooledConnection(ConnectionPool::Core& pool, EventLoop& loop,
                                   const ClientOptions& options)
    : pool_(pool) {
  client_.emplace(loop, *this, options);
  client_->on_state_changed([this](Client::State state) {
    if (state == Client::State::idle) pool_.ended(*this);
  });
}

void PooledConnection::empty_lease() noexcept {
  if (lease_) std::exchange(lease_, nullptr)->pooled_ = nullptr;
}

void PooledConnection::take_back() noexcept {
  empty_lease();
  if (Connection* c = connection(); c && !piped()) c->set_handler(*this);
}

bool PooledConnection::piped() const noexcept {
  const Connection* c = connection();
  return c && ConnectionCore::of(*c).piped();
}

bool PooledConnection::sound() const noexcept {
  const Connection* c = connection();
  return c && ConnectionCore::of(*c).reusable() && !c->reading_paused() &&
         (is_untouched() || ConnectionCore::of(*c).left_nothing());
}

void PooledConnection::on_open(Connection&) {
  pool_.opened(*this);
}

// What comes before a handler is set is kept for it.
void PooledConnection::on_data(Connection&, ReceiveBuffer& in) {
  if (use == Use::idle && !is_untouched()) pool_.spoiled(*this);
  if (use == Use::closing) in.consume_all();
}

void PooledConnection::on_peer_end(Connection& c) {
  if (use == Use::idle) return pool_.spoiled(*this);
  c.close();
}

ConnectionLease::ConnectionLease(PooledConnection& connection) noexcept : pooled_(&connection) {
  connection.lease_ = this;
}

ConnectionLease::ConnectionLease(ConnectionLease&& other) noexcept
    : pooled_(std::exchange(other.pooled_, nullptr)) {
  if (pooled_) pooled_->lease_ = this;
}

ConnectionLease& ConnectionLease::operator=(ConnectionLease&& other) noexcept {
  if (this == &other) return *this;
  release();
  pooled_ = std::exchange(other.pooled_, nullptr);
  if (pooled_) pooled_->lease_ = this;
  return *this;
}

// Whoever was interrupted in the middle of something has not finished with it.
ConnectionLease::~ConnectionLease() {
  if (std::uncaught_exceptions() > exceptions_) {
    discard();
  } else {
    release();
  }
}

Connection* ConnectionLease::get() const noexcept {
  return pooled_ ? pooled_->connection() : nullptr;
}

Connection* ConnectionLease::operator->() const {
  Connection* c = get();
  MILLRACE_CHECK(c != nullptr, "a ConnectionLease without a connection is used");
  return c;
}

void ConnectionLease::release() noexcept {
  if (pooled_) pooled_->pool_.returned(*pooled_, true);
}

void ConnectionLease::discard() noexcept {
  if (pooled_) pooled_->pool_.returned(*pooled_, false);
}

}  // namespace millrace
