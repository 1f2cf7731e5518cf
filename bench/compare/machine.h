// The machine and the compiler that the figures are of.
#pragma once

#include <cstdint>
#include <string>

namespace millrace::bench {

struct Machine {
  std::string cpu;
  long processors = 0;
  std::string kernel;
  std::string compiler;
  std::string flags;
  std::uint64_t memory_bytes = 0;
};

Machine this_machine();
// In UTC: "2026-01-31T15:00:00Z"
std::string date_now();

}  // namespace millrace::bench
