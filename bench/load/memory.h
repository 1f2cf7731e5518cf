// What open connections cost a server in memory of its own: measured from outside, after each step
// of their life.
#pragma once

#include <millrace/socket_address.h>

#include <chrono>
#include <cstddef>
#include <iosfwd>

#include <sys/types.h>

namespace millrace::bench {

struct MemoryOptions {
  SocketAddress server;
  pid_t server_pid = 0;
  std::size_t connections = 10'000;
  std::size_t message_bytes = 64;
  std::size_t burst_bytes = 1024 * 1024;
  // A server may give memory back a little later: it is measured when it has not changed for so
  // long, but after ten seconds at the latest.
  std::chrono::nanoseconds unchanged_for = std::chrono::milliseconds(1500);
};

struct MemoryResult {
  // Anonymous bytes of the server process.
  std::uint64_t before = 0;
  std::uint64_t open = 0;
  std::uint64_t after_echo = 0;   // each has echoed one message
  std::uint64_t after_burst = 0;  // each has echoed burst_bytes, one connection after the other
  std::uint64_t after_close = 0;
  std::uint64_t open_again = 0;  // as many once more: is what was freed used again?
};

// Throws std::runtime_error when a connection fails or an answer is missing.
MemoryResult measure_memory(const MemoryOptions& options);
void print_memory(std::ostream& out, const MemoryOptions& options, const MemoryResult& result);

}  // namespace millrace::bench
