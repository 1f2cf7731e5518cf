// Runs for as long as it is told what must neither fail nor drift: the workloads on the simulated
// kernel, the hammer, and servers on real sockets under peers that behave badly. Exits with 0 if
// all held. `./dev soak` builds and starts it.
#include <millrace/log.h>

#include "hammer_rounds.h"
#include "measure.h"
#include "peers.h"
#include "simulation.h"
#include "sockets.h"

#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

using namespace millrace;
using namespace millrace::soak;

namespace {

struct NamedPart {
  const char* name;
  Problems (*run)(const Part&);
};

// Real sockets first: what the others leave in the allocator would hide growth.
constexpr NamedPart kParts[] = {
    {"sockets", run_sockets}, {"hammer", run_hammer_rounds}, {"simulation", run_simulation}};

int verdict(const Problems& problems) {
  for (const std::string& problem : problems) std::printf("FAILED: %s\n", problem.c_str());
  if (problems.empty()) std::printf("all held\n");
  return problems.empty() ? 0 : 1;
}

int run_parts(const std::string& only, const Part& whole) {
  Problems problems;
  std::printf("seed %llu\n", static_cast<unsigned long long>(whole.seed));
  for (const NamedPart& part : kParts) {
    if (!only.empty() && only != part.name) continue;
    Part mine = whole;
    if (only.empty()) mine.length /= std::size(kParts);
    const Problems found = part.run(mine);
    problems.insert(problems.end(), found.begin(), found.end());
  }
  return verdict(problems);
}

std::uint64_t seed_from_clock() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
             std::chrono::duration_cast<std::chrono::microseconds>(now).count()) %
         1'000'000'000;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Looks for what fails or drifts in the long run.");
  double minutes = 10;
  Part whole{.seed = seed_from_clock(), .program = argv[0]};
  double report_seconds = whole.report.count();
  std::string only, seed_to_replay;
  std::vector<std::string> targets;
  app.add_option("--minutes", minutes, "how long, shared by the parts (10)")
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", whole.seed, "the first seed of each part (default: from the clock)");
  app.add_option("--only", only, "one part: sockets, hammer or simulation")
      ->check(CLI::IsMember({"sockets", "hammer", "simulation"}));
  app.add_option("--report", report_seconds, "a line every so many seconds (10)")
      ->check(CLI::PositiveNumber);
  app.add_option("--replay", seed_to_replay, "WORKLOAD:SEED, as a failure named it: once, alone");
  app.add_option("--peers", targets)->expected(3)->group("");  // started by the soak itself
  CLI11_PARSE(app, argc, argv);
  // Each of a million resets and bad frames would be a warning.
  log::set_level(log::Level::off);
  try {
    if (!targets.empty()) return run_peers({targets[0], targets[1], targets[2]}, whole.seed);
    if (!seed_to_replay.empty()) return verdict(replay(seed_to_replay));
    whole.length = std::chrono::duration<double, std::ratio<60>>(minutes);
    whole.report = Seconds(report_seconds);
    return run_parts(only, whole);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "millrace-soak: %s\n", e.what());
    return 1;
  }
}
