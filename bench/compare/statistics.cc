#include "statistics.h"

#include <algorithm>
#include <cstddef>

namespace millrace::bench {
namespace {

constexpr double kBusy = 0.9;  // the rest is lost to the kernel's own work and to neighbours

}  // namespace

std::optional<Spread> spread_of(const Rounds& values) {
  std::vector<double> sorted;
  for (const auto& value : values) {
    if (value) sorted.push_back(*value);
  }
  if (sorted.empty()) return std::nullopt;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t n = sorted.size();
  const double median = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
  return Spread{sorted[n / 4], median, sorted[n - 1 - n / 4]};
}

std::optional<Spread> ratio_of(const Rounds& mine, const Rounds& reference) {
  Rounds ratios;
  for (std::size_t i = 0; i < std::min(mine.size(), reference.size()); ++i) {
    if (mine[i] && reference[i] && *reference[i] > 0) ratios.push_back(*mine[i] / *reference[i]);
  }
  return spread_of(ratios);
}

bool is_client_bound(double client_busy, double server_busy) {
  return client_busy >= kBusy && server_busy < kBusy;
}

}  // namespace millrace::bench
