// What a message and a connection cost a server that has more and more connections, all of them
// with a message under way.
#pragma once

#include "contestants.h"
#include "statistics.h"

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace millrace::bench {

// Of one contestant, by count of connections; no value: it failed there.
struct GrowthLine {
  Rounds cpu_ns;
  // Anonymous bytes of the server per connection, above what it had before the first one. No value
  // for a few connections: memory comes in pages.
  Rounds memory_bytes;
  std::vector<std::string> errors;
};

struct Growth {
  std::vector<std::size_t> counts;
  std::vector<GrowthLine> lines;  // by contestant
};

// Medians over the rounds. Counts that the limit of descriptors does not allow are left out.
Growth measure_growth(const std::vector<Contestant>& contestants, int rounds,
                      std::chrono::nanoseconds duration);

}  // namespace millrace::bench
