#include "loop_core.h"

#include <millrace/check.h>
#include <millrace/error.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace millrace {
namespace {

// Bounds of one iteration: enough that the fixed cost of an iteration disappears, few enough that
// I/O, timers and tasks take turns within a few milliseconds.
constexpr std::size_t kTasksPerTurn = 4096;
constexpr std::size_t kTimersPerTurn = 8192;
// A queue that was longer than this gives its memory back when it has been shorter for a while: a
// burst of tasks is seldom the last one, and who posts should not have to make room under the lock.
constexpr std::size_t kKeptQueueCapacity = 4096;
// How long freed buffer memory is kept for the next who needs it.
constexpr auto kTrimInterval = std::chrono::seconds(1);

// A broadcast flushes thousands, one after the other: the next one is brought into the cache
// meanwhile.
void prefetch(const void* target) noexcept {
  constexpr int kLines = 3;
  const auto* at = static_cast<const std::byte*>(target);
  for (int line = 0; line < kLines; ++line) __builtin_prefetch(at + line * 64);
}

}  // namespace

class LoopCore::TrimTimer final : public TimerNode {
 public:
  explicit TrimTimer(LoopCore& core) : core_(core) {}
  void handle_timer() override {
    core_.services_.blocks().trim();
    if (!core_.trim_queues()) core_.trim_memory_later();
  }

 private:
  LoopCore& core_;
};

// Marks the loop as running in this thread for as long as it lives.
class LoopCore::RunScope {
 public:
  explicit RunScope(LoopCore& core) : core_(core) {
    if (core.forked_away()) {
      throw std::logic_error(
          "EventLoop: this loop belongs to the parent process; call reinit_after_fork() first");
    }
    if (core.running_.load(std::memory_order_relaxed)) {
      throw std::logic_error(core.in_loop_thread()
                                 ? "EventLoop: run called from inside one of its own callbacks"
                                 : "EventLoop: run called while another thread runs the loop");
    }
    core.thread_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    core.running_.store(true, std::memory_order_relaxed);
  }
  ~RunScope() {
    core_.running_.store(false, std::memory_order_relaxed);
    core_.next_tick_ = 0;
  }

 private:
  LoopCore& core_;
};

LoopCore::LoopCore(const LoopOptions& options)
    : options_(options),
      mailbox_(std::make_shared<Mailbox>()),
      services_(*this),
      thread_(std::this_thread::get_id()),
      trim_timer_(std::make_unique<TrimTimer>(*this)) {
  fork_generation_ = watch_forks();
  origin_ = now_ = clock_now();
  if (const int e = poller_.add_wake_up(mailbox_->wake_fd())) {
    throw_system_error(e, "epoll_ctl for the loop's wake-up descriptor");
  }
}

LoopCore::~LoopCore() = default;

void LoopCore::shut_down() noexcept {
  MILLRACE_CHECK(!running_.load(), "EventLoop destroyed from inside one of its own callbacks");
  mailbox_->close();
  // What is destroyed here may defer, bury and ask for flushes: until nothing is left. Neither is
  // run any more. What others keep here per loop goes one by one, the last made first, so that it
  // may bury in what was there before it.
  do {
    tasks_.clear();
    std::exchange(deferred_, {}).clear();
    bury_dead();
    flush_list_.clear();
  } while (!deferred_.empty() || !buried_targets_.empty() || buried_objects_ ||
           services_.drop_local());
  cancel_timer(*trim_timer_);
}

void LoopCore::run() {
  const RunScope scope(*this);
  refresh_now();
  while (!mailbox_->stop_requested()) iterate(std::nullopt);
  mailbox_->clear_stop();
}

bool LoopCore::run_once(Duration max_wait) {
  const RunScope scope(*this);
  // To sleep takes to know how long; who does not reads the clock when he is back.
  if (max_wait != Duration::zero()) refresh_now();
  if (!mailbox_->stop_requested()) {
    iterate(max_wait < Duration::zero() ? std::nullopt : std::optional(max_wait));
  }
  return !mailbox_->take_stop();
}

void LoopCore::run_for(Duration duration) {
  const RunScope scope(*this);
  refresh_now();
  const TimePoint end = later(now_, duration);
  while (!mailbox_->stop_requested()) {
    iterate(std::max(end - now_, Duration::zero()));
    if (now_ >= end) break;
  }
  mailbox_->clear_stop();
}

void LoopCore::iterate(std::optional<Duration> max_wait) {
  ready_ = wait(max_wait);
  phase_start_ = refresh_now();
  services_.iteration_ = ++stats_.iterations;

  if (ready_ > 0) dispatch_io(ready_);
  fire_timers();
  if (mailbox_->pending() || next_task_ < tasks_.size()) run_tasks();
  if (work_left_) finish_iteration();
  if (services_.blocks().wants_trim()) trim_memory_later();
}

