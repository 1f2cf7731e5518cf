// Timer calls a function later: once, or again and again. It is an owner: destroying it cancels it,
// and the loop must outlive it while it is active. For the loop's thread only.
//
//   Timer hello = loop.after(100ms, [] { std::puts("hello"); });
//   Timer beat = loop.every(1s, [&] { server.tick(); });
//   Timer idle(loop, [&] { connection.close(); });
//   idle.start(30s);  // again on each message: one store while it only moves later
//
// A callback may start, cancel, move and destroy any timer, its own included. A timer never fires
// early, and late by at most one tick (1 ms) plus what the loop is busy with; durations count from
// `loop.now()`, the time of the current iteration. Timers of the same millisecond fire in the order
// in which they were started (one that was moved later while active: after them).
#pragma once

#include <millrace/function.h>
#include <millrace/time.h>

#include <cstdint>

namespace millrace {

class EventLoop;

// Where a timer hangs in the loop's wheel.
struct TimerLink {
  TimerLink* next = nullptr;
  TimerLink* prev = nullptr;
};

// A deadline inside another object, without a callback of its own: for those who build on the loop
// (a Connection holds one for all its timeouts). Whoever destroys the object cancels it first.
class TimerNode : private TimerLink {
 public:
  // Starts, or moves, the deadline: `delay` from loop.now(); zero or negative: in the next turn.
  void start(EventLoop& loop, Delay delay);
  void cancel(EventLoop& loop) noexcept;
  bool active() const noexcept { return next != nullptr; }

 protected:
  TimerNode() noexcept = default;
  ~TimerNode() = default;
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;

  // The deadline has passed; the node is inactive again.
  virtual void handle_timer() = 0;
  // Takes the place of `other` in the loop's wheel, for moving.
  void take_place_of(TimerNode& other) noexcept;

 private:
  friend class TimerWheel;
  friend class LoopCore;
  std::uint64_t tick_ = 0;
};

enum class Repeat : std::uint8_t {
  fixed_rate,   // the n-th call is due at start + n * period; calls that were missed are counted
  fixed_delay,  // each call is due one period after the one before has returned
};

class Timer final : private TimerNode {
 public:
  // An inactive timer. Precondition: the callback is not empty.
  Timer(EventLoop& loop, Function<void()> callback);
  Timer(Timer&& other) noexcept;
  Timer& operator=(Timer&& other) noexcept;
  ~Timer();

  // Calls once, `delay` from now (zero or negative: in the next turn). An active timer is moved.
  void start(Delay delay);
  // Calls every `period` (at least one millisecond), the first time one period from now.
  void start_every(Delay period, Repeat repeat = Repeat::fixed_rate);
  void cancel() noexcept;
  bool active() const noexcept { return TimerNode::active(); }
  // How many calls of a fixed-rate timer were left out since it was started, because the loop was
  // busy: a late timer calls once, never several times in a row.
  std::uint64_t missed() const noexcept { return missed_; }

 private:
  struct Running;
  void handle_timer() override;
  void schedule_next() noexcept;

  EventLoop* loop_;
  Function<void()> callback_;
  Duration period_{0};
  TimePoint due_{};
  std::uint64_t missed_ = 0;
  Running* running_ = nullptr;  // set while the callback runs
  Repeat repeat_ = Repeat::fixed_rate;
};

}  // namespace millrace
