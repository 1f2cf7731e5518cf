#include "meter.h"

#include <unistd.h>

namespace millrace::bench {

Meter::Meter(std::optional<pid_t> server_pid)
    : server_pid_(server_pid), client_before_(cpu_time_of(::getpid())) {
  if (server_pid_) server_before_ = cpu_time_of(*server_pid_);
  start_ = last_turn_ = Clock::now();
}

void Meter::finish(LoadResult& result) const {
  result.elapsed = Clock::now() - start_;
  if (server_pid_) result.server_cpu = cpu_time_of(*server_pid_) - *server_before_;
  result.client_cpu = cpu_time_of(::getpid()) - client_before_;
  if (result.elapsed.count() <= 0) return;
  result.client_busy =
      1.0 - static_cast<double>(idle_.count()) / static_cast<double>(result.elapsed.count());
}

}  // namespace millrace::bench
