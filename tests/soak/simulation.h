// The part of the soak that runs every workload on the simulated kernel, from one seed to the next,
// until its time is over. A seed that fails is printed with the command that repeats it.
#pragma once

#include "measure.h"

#include <cstdint>
#include <string>

namespace millrace::soak {

Problems run_simulation(const Part& part);

// "echo:42": that workload with that seed, once. Throws std::invalid_argument for other texts.
Problems replay(const std::string& workload_and_seed);

}  // namespace millrace::soak
