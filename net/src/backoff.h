// Backoff says how long to wait after so many failures in a row: exponentially longer, up to a
// limit, and shortened by chance. A value; one thread.
#pragma once

#include <millrace/client_options.h>

#include <chrono>
#include <cstdint>
#include <random>

namespace millrace {

class Backoff {
 public:
  using Milliseconds = std::chrono::duration<double, std::milli>;  // more than an int64_t holds

  // Precondition: a jitter between 0 and 1, a factor of at least 1 and delays of at least 1 ms.
  explicit Backoff(const ReconnectOptions& options);

  Milliseconds after(unsigned failures);

 private:
  ReconnectOptions options_;
  std::minstd_rand random_;
};

}  // namespace millrace