// What not every iteration has: deferred tasks, flushes, graves.
void LoopCore::finish_iteration() {
  if (!deferred_.empty()) run_deferred();
  if (!flush_list_.empty()) flush();
  bury_dead();
  work_left_ = next_task_ < tasks_.size() || !deferred_.empty() || !flush_list_.empty();
}

TimePoint LoopCore::time_of(std::uint64_t tick) const noexcept {
  // What lies centuries ahead must not overflow.
  constexpr std::uint64_t kFarTicks = std::uint64_t{1} << 42;
  return origin_ + kTick * static_cast<std::int64_t>(std::min(tick, kFarTicks));
}

void LoopCore::dispatch_io(int ready) {
  const std::uint64_t before = stats_.io_events;
  ready_ = ready;
  // ready_ is read anew each time: reinit_after_fork() in a callback drops the rest of the batch.
  for (int i = 0; i < ready_; ++i) {
    const Poller::Ready event = poller_.ready(i);
    poller_.prefetch(i + 1);
    if (event.wake_up) continue;
    auto* target = event.slot ? static_cast<IoTarget*>(event.slot->object()) : nullptr;
    if (!target || !target->registered_) {
      ++stats_.stale_events;
      continue;
    }
    ++stats_.io_events;
    try {
      target->handle_io(event.events);
    } catch (...) {
      report_exception(std::current_exception(), "I/O");
    }
  }
  if (stats_.io_events != before) end_phase("I/O");
}

void LoopCore::fire_timers() {
  const auto turned = wheel_.now();  // what is due later than this had to wait for its time
  bool lag_noted = false;
  wheel_.advance(services_.now_ms_);
  std::size_t fired = 0;
  while (fired < kTimersPerTurn) {
    TimerNode* node = wheel_.pop_due();
    if (!node) break;
    ++fired;
    if (!lag_noted && node->tick_ > turned) {
      lag_noted = true;
      note_timer_lag(node->tick_);
    }
    try {
      node->handle_timer();
    } catch (...) {
      report_exception(std::current_exception(), "timer");
    }
  }
  if (fired == 0) return;
  stats_.timers_fired += fired;
  end_phase("timer");
}

void LoopCore::run_tasks() {
  if (next_task_ == tasks_.size()) {
    tasks_.clear();
    next_task_ = 0;
    mailbox_->take(tasks_);
    longest_queue_ = std::max(longest_queue_, tasks_.size());
    if (tasks_.capacity() > kKeptQueueCapacity) trim_memory_later();
  }
  const std::size_t end = std::min(tasks_.size(), next_task_ + kTasksPerTurn);
  stats_.tasks_run += end - next_task_;
  while (next_task_ < end) {
    Task& task = tasks_[next_task_++];  // stays where it is: what it posts goes into the mailbox
    try {
      task();
    } catch (...) {
      report_exception(std::current_exception(), "task");
    }
    task = nullptr;  // what it owns goes with it, not with the batch
  }
  work_left_ |= next_task_ < tasks_.size();
  end_phase("task");
}

void LoopCore::run_deferred() {
  std::swap(deferred_, deferred_now_);
  for (Task& task : deferred_now_) {
    try {
      task();
    } catch (...) {
      report_exception(std::current_exception(), "deferred task");
    }
  }
  stats_.tasks_run += deferred_now_.size();
  longest_queue_ = std::max(longest_queue_, deferred_now_.size());
  deferred_now_.clear();
  if (deferred_now_.capacity() > kKeptQueueCapacity) trim_memory_later();
  end_phase("deferred task");
}

void LoopCore::flush() {
  // Those who ask during this phase get their turn in the next iteration: two connections that
  // write to each other must not keep the loop here.
  std::swap(flush_list_, flush_now_);
  // By index: a callback that makes a target may move the list (add_target()).
  for (std::size_t i = 0; i < flush_now_.size(); ++i) {
    IoTarget* target = flush_now_[i];
    if (i + 1 < flush_now_.size()) prefetch(flush_now_[i + 1]);
    target->flush_requested_ = false;
    if (target->buried_) continue;
    try {
      target->handle_flush();
    } catch (...) {
      report_exception(std::current_exception(), "flush");
    }
  }
  flush_now_.clear();
  end_phase("flush");
}

