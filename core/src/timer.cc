#include <millrace/check.h>
#include <millrace/event_loop.h>
#include <millrace/timer.h>

#include "loop_core.h"

#include <algorithm>
#include <utility>

namespace millrace {
namespace {

constexpr Duration kShortestPeriod = std::chrono::milliseconds(1);

}  // namespace

void TimerNode::start(EventLoop& loop, Delay delay) {
  LoopCore::of(loop).start_timer(*this, delay.value());
}

void TimerNode::cancel(EventLoop& loop) noexcept {
  LoopCore::of(loop).cancel_timer(*this);
}

void TimerNode::take_place_of(TimerNode& other) noexcept {
  tick_ = other.tick_;
  if (!other.active()) return;
  next = std::exchange(other.next, nullptr);
  prev = other.prev;
  next->prev = prev->next = this;
}

// Lies on the stack while a callback runs, so that the timer can be moved or destroyed under it.
struct Timer::Running {
  Timer* timer;  // where it is now; null once destroyed
};

Timer::Timer(EventLoop& loop, Function<void()> callback)
    : clock_(&LoopCore::of(loop)), callback_(std::move(callback)) {
  MILLRACE_CHECK(callback_, "a Timer needs a callback");
}

Timer::Timer(Timer&& other) noexcept
    : clock_(other.clock_),
      callback_(std::move(other.callback_)),
      period_(other.period_),
      due_(other.due_),
      missed_(other.missed_),
      running_(std::exchange(other.running_, nullptr)),
      repeat_(other.repeat_) {
  if (running_) running_->timer = this;
  take_place_of(other);
}

Timer& Timer::operator=(Timer&& other) noexcept {
  if (this == &other) return *this;
  this->~Timer();
  return *::new (this) Timer(std::move(other));
}

Timer::~Timer() {
  if (running_) running_->timer = nullptr;
  // An inactive timer may outlive its loop.
  if (active()) cancel();
}

LoopCore& Timer::loop() const noexcept {
  return static_cast<LoopCore&>(*clock_);
}

void Timer::start_anew(Delay delay) {
  loop().start_timer(*this, delay.value());
}

void Timer::start_every(Delay period, Repeat repeat) {
  period_ = std::max(period.value(), kShortestPeriod);
  repeat_ = repeat;
  missed_ = 0;
  due_ = later(loop().now(), period_);
  loop().cancel_timer(*this);
  loop().start_timer_at(*this, due_);
}

void Timer::cancel() noexcept {
  period_ = Duration::zero();
  loop().cancel_timer(*this);
}

void Timer::schedule_next() noexcept {
  const TimePoint now = loop().now();
  if (repeat_ == Repeat::fixed_delay) {
    due_ = later(LoopCore::clock_now(), period_);  // the callback took its time since
  } else {
    const auto skipped = (now - due_) / period_;
    missed_ += static_cast<std::uint64_t>(std::max<Duration::rep>(skipped, 0));
    due_ = later(due_ + skipped * period_, period_);
  }
  loop().start_timer_at(*this, due_);
}

void Timer::handle_timer() {
  const bool repeats = period_ > Duration::zero();
  // Fixed rate: filed again before the call, which may then cancel or restart it.
  if (repeats && repeat_ == Repeat::fixed_rate) schedule_next();

  // The callback runs from the stack: it may destroy this timer, and itself with it.
  Function<void()> callback = std::move(callback_);
  Running running{this};
  running_ = &running;
  struct GiveBack {
    Function<void()>& callback;
    Running& running;
    bool rearm;
    ~GiveBack() {
      Timer* timer = running.timer;
      if (!timer) return;
      timer->running_ = nullptr;
      timer->callback_ = std::move(callback);
      if (rearm && !timer->active() && timer->period_ > Duration::zero()) timer->schedule_next();
    }
  };
  const GiveBack give_back{callback, running, repeats && repeat_ == Repeat::fixed_delay};
  callback();
}

}  // namespace millrace
