// The operations that every library has, measured in the same way for each: an operation is written
// once, as a template over the contestant, so that delays, order and batches cannot differ. A
// contestant is what a user of that library would write, as its documentation recommends, and no
// more. It is a type with
//
//   kName            in the names of benchmarks, OPERATION/CONTESTANT/ARGUMENT
//   Loop(Reached)    tells whether other threads reach it: locks may be left out if not
//     inside(body)   turns the loop until it has run the body in a callback, where the library's
//                    own idea of the time is valid
//     run_ready()    one turn without waiting
//     run(), stop()  until stopped; stop() inside of a task
//     post(task)     any thread; a task is trivially copyable and of at most 24 bytes
//   Timer(Loop&, fired)    counts when it fires
//     start(delay), cancel()
//     touch(delay)         moves it, if it waits: the idle timeout that begins anew
//   Watcher(Loop&, fd, seen)   reads 8 bytes when the descriptor is readable, and counts
//
// and where the library needs it
//
//   Loop::settle()           inside: delivers what cancelling leaves to be delivered
//   Loop::expect_touch(d)    before timers are touched with the delay d, and with no other
//   Loop::release(handles)   before the memory of these timers or watchers goes
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <vector>

#include <benchmark/benchmark.h>

namespace millrace::bench {

using std::chrono::milliseconds;

enum class Reached { by_own_thread, by_others };

// Handles in one piece of memory. They need not be movable: most of C libraries are not.
template <class Contestant, class Handle>
class Handles {
 public:
  using Loop = typename Contestant::Loop;

  template <class Make>
  Handles(Loop& loop, std::size_t n, Make make)
      : loop_(loop), first_(std::allocator<Handle>().allocate(n)), capacity_(n) {
    for (; size_ < n; ++size_) make(first_ + size_, size_);
  }
  ~Handles() {
    if constexpr (requires { loop_.release(*this); }) loop_.release(*this);
    std::destroy_n(first_, size_);
    std::allocator<Handle>().deallocate(first_, capacity_);
  }
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;

  Handle* begin() noexcept { return first_; }
  Handle* end() noexcept { return first_ + size_; }
  Handle& operator[](std::size_t i) noexcept { return first_[i]; }

 private:
  Loop& loop_;
  Handle* first_;
  std::size_t capacity_;
  std::size_t size_ = 0;
};

template <class Loop>
void settle(Loop& loop) {
  if constexpr (requires { loop.settle(); }) loop.settle();
}

// What a benchmark with UseManualTime() reports: the median of its batches. A batch is over in
// microseconds, and the time slice of another process on the same processor lasts for milliseconds;
// in a mean one slice outweighs hundreds of batches.
class BatchTimes {
 public:
  using Clock = std::chrono::steady_clock;

  // Two readings of the clock for the whole batch, where PauseTiming() makes system calls.
  template <class Body>
  void measure(Body&& body) {
    const auto begin = Clock::now();
    body();
    add(Clock::now() - begin);
  }
  void add(Clock::duration time) { times_.push_back(time); }
  // Once, at the end.
  void report(benchmark::State& state) {
    const auto middle = times_.begin() + static_cast<std::ptrdiff_t>(times_.size() / 2);
    std::nth_element(times_.begin(), middle, times_.end());
    const std::chrono::duration<double> median = *middle;
    state.SetIterationTime(median.count() * static_cast<double>(times_.size()));
  }

 private:
  std::vector<Clock::duration> times_;
};

// Set by --growth: only how the cost of timers grows with their number, with up to ten million.
extern bool growth_only;

}  // namespace millrace::bench
