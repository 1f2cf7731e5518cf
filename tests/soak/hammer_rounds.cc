#include "hammer_rounds.h"

#include <millrace/event_loop.h>
#include <millrace/loop_services.h>

#include "support/hammer.h"
#include "support/process.h"

#include <cstdio>

namespace millrace::soak {
namespace {

constexpr std::size_t kConnectionsPerRound = 10'000;

// One loop and one server, from nothing to nothing.
Problems run_round(std::uint64_t seed, SteadyClock::time_point end) {
  const auto begin = SteadyClock::now();
  const auto descriptors = test::open_descriptors();
  test::HammerReport report;
  std::size_t live_blocks = 0;
  {
    EventLoop loop;
    report = test::hammer(loop, {.seed = seed, .connections = kConnectionsPerRound, .end = end});
    loop.run_once(std::chrono::milliseconds(0));  // buries
    live_blocks = loop.services().blocks().live_blocks();
  }
  Problems problems = report.problems;
  if (report.opened != report.connected || report.closed != report.opened) {
    problems.push_back(std::to_string(report.connected) + " connected, " +
                       std::to_string(report.opened) + " opened, " + std::to_string(report.closed) +
                       " closed");
  }
  const std::size_t left = test::open_descriptors().size();
  if (left != descriptors.size()) {
    problems.push_back(std::to_string(left) + " descriptors instead of " +
                       std::to_string(descriptors.size()));
  }
  if (live_blocks != 0) problems.push_back("buffer memory was not given back");
  std::printf(
      "%7.1f s  seed %llu: %zu connected, %zu opened, %zu closed, %zu descriptors, "
      "%zu KiB anonymous\n",
      Seconds(SteadyClock::now() - begin).count(), static_cast<unsigned long long>(seed),
      report.connected, report.opened, report.closed, left, anonymous_kib());
  std::fflush(stdout);
  return problems;
}

}  // namespace

Problems run_hammer_rounds(const Part& part) {
  std::printf("-- hammer, %zu connections per round\n", kConnectionsPerRound);
  Problems problems;
  const auto end =
      SteadyClock::now() + std::chrono::duration_cast<SteadyClock::duration>(part.length);
  std::uint64_t seed = part.seed;
  do {
    const std::string which = "hammer with seed " + std::to_string(seed);
    const std::string command = "To try it again: " + part.program + " --only hammer --seed " +
                                std::to_string(seed) + " --minutes 1";
    if_it_crashes_say(which + " ended the program. " + command);
    for (const std::string& problem : run_round(seed, end)) {
      problems.push_back(which + ": " + problem + "\n   " + command);
    }
    ++seed;
  } while (problems.empty() && SteadyClock::now() < end);
  return problems;
}

}  // namespace millrace::soak
