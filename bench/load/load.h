// One run of the load tool against an echo server: it connects, warms up, measures, waits for what
// is still under way, and closes. One thread, with a loop of its own.
//
//   const LoadResult result = run_load({.server = SocketAddress::parse("127.0.0.1:7000")});
//   std::cout << result.message_rate();
#pragma once

#include <millrace/socket_address.h>

#include "histogram.h"
#include "process_usage.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include <sys/types.h>

namespace millrace::bench {

struct LoadOptions {
  SocketAddress server;
  std::size_t connections = 1;
  std::size_t idle_connections = 0;  // opened besides, and left alone
  std::size_t message_bytes = 64;
  std::size_t depth = 1;  // messages under way per connection (closed loop)
  bool framed = false;    // 4-byte big-endian length prefix
  double rate = 0;        // messages per second in all; 0: closed loop
  std::chrono::nanoseconds duration = std::chrono::seconds(5);
  std::chrono::nanoseconds warmup = std::chrono::seconds(1);
  bool verify = false;
  bool spin = false;                // never sleep: for measurements on a core of its own
  bool progress = false;            // one live line on standard error
  std::optional<pid_t> server_pid;  // whose processor time is measured
};

struct LoadResult {
  std::uint64_t messages = 0;  // in churn connections, in a stream MiB, in a broadcast deliveries
  std::uint64_t bytes = 0;     // of messages, one way
  std::chrono::nanoseconds elapsed{0};
  Histogram latency;
  std::map<std::string, std::uint64_t> errors;  // by kind
  std::optional<CpuTime> server_cpu;
  std::optional<CpuTime> client_cpu;
  // The share of the measured time in which the client had something to do: one that spins uses its
  // whole processor, and only this tells whether it kept up.
  double client_busy = 0;
  std::uint64_t total_messages = 0;  // before, while and after measuring

  double message_rate() const noexcept;
  double megabyte_rate() const noexcept;
};

// Throws std::runtime_error when not a single connection could be made.
LoadResult run_load(const LoadOptions& options);

}  // namespace millrace::bench
