// SimTimerFd is a simulated timer descriptor (timerfd_create(2)) that expires once for each
// setting; it is readable from then until it is read or set again. It lives in a SimKernel.
#pragma once

#include "support/sim/sim_kernel.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include <sys/epoll.h>

namespace millrace::test {

class SimTimerFd final : public SimFile, public std::enable_shared_from_this<SimTimerFd> {
 public:
  using SimFile::SimFile;
  std::uint32_t poll() const override { return expired_ > 0 ? EPOLLIN : 0u; }
  void set(std::optional<TimePoint> at) {
    const std::uint64_t setting = ++setting_;
    expired_ = 0;
    if (!at) return;
    const std::weak_ptr<SimTimerFd> weak = weak_from_this();
    kernel().at(std::max(*at, kernel().now()), [weak, setting] {
      const auto self = weak.lock();
      if (!self || self->setting_ != setting) return;
      self->expired_ = 1;
      self->touch();
    });
  }
  int take(std::uint64_t* value) {
    if (expired_ == 0) return EAGAIN;
    *value = std::exchange(expired_, 0);
    return 0;
  }

 private:
  std::uint64_t setting_ = 0;
  std::uint64_t expired_ = 0;
};

}  // namespace millrace::test
