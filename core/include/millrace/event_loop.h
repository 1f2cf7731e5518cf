// EventLoop is the reactor: it waits for descriptors, timers and tasks and calls back, all in one
// thread. It is made first and destroyed last: whatever is made with it must be gone by then
// (active timers are cancelled). Everything is for the thread that runs it, except what the table
// names.
//
//   EventLoop loop;
//   Timer tick = loop.every(1s, [] { std::puts("tick"); });
//   SignalWatcher quit(loop, {SIGINT, SIGTERM}, [&](int) { loop.stop(); });
//   loop.run();
//
// | from any thread            | from a signal handler | in the loop's thread only |
// | post(), stop(), ref(),     | stop()                | everything else           |
// | in_loop_thread(), LoopRef  |                       |                           |
//
// One iteration: wait -> read the clock -> I/O -> timers -> posted tasks (those present then) and
// deferred ones -> flush connections written to from elsewhere -> destroy what was closed. Work per
// iteration is bounded in each phase; what is left over comes in the next one.
#pragma once

#include <millrace/function.h>
#include <millrace/loop_stats.h>
#include <millrace/time.h>
#include <millrace/timer.h>

#include <exception>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace millrace {

class LoopCore;
class LoopServices;
class Mailbox;

struct LoopOptions {
  // A phase of an iteration that takes longer is counted as a stall and logged, at most once per
  // second, with the kind of callback that caused it. Zero: never.
  Duration stall_threshold = std::chrono::milliseconds(100);
  // Before it sleeps, the loop looks for so long without a pause whether something comes. To be
  // woken takes tens of microseconds, to find something while looking a fraction of one; the price
  // is a processor that is never idle while work comes more often than this. 50 us suit a loop with
  // a processor of its own. Zero: sleeps at once.
  Duration busy_poll{0};
};

// A way to reach a loop from anywhere, also after it is gone: keep this, not an EventLoop*.
// Copyable, any thread.
class LoopRef {
 public:
  LoopRef() noexcept = default;  // of no loop
  // Runs the task in the loop's thread. False when the loop is gone: the task is destroyed.
  bool post(Task task) const;
  // Ends run() as EventLoop::stop() does; nothing when the loop is gone.
  void stop() const noexcept;
  // Whether the loop still exists. In another thread than the loop's the answer may be old.
  bool alive() const noexcept;

 private:
  friend class LoopCore;
  explicit LoopRef(std::shared_ptr<Mailbox> mailbox) noexcept : mailbox_(std::move(mailbox)) {}
  std::shared_ptr<Mailbox> mailbox_;
};

class EventLoop {
 public:
  // Throws std::system_error when the process is out of descriptors.
  explicit EventLoop(LoopOptions options = {});
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Runs until stop(). Throws std::logic_error when called from inside one of its own callbacks, or
  // in a forked child before reinit_after_fork(); the running loop is not disturbed.
  void run();
  // One iteration that waits for at most `max_wait`: a negative one waits for ever. False when
  // there was a stop(), for who runs the loop this way: in this iteration, or before it, and then
  // nothing was run.
  bool run_once(Delay max_wait = Duration(-1));
  // Runs for `duration` or until stop().
  void run_for(Delay duration);
  // Makes the present run(), or the next one if none is running, return after the iteration.
  void stop() noexcept;

  // Runs the task in the loop's thread: after the I/O and timers of the iteration that takes it.
  // Tasks of one thread run in their order. What is posted after a stop() waits for the next run();
  // what still waits when the loop is destroyed is destroyed unrun: one or the other, and once.
  // False: the loop is being destroyed, and so was the task. (A thread that may outlive the loop
  // posts through a LoopRef.)
  bool post(Task task);
  // Runs the task near the end of this iteration (from a deferred task: of the next one).
  void defer(Task task);
  LoopRef ref() const noexcept;

  // The monotonic time of the current iteration, read once after the wait; outside of run() the
  // time now.
  TimePoint now() const noexcept;
  // Reads the clock again: for callbacks that take long and then start timers.
  TimePoint refresh_now() noexcept;
  // A running timer that calls `callback` once, or every `period`. Keep it: destroying it cancels.
  [[nodiscard]] Timer after(Delay delay, Function<void()> callback);
  [[nodiscard]] Timer every(Delay period, Function<void()> callback,
                            Repeat repeat = Repeat::fixed_rate);

  bool in_loop_thread() const noexcept;
  // What leaves a callback by exception comes here, with the kind of callback it left; the loop
  // goes on. Default, and for an empty hook: an error in the log. A connection whose callback threw
  // is closed with error::handler_exception besides.
  using ExceptionHook = Function<void(std::exception_ptr, std::string_view callback_kind)>;
  void set_exception_hook(ExceptionHook hook);

  // To nest this loop in another one: when this descriptor is readable, or next_timeout() has
  // passed (no value: never), call run_once(0). Ask for next_timeout() each time before the other
  // one waits, and last: what this thread starts or defers after that does not end the wait.
  int backend_fd() const noexcept;
  std::optional<Duration> next_timeout();

  // In a child after fork(): gives the loop a life of its own, with the same watches. Without it
  // the child may only destroy what it has inherited, which does not disturb the parent.
  void reinit_after_fork();

  LoopStats stats() const noexcept;
  // longest_phase and timer_lag_longest begin anew: for who asks at intervals.
  void reset_longest() noexcept;
  // Memory and registries for those who build transports on the loop.
  LoopServices& services() const noexcept { return *services_; }

 private:
  friend class LoopCore;
  std::unique_ptr<LoopCore> core_;
  LoopServices* services_;
};

}  // namespace millrace
