#include "workload_setup.h"

#include <chrono>
#include <cstdint>
#include <system_error>

namespace millrace::test {

using namespace std::chrono_literals;

namespace {

// Faults are rare: whoever fails so often in a row fails for another reason.
constexpr int kListenAttempts = 100;

}  // namespace

SimOptions random_sim_options(Decisions& by, Duration latency_most) {
  SimOptions options;
  options.send_buffer = 4'608 + by.size_up_to(100'000);
  options.receive_buffer = 2'304 + by.size_up_to(100'000);
  options.latency_least = 1us;
  const auto most = static_cast<std::uint64_t>(latency_most.count());
  options.latency_most = 1us + Duration(static_cast<Duration::rep>(by.size_up_to(most)));
  options.call = 200ns;
  return options;
}

void listen_despite_faults(Server& server, SocketAddress& address) {
  for (int attempts = 0; attempts < kListenAttempts; ++attempts) {
    try {
      server.listen(address);
      break;
    } catch (const std::system_error&) {
      continue;  // out of memory or descriptors: told, and nothing is lost
    }
  }
  const bool chosen = address.port() != 0 || !address.path().empty();
  if (!chosen) address = server.address();
}

}  // namespace millrace::test
