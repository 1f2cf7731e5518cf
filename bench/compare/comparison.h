// Comparison is one run of the contest from the first workload to the table of targets: it measures
// what the options ask for, prints each piece as it comes, and keeps the outcome.
#pragma once

#include "contestants.h"
#include "memory.h"
#include "outcome.h"
#include "workloads.h"

#include <chrono>
#include <string>
#include <vector>

namespace millrace::bench {

// What is not a load but is chosen by --workloads as one.
constexpr const char* kMemory = "memory";
constexpr const char* kGrowth = "growth";

struct CompareOptions {
  bool quick = false;
  bool list = false;
  int rounds = 0;
  double seconds = 0;
  std::vector<std::string> only;
  std::vector<std::string> workloads;
  std::string json;
  std::string merge;
  std::string command;
};

// How much of everything. Full: fourteen minutes for eight contestants; quick: two and a half.
struct Plan {
  int rounds;
  Pace pace;
  int growth_rounds;
  std::chrono::nanoseconds growth_duration;
  MemoryOptions memory;
  bool trace_all;  // else only what kTracedWhenQuick names
};

class Comparison {
 public:
  // Throws std::runtime_error when the reference is not among those that are present.
  Comparison(const CompareOptions& options, std::vector<Contestant> contestants);

  // Whether nobody had an error. Throws std::runtime_error naming a workload that there is not.
  bool run();
  const Outcome& outcome() const { return outcome_; }

 private:
  void print_head() const;
  void run_course(Workload workload);
  double capacity();
  bool is_traced(const Workload& workload) const;
  void run_memory();
  void run_growth();

  CompareOptions options_;
  Plan plan_;
  Outcome outcome_;
  bool clean_ = true;
  double capacity_ = 0;
  const bool strace_;  // whether it is installed
};

}  // namespace millrace::bench
