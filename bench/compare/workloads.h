// The workloads of the contest: what each is called, what it loads a server with, and what we want
// to reach in it.
#pragma once

#include "load.h"

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace millrace::bench {

enum class Kind { echo, open, churn, stream, broadcast, datagrams };
const char* name_of(Kind kind);

struct Workload {
  std::string id;
  std::string title;
  std::string group;
  std::string unit = "message";
  Kind kind = Kind::echo;
  LoadOptions load;  // all but the server, and in `open` the rate
  // The processor time per unit of millrace, as a ratio to the reference, that we want.
  std::optional<double> target;
  double share_of_capacity = 0;  // open: what is offered, of the reference's rate in closed loop
  int most_rounds = 1000;        // fewer where starting takes longer than measuring

  // The word of a server's command line that it needs; empty for a plain echo.
  const char* server_mode() const;
};

// The one whose rate, of the reference, is the capacity that `open` workloads offer a share of.
constexpr const char* kCapacityWorkload = "raw-64-c100";

struct Pace {
  std::chrono::nanoseconds warmup;
  std::chrono::nanoseconds duration;
  int most_heavy_rounds;  // of what opens 10,000 connections
};
std::vector<Workload> all_workloads(const Pace& pace);
// Those whose id is one of the words or contains it. Throws std::runtime_error naming a word that
// fits none.
std::vector<Workload> choose(const std::vector<Workload>& all,
                             const std::vector<std::string>& words);

// Loads a server: `load` is the workload's own with the server filled in.
LoadResult run_workload(const Workload& workload, const LoadOptions& load);
// The same, short and with every byte compared: what is wrong, or nothing.
std::vector<std::string> verify_workload(const Workload& workload, LoadOptions load);
// "3 x wrong bytes"
std::vector<std::string> errors_of(const LoadResult& result);

}  // namespace millrace::bench
