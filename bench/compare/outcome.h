// Everything that a whole run has found out: what is printed at its end and written as JSON.
#pragma once

#include "contest.h"
#include "growth.h"
#include "machine.h"
#include "memory.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace millrace::bench {

using CallsPerMessage = std::map<std::string, double>;

struct CourseOutcome {
  Course course;
  std::vector<std::optional<CallsPerMessage>> system_calls;  // by contestant
};

struct MemoryOutcome {
  MemoryOptions options;
  std::vector<std::optional<MemoryResult>> results;  // by contestant
  std::vector<std::string> errors;                   // by contestant; empty: none
};

struct Outcome {
  std::string date;
  std::string command;
  int rounds = 0;
  double round_seconds = 0;
  Machine machine;
  std::vector<Contestant> absent;
  std::vector<Contestant> contestants;  // present; the first is the reference
  std::vector<CourseOutcome> courses;
  std::optional<MemoryOutcome> memory;
  std::optional<Growth> growth;
};

// Bytes per connection of an idle server with 10,000 of them that we want.
constexpr double kMemoryTarget = 160;
// Whose figures have to reach the targets.
constexpr const char* kSubject = "millrace";

}  // namespace millrace::bench
