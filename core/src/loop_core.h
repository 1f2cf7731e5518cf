// LoopCore is what an EventLoop does: the phases of an iteration and what they work on. One per
// EventLoop, in the loop's thread.
//
// Invariants:
// 1. Callbacks run only from iterate(), one at a time: nothing nests.
// 2. A target that asked for a flush is in flush_list_ exactly once, and is not destroyed while it
//    is in there.
// 3. What is buried is destroyed in bury(), after every callback of the iteration has returned.
// 4. The loop sleeps only when no list of it holds work.
#pragma once

#include <millrace/event_loop.h>
#include <millrace/log.h>
#include <millrace/loop_services.h>

#include "mailbox.h"
#include "poller.h"
#include "timer_wheel.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace millrace {

class LoopCore final : public TimerClock {
 public:
  explicit LoopCore(const LoopOptions& options);
  ~LoopCore();

  static LoopCore& of(EventLoop& loop) noexcept { return *loop.core_; }

  // EventLoop's functions of the same names.
  void run();
  bool run_once(Duration max_wait);
  void run_for(Duration duration);
  void defer(Task task);
  TimePoint now() noexcept;
  TimePoint refresh_now() noexcept;
  static TimePoint clock_now(clockid_t clock = CLOCK_MONOTONIC) noexcept;  // not the iteration's
  bool in_loop_thread() const noexcept;
  std::optional<Duration> next_timeout();
  void reinit_after_fork();
  LoopStats stats() const noexcept;
  void reset_longest() noexcept {
    stats_.longest_phase = stats_.timer_lag_longest = Duration::zero();
  }
  Mailbox& mailbox() noexcept { return *mailbox_; }
  LoopRef ref() const noexcept { return LoopRef(mailbox_); }
  LoopServices& services() noexcept { return services_; }
  Poller& poller() noexcept { return poller_; }
  void set_exception_hook(EventLoop::ExceptionHook hook) {
    exception_hook_ = std::move(hook);
    hook_was_set_ = true;
  }
  // Destroys what waits: tasks, the buried. Nothing may use the loop afterwards.
  void shut_down() noexcept;

  void start_timer(TimerNode& node, Duration delay) noexcept;
  void start_timer_at(TimerNode& node, TimePoint at) noexcept;
  void cancel_timer(TimerNode& node) noexcept;

  void add_target();
  void remove_target() noexcept { --targets_; }
  void request_flush(IoTarget& target) noexcept;
  void bury(IoTarget& target) noexcept;
  void bury(std::unique_ptr<Mortal> object) noexcept;
  void report_exception(std::exception_ptr exception, std::string_view kind) noexcept;

  // True in a child that fork() made after the loop, before reinit_after_fork().
  bool forked_away() const noexcept;
  // True once this process has forked: its descriptors may have copies that it does not know of.
  static bool ever_forked() noexcept;
  // In debug builds: aborts, naming both threads, when another thread than this one runs the loop.
  void assert_usable() const {
#ifndef NDEBUG
    if (running_.load(std::memory_order_relaxed) && !in_loop_thread()) used_from_wrong_thread();
#endif
  }

 private:
  class RunScope;

  [[noreturn]] void used_from_wrong_thread() const;
  static unsigned watch_forks();  // the fork_generation_ of a loop that is made now
  void iterate(std::optional<Duration> max_wait);
  void finish_iteration();
  bool prepare_timers_to_sleep();
  int wait(std::optional<Duration> max_wait);
  [[gnu::noinline]] bool busy_poll(std::optional<Duration> max_wait);
  TimePoint time_of(std::uint64_t tick) const noexcept;
  void dispatch_io(int ready);
  void fire_timers();
  void run_tasks();
  void run_deferred();
  void flush();
  void bury_dead() noexcept;
  void trim_memory_later();
  bool trim_queues() noexcept;
  [[gnu::noinline]] void start_odd_timer(TimerNode& node, Duration delay) noexcept;
  void note_timer_lag(std::uint64_t deadline_tick) noexcept;
  // A phase has run callbacks: how long did they take?
  void end_phase(const char* kind);
  std::uint64_t tick_after(TimePoint at) const noexcept;

  LoopOptions options_;
  std::shared_ptr<Mailbox> mailbox_;
  Poller poller_;
  TimerWheel wheel_;
  LoopServices services_;

  TimePoint origin_;
  TimePoint now_;
  TimePoint phase_start_;
  std::atomic<std::thread::id> thread_;
  std::atomic<bool> running_{false};
  unsigned fork_generation_;
  int ready_ = 0;  // of the present batch

  std::vector<Task> tasks_;  // the batch being worked on, from next_task_
  std::size_t next_task_ = 0;
  std::size_t longest_queue_ = 0;  // since memory was last trimmed
  std::vector<Task> deferred_;
  std::vector<Task> deferred_now_;
  bool work_left_ = false;   // in one of these lists, or in those below
  std::size_t targets_ = 0;  // that exist; the three lists have room for all of them
  std::vector<IoTarget*> flush_list_;
  std::vector<IoTarget*> flush_now_;
  std::vector<IoTarget*> buried_targets_;
  Mortal* buried_objects_ = nullptr;  // a list; those buried last come first

  class TrimTimer;
  std::unique_ptr<TrimTimer> trim_timer_;
  EventLoop::ExceptionHook exception_hook_;
  bool hook_was_set_ = false;  // while the one before it runs
  LoopStats stats_;
  log::RateLimit stall_log_;
};

}  // namespace millrace
