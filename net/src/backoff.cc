#include "backoff.h"

#include <millrace/check.h>

#include "syscalls.h"

#include <algorithm>

namespace millrace {
namespace {

// For jitter: it need not be more than different from client to client.
std::uint32_t random_seed() noexcept {
  std::uint32_t seed = 1;
  static_cast<void>(sys::getrandom(&seed, sizeof seed));
  return seed;
}

}  // namespace

Backoff::Backoff(const ReconnectOptions& options) : options_(options), random_(random_seed()) {
  MILLRACE_CHECK(options.jitter >= 0 && options.jitter <= 1,
                 "ReconnectOptions::jitter is a share between 0 and 1");
  MILLRACE_CHECK(options.first_delay.count() > 0 && options.longest_delay.count() > 0,
                 "the delays of ReconnectOptions are at least 1 ms");
  MILLRACE_CHECK(options.factor >= 1, "ReconnectOptions::factor is at least 1");
}

Backoff::Milliseconds Backoff::after(unsigned failures) {
  double ms = static_cast<double>(options_.first_delay.count());
  const auto longest = static_cast<double>(options_.longest_delay.count());
  if (options_.factor > 1) {
    for (unsigned i = 1; i < failures && ms < longest; ++i) ms *= options_.factor;
  }
  ms = std::min(ms, longest);
  ms *= 1 - options_.jitter * std::uniform_real_distribution<double>(0, 1)(random_);
  return Milliseconds(ms);
}

}  // namespace millrace
