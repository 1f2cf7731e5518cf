// Dispatch of readiness: per ready descriptor, with a read of 8 bytes in the callback, when 1 or
// 1,000 of 10,000 watched descriptors are ready; the same with epoll alone.
#include <millrace/io_watcher.h>

#include "in_loop.h"

#include <cstdint>
#include <vector>

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

namespace millrace::bench {
namespace {

constexpr std::size_t kWatched = 10'000;

// Eventfds: as cheap a descriptor as there is, so that the loop is what counts.
struct Descriptors {
  Descriptors() {
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    for (std::size_t i = 0; i < kWatched; ++i) {
      fds.push_back(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    }
  }
  ~Descriptors() {
    for (const int fd : fds) ::close(fd);
  }
  // Spread over all of them.
  void make_ready(std::size_t n) const {
    const std::uint64_t one = 1;
    for (std::size_t i = 0; i < n; ++i) {
      if (::write(fds[i * (kWatched / n)], &one, sizeof one) != sizeof one) std::abort();
    }
  }
  std::vector<int> fds;
};

void read_counter(int fd) {
  std::uint64_t value;
  if (::read(fd, &value, sizeof value) != sizeof value) std::abort();
}

void dispatch(benchmark::State& state) {
  const auto active = static_cast<std::size_t>(state.range(0));
  const Descriptors descriptors;
  EventLoop loop(kNoStalls);
  std::size_t seen = 0;
  std::vector<IoWatcher> watchers;
  for (const int fd : descriptors.fds) {
    watchers.emplace_back(loop, fd, Interest::read, [fd, &seen](IoEvents) {
      read_counter(fd);
      ++seen;
    });
  }
  while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(active))) {
    state.PauseTiming();
    descriptors.make_ready(active);
    seen = 0;
    state.ResumeTiming();
    while (seen < active) loop.run_once(Duration(0));
  }
}
BENCHMARK(dispatch)->Name("dispatch_ready_of_10000")->Arg(1)->Arg(1'000);

void raw(benchmark::State& state) {
  const auto active = static_cast<std::size_t>(state.range(0));
  const Descriptors descriptors;
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  for (const int fd : descriptors.fds) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
  }
  static epoll_event events[512];
  while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(active))) {
    state.PauseTiming();
    descriptors.make_ready(active);
    std::size_t seen = 0;
    state.ResumeTiming();
    while (seen < active) {
      const int n = ::epoll_wait(epoll, events, 512, 0);
      for (int i = 0; i < n; ++i) read_counter(events[i].data.fd);
      seen += static_cast<std::size_t>(n);
    }
  }
  ::close(epoll);
}
BENCHMARK(raw)->Name("dispatch_ready_of_10000_raw_epoll")->Arg(1)->Arg(1'000);

}  // namespace
}  // namespace millrace::bench
