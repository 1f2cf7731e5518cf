// ConnectionRef is a weak reference: it does not keep a connection open or alive, and never reaches
// a dead one or another that took its place. It may be copied to any thread and outlive connection,
// server and loop.
//
//   ConnectionRef ref = c.ref();
//   worker.submit([ref, job] {                                 // another thread
//     ref.post([r = run(job)](Connection& c) { c.send(r); });  // only if it still lives
//   });
#pragma once

#include <millrace/event_loop.h>

#include <cstdint>
#include <utility>

namespace millrace {

class Connection;
struct Slot;

class ConnectionRef {
 public:
  ConnectionRef() noexcept = default;  // refers to nothing
  ConnectionRef(const ConnectionRef&) noexcept = default;
  // What was moved from refers to nothing.
  ConnectionRef(ConnectionRef&& other) noexcept
      : loop_(std::move(other.loop_)),
        slot_(std::exchange(other.slot_, nullptr)),
        id_(std::exchange(other.id_, 0)) {}
  ConnectionRef& operator=(ConnectionRef other) noexcept {
    std::swap(loop_, other.loop_);
    std::swap(slot_, other.slot_);
    std::swap(id_, other.id_);
    return *this;
  }

  // The connection, or null once its end has begun to be reported. Loop's thread only.
  Connection* get() const noexcept;

  // Runs fn(Connection&) in the loop's thread if the connection lives then. Any thread. False when
  // even the loop is gone; `fn` is destroyed in either case.
  template <class F>
  bool post(F&& fn) const {
    return loop_.post([ref = *this, fn = std::forward<F>(fn)]() mutable {
      if (Connection* connection = ref.get()) fn(*connection);
    });
  }

  // Connection::id() of what it refers to, 0 for nothing.
  std::uint64_t id() const noexcept { return id_; }
  friend bool operator==(const ConnectionRef& a, const ConnectionRef& b) noexcept {
    return a.slot_ == b.slot_ && a.id_ == b.id_;
  }

 private:
  friend class Connection;
  ConnectionRef(LoopRef loop, const Slot* slot, std::uint64_t id) noexcept
      : loop_(std::move(loop)), slot_(slot), id_(id) {}

  LoopRef loop_;
  const Slot* slot_ = nullptr;
  std::uint64_t id_ = 0;
};

}  // namespace millrace
