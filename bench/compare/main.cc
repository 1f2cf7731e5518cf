// compare: our echo server beside the bare epoll loop, and what it costs more or less.
#include "contest.h"
#include "server_process.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <sys/resource.h>
#include <unistd.h>

using namespace millrace::bench;
using namespace std::chrono_literals;

namespace {

constexpr int kClientCpu = 1;

std::vector<Workload> workloads(std::chrono::nanoseconds duration) {
  const auto load = [&](std::size_t connections, bool framed, std::size_t depth,
                        std::size_t idle = 0) {
    LoadOptions options;
    options.connections = connections;
    options.idle_connections = idle;
    options.framed = framed;
    options.depth = depth;
    options.duration = duration;
    options.warmup = 300ms;
    options.verify = true;
    options.spin = true;
    return options;
  };
  return {
      {"raw 64 B, 1 connection", load(1, false, 1), 1.03},
      {"raw 64 B, 100 connections", load(100, false, 1), 1.03},
      {"raw 64 B, 1,000 connections", load(1000, false, 1), 1.03},
      {"framed 64 B, depth 1, 100 connections", load(100, true, 1), 1.03},
      {"framed 64 B, 32 pipelined, 64 connections", load(64, true, 32), 1.08},
      {"10,000 idle + 100 active, raw 64 B", load(100, false, 1, 10'000), 1.03},
  };
}

void print_scores(const Workload& workload, const std::vector<Contestant>& contestants,
                  const std::vector<Scores>& scores) {
  std::printf("%s   (target: CPU <= %.2f x %s)\n", workload.name.c_str(), workload.target,
              contestants.front().name.c_str());
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const Spread ratio = ratio_of(scores[i].cpu_ns, scores.front().cpu_ns);
    const Spread rate_ratio = ratio_of(scores[i].rate, scores.front().rate);
    std::printf(
        "  %-10s %9.0f msg/s   CPU %6.0f ns/msg, user %4.0f   CPU x%.3f [%.3f..%.3f]   rate "
        "x%.3f\n",
        contestants[i].name.c_str(), spread_of(scores[i].rate).median,
        spread_of(scores[i].cpu_ns).median, scores[i].user_ns(), ratio.median, ratio.low,
        ratio.high, rate_ratio.median);
    for (const std::string& error : scores[i].errors) std::printf("    error: %s\n", error.c_str());
  }
  std::fflush(stdout);
}

void print_memory(const std::vector<Contestant>& contestants, const MemoryOptions& options) {
  std::printf("memory: anonymous bytes of the server per connection, %zu open   (target: <= 256)\n",
              options.connections);
  for (const Contestant& contestant : contestants) {
    const MemoryResult memory = run_memory(contestant, options);
    const auto each = [&](std::uint64_t bytes) {
      return static_cast<unsigned long long>(bytes / options.connections);
    };
    std::printf(
        "  %-10s idle %5llu   after one echo %5llu   after a burst of %zu KiB %5llu   all closed, "
        "opened again %5llu\n",
        contestant.name.c_str(), each(memory.open), each(memory.after_echo),
        options.burst_bytes / 1024, each(memory.after_burst), each(memory.open_again));
    std::fflush(stdout);
  }
}

int run(int rounds, std::chrono::nanoseconds duration, const std::string& only, bool memory) {
  const std::string bin = std::filesystem::canonical("/proc/self/exe").parent_path().string() + "/";
  const std::vector<Contestant> contestants = {
      {"raw",
       [bin](bool framed) {
         std::vector<std::string> command = {bin + "raw_epoll", "0"};
         if (framed) command.push_back("--framed");
         return command;
       }},
      {"millrace",
       [bin](bool framed) {
         return std::vector<std::string>{bin + "echo_server", "--listen", "127.0.0.1:0",
                                         "--framing", framed ? "length-prefix" : "none"};
       }},
  };
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  pin_to_cpu(kClientCpu);

  std::printf(
      "server on processor 0, client spinning on processor 1; %d rounds, contestants in turn;"
      "\nratios to %s in the same round: median [quartiles]; every byte verified\n\n",
      rounds, contestants.front().name.c_str());
  bool clean = true;
  for (const Workload& workload : workloads(duration)) {
    if (workload.name.find(only) == std::string::npos) continue;
    const std::vector<Scores> scores = run_contest(contestants, workload, rounds);
    print_scores(workload, contestants, scores);
    for (const Scores& one : scores) clean = clean && one.errors.empty();
  }
  if (memory) {
    MemoryOptions options;
    options.connections = std::min<std::size_t>(10'000, limit.rlim_max - 500);
    print_memory(contestants, options);
  }
  return clean ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Our echo server beside the bare epoll loop.", "compare");
  bool quick = false;
  int rounds = 0;
  std::string only;
  app.add_flag("--quick", quick, "3 short rounds: a first impression, good to about 10 %");
  app.add_option("--rounds", rounds, "default 11")->check(CLI::Range(1, 1000));
  app.add_option("--only", only, "workloads whose name contains this; `memory` for memory alone");
  CLI11_PARSE(app, argc, argv);
  if (::sysconf(_SC_NPROCESSORS_ONLN) < 2) {
    std::fprintf(stderr,
                 "compare: needs two processors, one for the server and one for the load\n");
    return 1;
  }
  if (rounds == 0) rounds = quick ? 3 : 11;
  try {
    return run(rounds, quick ? 700ms : 2s, only == "memory" ? "no workload" : only,
               only.empty() || only == "memory");
  } catch (const std::exception& e) {
    std::fprintf(stderr, "compare: %s\n", e.what());
    return 1;
  }
}