void LoopCore::bury_dead() noexcept {
  // Destructors may bury more: indices, and until nothing is left.
  while (!buried_targets_.empty() || buried_objects_) {
    for (std::size_t i = 0; i < buried_targets_.size(); ++i) {
      IoTarget* target = buried_targets_[i];
      // Asked for a flush while that phase ran, and died: it is in the list of the next iteration.
      if (target->flush_requested_) std::erase(flush_list_, target);
      target->handle_burial();
    }
    buried_targets_.clear();
    while (buried_objects_) {
      const std::unique_ptr<Mortal> object(buried_objects_);
      buried_objects_ = object->next_buried_;
    }
  }
}

void LoopCore::trim_memory_later() {
  if (!trim_timer_->active()) start_timer(*trim_timer_, kTrimInterval);
}

// False when it should be tried again later.
bool LoopCore::trim_queues() noexcept {
  if (std::exchange(longest_queue_, 0) > kKeptQueueCapacity) return false;
  if (next_task_ == tasks_.size()) {
    tasks_.clear();
    next_task_ = 0;
  }
  for (auto* queue : {&tasks_, &deferred_, &deferred_now_}) {
    if (queue->empty() && queue->capacity() > kKeptQueueCapacity) std::vector<Task>().swap(*queue);
  }
  mailbox_->trim(kKeptQueueCapacity);
  return true;
}

void LoopCore::defer(Task task) {
  assert_usable();
  deferred_.push_back(std::move(task));
  work_left_ = true;
}

TimePoint LoopCore::now() noexcept {
  return running_.load(std::memory_order_relaxed) ? now_ : refresh_now();
}

TimePoint LoopCore::refresh_now() noexcept {
  now_ = std::max(now_, clock_now());
  const Duration since = now_ - origin_;
  services_.now_ms_ = static_cast<std::uint64_t>(since / kTick);
  if (running_.load(std::memory_order_relaxed)) {
    next_tick_ = services_.now_ms_ + (since % kTick != Duration::zero());
  }
  return now_;
}

TimePoint LoopCore::clock_now(clockid_t clock) noexcept {
  timespec t{};
  sys::clock_gettime(clock, &t);
  return TimePoint(std::chrono::seconds(t.tv_sec) + Duration(t.tv_nsec));
}

bool LoopCore::in_loop_thread() const noexcept {
  return thread_.load(std::memory_order_relaxed) == std::this_thread::get_id();
}

std::uint64_t LoopCore::tick_after(TimePoint at) const noexcept {
  if (at <= origin_) return 0;
  const auto since = static_cast<std::uint64_t>((at - origin_).count());
  const auto tick = static_cast<std::uint64_t>(kTick.count());
  return (since + tick - 1) / tick;  // never early
}

void LoopCore::start_timer(TimerNode& node, Duration delay) noexcept {
  assert_usable();
  if (delay > Duration::zero() && next_tick_ != 0 && delay % kTick == Duration::zero()) [[likely]] {
    wheel_.start(node, next_tick_ + static_cast<std::uint64_t>(delay / kTick));
  } else {
    start_odd_timer(node, delay);
  }
}

// Without a delay (in the next turn), with a part of a tick, or while the loop does not run.
void LoopCore::start_odd_timer(TimerNode& node, Duration delay) noexcept {
  const bool at_once = delay <= Duration::zero();
  wheel_.start(node, at_once ? wheel_.now() : tick_after(later(now(), delay)));
}

void LoopCore::start_timer_at(TimerNode& node, TimePoint at) noexcept {
  assert_usable();
  wheel_.start(node, tick_after(at));
}

void LoopCore::cancel_timer(TimerNode& node) noexcept {
  if (node.active()) assert_usable();
  wheel_.cancel(node);
}

void LoopCore::add_target() {
  // Room for all of them in each list, so that neither asking for a flush nor burying can fail.
  const std::size_t targets = targets_ + 1;
  for (auto* list : {&flush_list_, &flush_now_, &buried_targets_}) {
    if (list->capacity() < targets) list->reserve(targets * 2);
  }
  targets_ = targets;  // not if there was no memory
}

void LoopCore::request_flush(IoTarget& target) noexcept {
  assert_usable();
  if (target.flush_requested_ || target.buried_) return;
  flush_list_.push_back(&target);
  target.flush_requested_ = true;
  work_left_ = true;
}

void LoopCore::bury(IoTarget& target) noexcept {
  MILLRACE_DCHECK(!target.attached(), "bury() of a target that is still watched");
  if (std::exchange(target.buried_, true)) return;
  buried_targets_.push_back(&target);
  work_left_ = true;
}

void LoopCore::bury(std::unique_ptr<Mortal> object) noexcept {
  object->next_buried_ = buried_objects_;
  buried_objects_ = object.release();
  work_left_ = true;
}

LoopStats LoopCore::stats() const noexcept {
  LoopStats stats = stats_;
  stats.wakeups_written = mailbox_->wakeups_written();
  return stats;
}

}  // namespace millrace
