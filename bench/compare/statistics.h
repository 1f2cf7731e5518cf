// What the rounds of a contest come to: medians, quartiles and ratios. Values; any thread.
#pragma once

#include <optional>
#include <vector>

namespace millrace::bench {

// The quartiles beside the median: a single disturbed round shall not be the whole story.
struct Spread {
  double low = 0, median = 0, high = 0;
};

// By round; no value: that round has failed.
using Rounds = std::vector<std::optional<double>>;

// Nothing when no round has a value.
std::optional<Spread> spread_of(const Rounds& values);
// Round by round, `mine` over `reference`, where both have a value.
std::optional<Spread> ratio_of(const Rounds& mine, const Rounds& reference);

// Whether the client was what limited the rate: it had work all the time, the server had not. The
// rate then says nothing about the server; its processor time per message still does.
bool is_client_bound(double client_busy, double server_busy);

}  // namespace millrace::bench
