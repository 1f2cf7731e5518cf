// Meter measures while it lives: time, the processor time of server and client, and for how much of
// it the client found something to do.
//
//   Meter meter(server_pid);
//   while (!enough) meter.turn(Clock::now(), look_for_work());
//   meter.finish(result);
#pragma once

#include <millrace/time.h>

#include "load.h"

namespace millrace::bench {

class Meter {
 public:
  explicit Meter(std::optional<pid_t> server_pid);

  // At the end of each turn of the client: whether there was anything to do in it.
  void turn(TimePoint now, bool found_something) noexcept {
    if (!found_something) idle_ += now - last_turn_;
    last_turn_ = now;
  }
  // Fills in what was measured: elapsed, server_cpu, client_cpu, client_busy.
  void finish(LoadResult& result) const;

 private:
  std::optional<pid_t> server_pid_;
  std::optional<CpuTime> server_before_;
  CpuTime client_before_;
  std::chrono::nanoseconds idle_{0};
  TimePoint start_;
  TimePoint last_turn_;
};

}  // namespace millrace::bench
