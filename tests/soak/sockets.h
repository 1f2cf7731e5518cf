// The part of the soak on real sockets: three servers, and peers in a process of their own that
// behave well and badly (peers.h). Again and again there is churn, and then rest with the same
// number of silent connections; what the server takes at rest must be the same each time.
#pragma once

#include "measure.h"

namespace millrace::soak {

Problems run_sockets(const Part& part);

}  // namespace millrace::soak
