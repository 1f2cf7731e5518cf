#include "simulation.h"

#include "sim/workloads.h"

#include <charconv>
#include <cstdio>
#include <stdexcept>
#include <string_view>

namespace millrace::soak {
namespace {

using test::kWorkloads;
using test::Report;
using test::SeededDecisions;
using test::Workload;

struct Totals {
  std::uint64_t runs = 0;
  std::uint64_t connections = 0;
  std::uint64_t bytes = 0;
  std::uint64_t calls = 0;
};

Problems run_seed(const Workload& workload, std::uint64_t seed, Totals& totals) {
  SeededDecisions decisions(seed);
  const Report report = workload.run(decisions);
  ++totals.runs;
  totals.connections += report.connections;
  totals.bytes += report.bytes;
  totals.calls += report.calls;
  return report.problems;
}

void print(std::uint64_t seed, const Totals& totals, Seconds taken) {
  std::printf(
      "%7.0f s  up to seed %llu: %llu runs (%.0f per second), %llu connections, %llu MiB, "
      "%llu system calls\n",
      taken.count(), static_cast<unsigned long long>(seed),
      static_cast<unsigned long long>(totals.runs),
      static_cast<double>(totals.runs) / taken.count(),
      static_cast<unsigned long long>(totals.connections),
      static_cast<unsigned long long>(totals.bytes >> 20),
      static_cast<unsigned long long>(totals.calls));
  std::fflush(stdout);
}

}  // namespace

Problems run_simulation(const Part& part) {
  std::printf("-- simulated kernel, from seed %llu on\n",
              static_cast<unsigned long long>(part.seed));
  Problems problems;
  Totals totals;
  const auto begin = SteadyClock::now();
  auto next_line = begin + part.report;
  std::uint64_t seed = part.seed;
  for (; problems.size() < kProblemsKept; ++seed) {
    const auto now = SteadyClock::now();
    if (now - begin >= part.length && totals.runs > 0) break;
    if (now >= next_line) {
      print(seed, totals, now - begin);
      next_line += std::chrono::duration_cast<SteadyClock::duration>(part.report);
    }
    for (const Workload& workload : kWorkloads) {
      const std::string name = std::string(workload.name) + ":" + std::to_string(seed);
      const std::string command = "To see it again: " + part.program + " --replay " + name;
      if_it_crashes_say(name + " ended the program. " + command);
      const Problems found = run_seed(workload, seed, totals);
      if (found.empty()) continue;
      problems.push_back(name + ": " + found.front() + "\n   " + command);
      std::printf("%s\n", problems.back().c_str());
    }
  }
  print(seed, totals, SteadyClock::now() - begin);
  return problems;
}

Problems replay(const std::string& workload_and_seed) {
  const std::string_view text = workload_and_seed;
  const std::size_t colon = std::min(text.find(':'), text.size());
  const std::string_view digits = text.substr(std::min(colon + 1, text.size()));
  std::uint64_t seed = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), seed);
  const bool is_number = error == std::errc() && end == digits.data() + digits.size();
  for (const Workload& workload : kWorkloads) {
    if (workload.name != text.substr(0, colon) || !is_number) continue;
    Totals totals;
    return run_seed(workload, seed, totals);
  }
  throw std::invalid_argument("'" + workload_and_seed + "' is not a workload and a seed (echo:42)");
}

}  // namespace millrace::soak
