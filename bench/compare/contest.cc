#include "contest.h"

#include "server_process.h"

#include <algorithm>

namespace millrace::bench {
namespace {

constexpr int kServerCpu = 0;

}  // namespace

void Scores::add(const LoadResult& result) {
  for (const auto& [kind, count] : result.errors) {
    errors.push_back(std::to_string(count) + " x " + kind);
  }
  if (result.messages == 0 || !result.server_cpu) return;
  const auto cpu = static_cast<double>(result.server_cpu->total.count());
  rate.push_back(result.message_rate());
  cpu_ns.push_back(cpu / static_cast<double>(result.messages));
  messages += result.messages;
  total_cpu_ns += cpu;
  user_ticks += result.server_cpu->user_ticks;
  system_ticks += result.server_cpu->system_ticks;
}

double Scores::user_ns() const {
  const auto ticks = static_cast<double>(user_ticks + system_ticks);
  if (ticks == 0 || messages == 0) return 0;
  return total_cpu_ns / static_cast<double>(messages) * static_cast<double>(user_ticks) / ticks;
}

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {0, 0, 0};
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  const double median = n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
  // The quartiles: a single disturbed round shall not be the whole story.
  return {values[n / 4], median, values[n - 1 - n / 4]};
}

Spread ratio_of(const std::vector<double>& mine, const std::vector<double>& reference) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < std::min(mine.size(), reference.size()); ++i) {
    ratios.push_back(mine[i] / reference[i]);
  }
  return spread_of(std::move(ratios));
}

std::vector<Scores> run_contest(const std::vector<Contestant>& contestants,
                                const Workload& workload, int rounds) {
  std::vector<Scores> scores(contestants.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < contestants.size(); ++i) {
      const ServerProcess server(contestants[i].command(workload.load.framed), kServerCpu);
      LoadOptions load = workload.load;
      load.server = server.address();
      load.server_pid = server.pid();
      scores[i].add(run_load(load));
    }
  }
  return scores;
}

MemoryResult run_memory(const Contestant& contestant, MemoryOptions options) {
  const ServerProcess server(contestant.command(false), kServerCpu);
  options.server = server.address();
  options.server_pid = server.pid();
  return measure_memory(options);
}

}  // namespace millrace::bench
