// How a loop waits: until when, whether it looks around before it sleeps, and what a foreign loop
// that waits in its place has to know.
#include "loop_core.h"

namespace millrace {
namespace {

// Looks into the mailbox for each question to the kernel, while it polls. An answer from another
// thread then takes 0.45 us there and back; with 8 it takes 0.6, more change nothing.
constexpr int kTaskLooksPerPoll = 16;

// Says that this is a spin: spares power, and the other thread of the same core.
void pause_processor() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

int LoopCore::wait(std::optional<Duration> max_wait) {
  bool sleeps = max_wait != Duration::zero() && prepare_timers_to_sleep();
  if (sleeps && options_.busy_poll > Duration::zero()) {
    if (busy_poll(max_wait)) return ready_;
    if (max_wait) *max_wait -= options_.busy_poll;
  }
  // Only a loop that is about to sleep has to be woken: a busy one comes round by itself.
  sleeps = sleeps && mailbox_->prepare_to_sleep();
  const int ready = poller_.wait(sleeps ? max_wait : Duration::zero());
  mailbox_->awake();
  return ready;
}

// Looks for descriptors, timers (their descriptor) and tasks. True when it found some, with ready_
// set, or when `max_wait` is over.
bool LoopCore::busy_poll(std::optional<Duration> max_wait) {
  const bool is_all = max_wait && *max_wait <= options_.busy_poll;
  const TimePoint end = later(clock_now(), is_all ? *max_wait : options_.busy_poll);
  do {
    ready_ = poller_.wait(Duration::zero());
    if (ready_ > 0) return true;
    // Tasks cost less to look for, and come more often from who waits for an answer.
    for (int i = 0; i < kTaskLooksPerPoll; ++i) {
      if (mailbox_->pending() || mailbox_->stop_requested()) return true;
      pause_processor();
    }
  } while (clock_now() < end);
  return is_all;
}

// Sees to it that the next timer ends the wait. False when there is something to do at once.
bool LoopCore::prepare_timers_to_sleep() {
  if (work_left_) return false;
  const auto tick = wheel_.next_tick();
  if (tick == TimerWheel::kNever) return true;
  const TimePoint at = time_of(tick);
  if (at <= now_) return false;
  poller_.wake_at(at);
  return true;
}

std::optional<Duration> LoopCore::next_timeout() {
  // Who asks is about to sleep in our place: a post() and a timer must make backend_fd() readable
  // from now on.
  refresh_now();
  if (!prepare_timers_to_sleep() || !mailbox_->prepare_to_sleep()) return Duration::zero();
  const auto tick = wheel_.next_tick();
  if (tick == TimerWheel::kNever) return std::nullopt;
  return time_of(tick) - now_;
}

}  // namespace millrace
