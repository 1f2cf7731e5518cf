// Datagrams on the simulated kernel: UDP sockets that send to each other and back, on a network
// that loses, doubles and delays, and that are paused, connected, closed, bound anew and destroyed
// at random, also inside their callbacks. Every datagram that arrives was sent to who gets it, by
// whom it says, and is unchanged; what does not arrive is counted by who lost it.
//
//   SeededDecisions decisions(seed);
//   const Report report = run_datagram_workload(decisions);
//   EXPECT_TRUE(report.problems.empty()) << report.problems.front();
#pragma once

#include "sim/echo_workload.h"

namespace millrace::test {

Report run_datagram_workload(Decisions& decisions);
// The same with Unix sockets, which lose nothing and keep the order.
Report run_unix_datagram_workload(Decisions& decisions);

}  // namespace millrace::test
