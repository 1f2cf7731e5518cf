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
// in which they were started; where among them one comes that was moved while active is not said.
#pragma once

#include <millrace/function.h>
#include <millrace/time.h>

#include <cstdint>

namespace millrace {

class EventLoop;
class LoopCore;

// What a loop's timers read of it.
class TimerClock {
 public:
  static constexpr Duration kTick = std::chrono::milliseconds(1);

 protected:
  ~TimerClock() = default;
  // The first tick that does not begin before the time of the iteration; 0 while the loop does not
  // run, when the time has to be asked for.
  std::uint64_t next_tick_ = 0;

 private:
  friend class Timer;
};

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
  friend class Timer;
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
  void start(Delay delay) {
    period_ = Duration::zero();
    if (!moves_later(delay.value())) start_anew(delay);
  }
  // Calls every `period` (at least one millisecond), the first time one period from now.
  void start_every(Delay period, Repeat repeat = Repeat::fixed_rate);
  void cancel() noexcept;
  bool active() const noexcept { return TimerNode::active(); }
  // How many calls of a fixed-rate timer were left out since it was started, because the loop was
  // busy: a late timer calls once, never several times in a row.
  std::uint64_t missed() const noexcept { return missed_; }

 private:
  struct Running;
  // Moves an active timer by nothing but a store. False when more is to be done than that.
  bool moves_later(Duration by) noexcept {
#ifdef NDEBUG  // else the loop checks who calls
    const auto ticks = static_cast<std::uint64_t>(by / TimerClock::kTick);
    const std::uint64_t at = clock_->next_tick_ + ticks;
    const bool whole = by > Duration::zero() && by % TimerClock::kTick == Duration::zero();
    if (!active() || !whole || clock_->next_tick_ == 0 || at < tick_) return false;
    tick_ = at;
    return true;
#else
    static_cast<void>(by);
    return false;
#endif
  }
  LoopCore& loop() const noexcept;
  void start_anew(Delay delay);
  void handle_timer() override;
  void schedule_next() noexcept;

  TimerClock* clock_;
  Function<void()> callback_;
  Duration period_{0};
  TimePoint due_{};
  std::uint64_t missed_ = 0;
  Running* running_ = nullptr;  // set while the callback runs
  Repeat repeat_ = Repeat::fixed_rate;
};

}  // namespace millrace
