// All workloads that run on the simulated kernel, by name: the soak and the fuzz target take them
// from here.
//
//   for (const Workload& workload : kWorkloads) {
//     SeededDecisions decisions(seed);
//     const Report report = workload.run(decisions);
//     ...
//   }
#pragma once

#include "sim/datagram_workload.h"
#include "sim/echo_workload.h"
#include "sim/request_workload.h"

#include <array>
#include <string_view>

namespace millrace::test {

struct Workload {
  std::string_view name;
  Report (*run)(Decisions& decisions);
};

inline constexpr std::array kWorkloads{
    Workload{"echo", run_echo_workload},
    Workload{"relay", run_relay_workload},
    Workload{"request", run_request_workload},
    Workload{"datagram", run_datagram_workload},
    Workload{"unix-datagram", run_unix_datagram_workload},
    Workload{"unix-echo", run_unix_echo_workload},
    Workload{"unix-request", run_unix_request_workload},
};

}  // namespace millrace::test
