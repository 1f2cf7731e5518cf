// SimEventFd is a simulated eventfd(2): a counter that is readable while it is not zero. It lives
// in a SimKernel.
#pragma once

#include "support/sim/sim_file.h"

#include <cerrno>
#include <cstdint>
#include <utility>

#include <sys/epoll.h>

namespace millrace::test {

class SimEventFd final : public SimFile {
 public:
  SimEventFd(SimKernel& kernel, std::uint64_t value) : SimFile(kernel), count_(value) {}
  std::uint32_t poll() const override {
    return (count_ > 0 ? EPOLLIN : 0u) | (count_ < kMost ? EPOLLOUT : 0u);
  }
  int add(std::uint64_t value) {
    if (value > kMost - count_) return EAGAIN;
    count_ += value;
    touch();
    return 0;
  }
  int take(std::uint64_t* value) {
    if (count_ == 0) return EAGAIN;
    *value = std::exchange(count_, 0);
    touch();
    return 0;
  }

 private:
  static constexpr std::uint64_t kMost = ~std::uint64_t{0} - 1;
  std::uint64_t count_;
};

}  // namespace millrace::test
