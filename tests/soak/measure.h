// What the parts of the soak share: what this process takes, how long a part may last, and what it
// has found.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace millrace::soak {

using SteadyClock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

struct Part {
  std::uint64_t seed = 1;
  Seconds length{60};
  Seconds report{10};   // a line so often
  std::string program;  // this one, for the commands that it prints
};

// What did not hold, in words; empty is good. The parts stop after a few.
using Problems = std::vector<std::string>;
constexpr std::size_t kProblemsKept = 10;

// Anonymous memory of this process that is in use, in KiB.
std::size_t anonymous_kib();

// Under the sanitizers memory is not what the program took: they keep what it freed.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryIsOurs = false;
#else
constexpr bool kMemoryIsOurs = true;
#endif

// If the program is ended by an abort or a bad access, this is the last line that it prints.
void if_it_crashes_say(const std::string& text);

}  // namespace millrace::soak
