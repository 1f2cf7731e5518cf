// Requests and replies on the simulated kernel: framed clients that keep several requests under
// way, come back after every loss and ask again for what was not answered; framed servers that
// answer at once or later, in any order, drain, restart and abort. Each reply must be one that was
// asked for on that connection, once, with the right bytes; and when the faults have ended, every
// request is answered in the end.
#pragma once

#include "echo_workload.h"

namespace millrace::test {

Report run_request_workload(Decisions& decisions);
// The same over Unix sockets.
Report run_unix_request_workload(Decisions& decisions);

}  // namespace millrace::test
