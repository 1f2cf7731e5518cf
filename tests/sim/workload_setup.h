// What every workload on the simulated kernel begins with: buffers and latencies that the decisions
// choose, and a server that listens though calls fail.
//
//   SimWorld world(decisions, random_sim_options(decisions, 50ms));
//   SocketAddress address = SocketAddress::loopback(0);
//   listen_despite_faults(server, address);
#pragma once

#include <millrace/server.h>
#include <millrace/socket_address.h>

#include "support/sim/sim_kernel.h"

namespace millrace::test {

// Buffers from the smallest that a socket can have; a segment takes 1 us, or up to `latency_most`.
SimOptions random_sim_options(Decisions& by, Duration latency_most);

// Tries until it listens. Port 0 of `address` becomes the port that it was given, and an empty name
// of a Unix socket the name, so that another server can come back to it.
void listen_despite_faults(Server& server, SocketAddress& address);

}  // namespace millrace::test
