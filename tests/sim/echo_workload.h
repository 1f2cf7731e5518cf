// Echo on the simulated kernel: servers that send back what they get, clients and bare sockets that
// send to them, and all of them do at random what people do to connections: half-close, pause,
// close, abort, throw, drain, restart, vanish. Every byte that arrives is compared with the model,
// and every connection ends once, for a reason that it had.
//
//   SeededDecisions decisions(seed);
//   const Report report = run_echo_workload(decisions);
//   EXPECT_TRUE(report.problems.empty()) << report.problems.front();
#pragma once

#include "support/sim/decisions.h"

#include <cstdint>
#include <string>
#include <vector>

namespace millrace::test {

struct Report {
  std::vector<std::string> problems;
  std::uint64_t fingerprint = 0;
  std::uint64_t connections = 0;
  std::uint64_t bytes = 0;  // that arrived and were right
  std::uint64_t calls = 0;
};

Report run_echo_workload(Decisions& decisions);
// The same with a relay in between (pipe()): who connects to it and who is connected by it must see
// of each other what they would see without it.
Report run_relay_workload(Decisions& decisions);
// The same over Unix sockets, with descriptors among the bytes: they arrive in their order, or are
// closed.
Report run_unix_echo_workload(Decisions& decisions);

}  // namespace millrace::test
