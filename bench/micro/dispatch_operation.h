// Dispatch of readiness: per ready descriptor, with a read of 8 bytes in the callback, when 1 or
// 1,000 of 10,000 watched descriptors are ready.
#pragma once

#include "contestant.h"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

namespace millrace::bench {

inline constexpr std::size_t kWatched = 10'000;

// Eventfds: as cheap a descriptor as there is, so that the loop is what counts.
class Descriptors {
 public:
  Descriptors() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    for (std::size_t i = 0; i < kWatched; ++i) {
      fds_.push_back(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
      if (fds_.back() < 0) std::abort();
    }
  }
  ~Descriptors() {
    for (const int fd : fds_) ::close(fd);
  }
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;

  int operator[](std::size_t i) const noexcept { return fds_[i]; }
  // Spread over all of them.
  void make_ready(std::size_t n) const {
    const std::uint64_t one = 1;
    for (std::size_t i = 0; i < n; ++i) {
      if (::write(fds_[i * (kWatched / n)], &one, sizeof one) != sizeof one) std::abort();
    }
  }

 private:
  std::vector<int> fds_;
};

inline void read_counter(int fd) {
  std::uint64_t value;
  if (::read(fd, &value, sizeof value) != sizeof value) std::abort();
}

template <class C>
class DispatchOperation {
 public:
  static void add_to_run() {
    const std::string name = std::string("dispatch/") + C::kName;
    for (const auto& [active, times] : {std::pair{1, 20'000}, std::pair{1'000, 200'000}}) {
      benchmark::RegisterBenchmark(name.c_str(), dispatch)
          ->Arg(active)
          ->Iterations(times)
          ->UseManualTime();
    }
  }

 private:
  static void dispatch(benchmark::State& state) {
    using Watcher = typename C::Watcher;
    const auto active = static_cast<std::size_t>(state.range(0));
    const Descriptors descriptors;
    typename C::Loop loop(Reached::by_own_thread);
    std::uint64_t seen = 0;
    Handles<C, Watcher> watchers(loop, kWatched, [&](Watcher* at, std::size_t i) {
      new (at) Watcher(loop, descriptors[i], &seen);
    });
    loop.run_ready();  // what a library puts off to its next turn
    BatchTimes times;
    while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(active))) {
      descriptors.make_ready(active);
      seen = 0;
      times.measure([&] {
        while (seen < active) loop.run_ready();
      });
    }
    times.report(state);
  }
};

}  // namespace millrace::bench
