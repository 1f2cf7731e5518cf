// A contest: the same load against several servers in turn, round by round, so that what disturbs
// the machine disturbs all of them, and every figure becomes a ratio to the reference in the same
// round. Each round begins with another contestant: A B C, B C A, C A B.
#pragma once

#include "contestants.h"
#include "histogram.h"
#include "memory.h"
#include "statistics.h"
#include "workloads.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace millrace::bench {

constexpr int kServerCpu = 0;
constexpr int kClientCpu = 1;

// Of one contestant over all rounds of one workload.
struct Scores {
  Rounds rate;    // units per second
  Rounds cpu_ns;  // of the server, per unit
  Histogram latency;
  std::uint64_t messages = 0;
  double total_cpu_ns = 0;
  double total_seconds = 0;
  double client_busy_seconds = 0;
  std::uint64_t user_ticks = 0;
  std::uint64_t system_ticks = 0;
  double offered_rate = 0;
  std::vector<std::string> errors;

  void add(const LoadResult& result);  // a round
  void add_failure();                  // a round that brought nothing
  // Per unit, over all rounds; nothing when the kernel has taken too few samples to tell.
  std::optional<double> user_ns() const;
  double server_busy() const;
  bool client_bound() const;
  bool overloaded() const;  // open loop: fewer were answered than offered
};

struct Course {
  Workload workload;
  std::vector<Scores> scores;  // by contestant
};

// Every contestant is first verified, then measured; one with errors is out of this workload, and
// so is one that has no server for it. The calling thread is expected to be on kClientCpu.
Course run_contest(const std::vector<Contestant>& contestants, const Workload& workload,
                   int rounds);

// What runs once against a server of the contestant: its errors, by which it is out, are returned.
std::vector<std::string> with_server(
    const Contestant& contestant, const std::string& mode,
    const std::function<std::vector<std::string>(LoadOptions server)>& run);

}  // namespace millrace::bench
