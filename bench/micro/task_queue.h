// What one writes around a library whose loop can be woken by another thread but takes no closures
// from it: a lock, a vector of small closures that does not allocate for each, and one wake-up for
// all that come before the loop has taken them.
#pragma once

#include <cstddef>
#include <mutex>
#include <new>
#include <type_traits>
#include <vector>

namespace millrace::bench {

class TaskQueue {
 public:
  // Any thread. True: nothing was waiting, so the loop has to be woken.
  template <class F>
  [[nodiscard]] bool push(const F& function) {
    const std::lock_guard lock(mutex_);
    waiting_.emplace_back(function);
    return waiting_.size() == 1;
  }
  // The loop's thread.
  void run_all() {
    {
      const std::lock_guard lock(mutex_);
      running_.swap(waiting_);
    }
    for (Task& task : running_) task.run(task.function);
    running_.clear();
  }

 private:
  struct Task {
    template <class F>
    explicit Task(const F& f) : run([](void* p) { (*std::launder(static_cast<F*>(p)))(); }) {
      static_assert(sizeof(F) <= sizeof function && std::is_trivially_copyable_v<F>);
      new (function) F(f);
    }
    void (*run)(void*);
    alignas(void*) std::byte function[24];
  };

  std::mutex mutex_;
  std::vector<Task> waiting_;
  std::vector<Task> running_;
};

}  // namespace millrace::bench
