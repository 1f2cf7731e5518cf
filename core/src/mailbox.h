// Mailbox is how other threads reach a loop: a queue of tasks, the stop flag, and the eventfd that
// wakes the loop. It is shared by the loop and every LoopRef and lives as long as any of them, so
// that a late post() finds a closed box instead of freed memory or somebody else's descriptor.
//
// The eventfd is written only when the loop may be asleep. Both sides first store, then load, all
// sequentially consistent, so that they cannot both miss each other:
//   post:  pending_ = true;  if (asleep_) wake       loop:  asleep_ = true;  if (pending_) do not
//   wait
// It is registered edge-triggered and never read: each write is an edge of its own.
#pragma once

#include <millrace/function.h>
#include <millrace/unique_fd.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace millrace {

class Mailbox {
 public:
  Mailbox();  // throws std::system_error

  // Any thread. False, and the task is destroyed, once the box is closed.
  bool post(Task&& task);
  // Any thread, and signal handlers.
  void stop() noexcept;

  // The loop's side.
  int wake_fd() const noexcept { return wake_fd_.get(); }
  bool pending() const noexcept { return pending_.load(std::memory_order_seq_cst); }
  bool stop_requested() const noexcept { return stop_.load(std::memory_order_seq_cst); }
  void clear_stop() noexcept { stop_.store(false, std::memory_order_seq_cst); }
  // Whether it was requested; it is no more.
  bool take_stop() noexcept { return stop_requested() && stop_.exchange(false); }
  // False when there is something to do: the loop must not sleep.
  bool prepare_to_sleep() noexcept;
  void awake() noexcept { asleep_.store(false, std::memory_order_relaxed); }
  // Swaps the waiting tasks into `batch`, which must be empty.
  void take(std::vector<Task>& batch) noexcept;
  // Gives back the memory of an empty queue that has room for more than `kept` tasks.
  void trim(std::size_t kept) noexcept;
  // No task is accepted any more; those that wait are destroyed.
  void close() noexcept;
  // Any thread. Once true, the loop's memory is gone or going.
  bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }
  // A forked child must not wake its parent.
  void reopen_wake_fd();
  std::uint64_t wakeups_written() const noexcept {
    return wakeups_written_.load(std::memory_order_relaxed);
  }

 private:
  void wake() noexcept;

  UniqueFd wake_fd_;
  std::atomic<bool> asleep_{false};
  std::atomic<bool> pending_{false};
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> wakeups_written_{0};
  std::mutex mutex_;
  std::atomic<bool> closed_{false};  // changes under mutex_
  std::vector<Task> tasks_;
};

}  // namespace millrace
