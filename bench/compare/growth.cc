#include "growth.h"

#include "byte_echo.h"
#include "contest.h"

#include <algorithm>

#include <sys/resource.h>

namespace millrace::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kCounts[] = {1, 10, 100, 1000, 5000, 15'000};
constexpr std::size_t kOtherDescriptors = 100;
constexpr std::size_t kMemoryFrom = 1000;

std::vector<std::size_t> allowed_counts() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  std::vector<std::size_t> counts;
  for (const std::size_t count : kCounts) {
    if (count + kOtherDescriptors <= limit.rlim_cur) counts.push_back(count);
  }
  return counts;
}

// One server, to which the connections come that are missing to the next count.
GrowthLine grow(const Contestant& contestant, const std::vector<std::size_t>& counts,
                std::chrono::nanoseconds duration) {
  GrowthLine line;
  line.errors = with_server(contestant, "", [&](LoadOptions load) {
    load.warmup = duration / 3;
    load.duration = duration;
    const std::uint64_t before = anonymous_bytes_of(*load.server_pid);
    ByteEcho echo(load);
    std::size_t open = 0;
    for (const std::size_t count : counts) {
      echo.connect(count - open);
      open = count;
      const LoadResult result = echo.measure_again();
      if (const auto errors = errors_of(result); !errors.empty()) return errors;
      if (result.messages == 0) return std::vector<std::string>{"nothing was answered"};
      line.cpu_ns.emplace_back(static_cast<double>(result.server_cpu->total.count()) /
                               static_cast<double>(result.messages));
      line.memory_bytes.emplace_back();
      const std::uint64_t now = anonymous_bytes_of(*load.server_pid);
      if (count >= kMemoryFrom && now >= before) {
        line.memory_bytes.back() = static_cast<double>(now - before) / static_cast<double>(count);
      }
    }
    return std::vector<std::string>{};
  });
  line.cpu_ns.resize(counts.size());
  line.memory_bytes.resize(counts.size());
  return line;
}

// At each count the median of the rounds.
Rounds medians(const std::vector<GrowthLine>& rounds, Rounds GrowthLine::*what,
               std::size_t counts) {
  Rounds result(counts);
  for (std::size_t i = 0; i < counts; ++i) {
    Rounds values;
    for (const GrowthLine& line : rounds) values.push_back((line.*what)[i]);
    if (const auto spread = spread_of(values)) result[i] = spread->median;
  }
  return result;
}

}  // namespace

Growth measure_growth(const std::vector<Contestant>& contestants, int rounds,
                      std::chrono::nanoseconds duration) {
  Growth growth{allowed_counts(), {}};
  std::vector<std::vector<GrowthLine>> lines(contestants.size());  // by contestant, then round
  for (std::size_t round = 0; round < static_cast<std::size_t>(rounds); ++round) {
    for (std::size_t turn = 0; turn < contestants.size(); ++turn) {
      const std::size_t i = (round + turn) % contestants.size();
      if (!lines[i].empty() && !lines[i].back().errors.empty()) continue;
      lines[i].push_back(grow(contestants[i], growth.counts, duration));
    }
  }
  for (const auto& of_one : lines) {
    growth.lines.push_back({medians(of_one, &GrowthLine::cpu_ns, growth.counts.size()),
                            medians(of_one, &GrowthLine::memory_bytes, growth.counts.size()),
                            of_one.back().errors});
  }
  return growth;
}

}  // namespace millrace::bench
