// What the scripts of Faults say about a call. For support/kernel_calls.cc and mappings.cc.
#pragma once

#include "support/faults.h"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <optional>

namespace millrace::test {

// Counts the call; what a script says about it, if anything.
std::optional<Fault> next_fault(Call call, int fd, int operation = 0);
// What the product shall see of this reading of the monotonic clock.
void adjust_clock(timespec& read);

// Makes the call, as the script wants it.
template <class Make>
auto scripted_call(Call call, int fd, Make&& make, int operation = 0) -> decltype(make()) {
  const auto fault = next_fault(call, fd, operation);
  if (!fault || fault->error == 0) return make();
  if (fault->made) make();
  errno = fault->error;
  return -1;
}

template <class Make>
ssize_t scripted_transfer(Call call, int fd, std::size_t n, Make&& make) {
  const auto fault = next_fault(call, fd);
  if (fault && fault->error != 0) {
    errno = fault->error;
    return -1;
  }
  return make(fault && fault->at_most ? std::min(n, *fault->at_most) : n);
}

}  // namespace millrace::test
