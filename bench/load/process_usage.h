// What another process on this machine has used: read from /proc. Values; any thread.
#pragma once

#include <chrono>
#include <cstdint>

#include <sys/types.h>

namespace millrace::bench {

struct CpuTime {
  std::chrono::nanoseconds total{0};  // of all its threads, as the scheduler counted it
  // The kernel's tick samples, of which only the proportion means anything.
  std::uint64_t user_ticks = 0;
  std::uint64_t system_ticks = 0;

  CpuTime operator-(const CpuTime& earlier) const noexcept;
  std::chrono::nanoseconds user() const noexcept;
};

// Both throw std::system_error naming the file when there is no such process.
CpuTime cpu_time_of(pid_t pid);
// Memory that is the process's own, not a file's: what connections cost.
std::uint64_t anonymous_bytes_of(pid_t pid);

}  // namespace millrace::bench
