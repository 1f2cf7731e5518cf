// A contest: the same load against several servers in turn, round by round, so that what disturbs
// the machine disturbs all of them, and every figure becomes a ratio to the first one in the same
// round.
#pragma once

#include "load.h"
#include "memory.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace millrace::bench {

struct Contestant {
  std::string name;
  // The command that starts it, given whether messages are framed.
  std::function<std::vector<std::string>(bool framed)> command;
};

struct Workload {
  std::string name;
  LoadOptions load;
  double target;  // the CPU per message, as a ratio to the first contestant, that we want
};

// Of one contestant over all rounds of one workload.
struct Scores {
  std::vector<double> rate;    // messages per second
  std::vector<double> cpu_ns;  // of the server, per message
  std::uint64_t messages = 0;
  double total_cpu_ns = 0;
  std::uint64_t user_ticks = 0;
  std::uint64_t system_ticks = 0;
  std::vector<std::string> errors;

  void add(const LoadResult& result);
  // Over all rounds: a single one has too few of the kernel's samples.
  double user_ns() const;
};

struct Spread {
  double low, median, high;
};
Spread spread_of(std::vector<double> values);
// Round by round, `mine` over `reference`.
Spread ratio_of(const std::vector<double>& mine, const std::vector<double>& reference);

// The server runs on processor 0, the calling thread is expected to be on another one.
std::vector<Scores> run_contest(const std::vector<Contestant>& contestants,
                                const Workload& workload, int rounds);
MemoryResult run_memory(const Contestant& contestant, MemoryOptions options);

}  // namespace millrace::bench
