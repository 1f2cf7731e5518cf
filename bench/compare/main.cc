// compare: servers that do the same with different libraries, loaded in turn, and what each costs.
#include "contest.h"
#include "print.h"
#include "result_json.h"
#include "server_process.h"
#include "system_calls.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <unistd.h>

using namespace millrace::bench;
using namespace std::chrono_literals;

namespace {

// What is not a load but is chosen by --workloads as one.
constexpr const char* kMemory = "memory";
constexpr const char* kGrowth = "growth";

struct Options {
  bool quick = false;
  bool list = false;
  int rounds = 0;
  double seconds = 0;
  std::vector<std::string> only;
  std::vector<std::string> workloads;
  std::string json;
  std::string merge;
  std::string command;
};

// How much of everything. Full: fourteen minutes for eight contestants; quick: two and a half.
struct Plan {
  int rounds;
  Pace pace;
  int growth_rounds;
  std::chrono::nanoseconds growth_duration;
  MemoryOptions memory;
  bool trace_all;  // else only what kTracedWhenQuick names
};
constexpr const char* kTracedWhenQuick[] = {"raw-64-c100", "framed-64-d32-c64", "churn-c16"};

Plan plan_of(const Options& options) {
  Plan plan = options.quick ? Plan{3, {50ms, 150ms, 1}, 1, 100ms, {}, false}
                            : Plan{7, {100ms, 500ms, 3}, 3, 250ms, {}, true};
  if (options.quick) {
    plan.memory.burst_bytes = 64 * 1024;
    plan.memory.unchanged_for = 100ms;
  } else {
    plan.memory.unchanged_for = 700ms;
  }
  if (options.rounds > 0) plan.rounds = options.rounds;
  if (options.seconds > 0) {
    plan.pace.duration = std::chrono::nanoseconds(static_cast<std::int64_t>(options.seconds * 1e9));
    plan.growth_duration = plan.pace.duration;
  }
  return plan;
}

class Comparison {
 public:
  Comparison(const Options& options, std::vector<Contestant> contestants)
      : options_(options), plan_(plan_of(options)) {
    outcome_.date = date_now();
    outcome_.command = options.command;
    outcome_.machine = this_machine();
    outcome_.rounds = plan_.rounds;
    outcome_.round_seconds = std::chrono::duration<double>(plan_.pace.duration).count();
    for (Contestant& one : contestants) {
      (one.present() ? outcome_.contestants : outcome_.absent).push_back(std::move(one));
    }
    if (outcome_.contestants.empty() || outcome_.contestants.front().name != "raw") {
      throw std::runtime_error("the reference is missing: raw_epoll is not beside this program");
    }
  }

  // Whether nobody had an error.
  bool run() {
    std::vector<std::string> words;
    bool memory = options_.workloads.empty();
    bool growth = options_.workloads.empty();
    for (const std::string& word : options_.workloads) {
      memory = memory || word == kMemory;
      growth = growth || word == kGrowth;
      if (word != kMemory && word != kGrowth) words.push_back(word);
    }
    const auto all = all_workloads(plan_.pace);
    const auto chosen = options_.workloads.empty() ? all : choose(all, words);
    print_head();
    for (const Workload& workload : chosen) run_course(workload);
    if (memory) run_memory();
    if (growth) run_growth();
    print_verdicts(outcome_);
    return clean_;
  }

  const Outcome& outcome() const { return outcome_; }

 private:
  void print_head() const;
  void run_course(Workload workload);
  double capacity();
  bool is_traced(const Workload& workload) const;
  void run_memory();
  void run_growth();

  Options options_;
  Plan plan_;
  Outcome outcome_;
  bool clean_ = true;
  double capacity_ = 0;
  bool strace_ = strace_is_there();
};

void Comparison::print_head() const {
  std::printf("%s, %ld processors, Linux %s, %s %s\n", outcome_.machine.cpu.c_str(),
              outcome_.machine.processors, outcome_.machine.kernel.c_str(),
              outcome_.machine.compiler.c_str(), outcome_.machine.flags.c_str());
  print_contestants(outcome_.contestants);
  print_contestants(outcome_.absent);
  std::printf(
      "server on processor %d, client spinning on processor %d; %d rounds of %.2f s, each "
      "beginning "
      "with\nanother contestant, after a verification of every byte; CPU and user time are the "
      "server's per\nunit, ratios are to %s in the same round: median [quartiles]%s\n\n",
      kServerCpu, kClientCpu, plan_.rounds, outcome_.round_seconds,
      outcome_.contestants.front().name.c_str(),
      strace_ ? "" : "\nwithout strace no system calls are counted");
  std::fflush(stdout);
}

// The reference's rate in closed loop: known from its course, or found out now.
double Comparison::capacity() {
  if (capacity_ > 0) return capacity_;
  const auto found = choose(all_workloads(plan_.pace), {kCapacityWorkload});
  const Course course = run_contest({outcome_.contestants.front()}, found.front(), 1);
  const auto rate = spread_of(course.scores.front().rate);
  if (!rate) throw std::runtime_error("the reference does not answer");
  return capacity_ = rate->median;
}

bool Comparison::is_traced(const Workload& workload) const {
  // The others make the same calls as one that is traced.
  if (!strace_ || workload.kind == Kind::open || workload.load.idle_connections > 0) return false;
  return plan_.trace_all || std::find(std::begin(kTracedWhenQuick), std::end(kTracedWhenQuick),
                                      workload.id) != std::end(kTracedWhenQuick);
}

void Comparison::run_course(Workload workload) {
  if (workload.kind == Kind::open) workload.load.rate = workload.share_of_capacity * capacity();
  const auto& contestants = outcome_.contestants;
  const int rounds = std::min(plan_.rounds, workload.most_rounds);
  CourseOutcome one{run_contest(contestants, workload, rounds), {}};
  one.system_calls.resize(contestants.size());
  for (std::size_t i = 0; i < contestants.size(); ++i) {
    const bool sound = one.course.scores[i].errors.empty();
    clean_ = clean_ && sound;
    if (sound && is_traced(workload))
      one.system_calls[i] = system_calls_of(contestants[i], workload);
  }
  if (workload.id == kCapacityWorkload) {
    if (const auto rate = spread_of(one.course.scores.front().rate)) capacity_ = rate->median;
  }
  print_course(contestants, one);
  outcome_.courses.push_back(std::move(one));
}

void Comparison::run_memory() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  MemoryOutcome memory{plan_.memory, {}, {}};
  memory.options.connections =
      std::min<std::size_t>(memory.options.connections, limit.rlim_cur - 500);
  for (const Contestant& contestant : outcome_.contestants) {
    std::optional<MemoryResult> result;
    const auto errors = with_server(contestant, "", [&](const LoadOptions& server) {
      MemoryOptions options = memory.options;
      options.server = server.server;
      options.server_pid = *server.server_pid;
      result = measure_memory(options);
      return std::vector<std::string>{};
    });
    clean_ = clean_ && errors.empty();
    memory.results.push_back(result);
    memory.errors.push_back(errors.empty() ? "" : errors.back());
  }
  print_memory(outcome_.contestants, memory);
  outcome_.memory = std::move(memory);
}

void Comparison::run_growth() {
  outcome_.growth =
      measure_growth(outcome_.contestants, plan_.growth_rounds, plan_.growth_duration);
  for (const GrowthLine& line : outcome_.growth->lines) clean_ = clean_ && line.errors.empty();
  print_growth(outcome_.contestants, *outcome_.growth);
}

void print_list(const std::vector<Contestant>& contestants) {
  std::printf("contestants\n");
  print_contestants(contestants);
  std::printf("workloads\n");
  for (const Workload& workload : all_workloads({})) {
    std::printf("  %-20s %s\n", workload.id.c_str(), workload.title.c_str());
  }
  std::printf("  %-20s what open connections cost a server\n  %-20s 1 to 15,000 connections\n",
              kMemory, kGrowth);
}

int run(const Options& options) {
  const std::string bin = std::filesystem::canonical("/proc/self/exe").parent_path().string();
  const auto contestants = choose(find_contestants(bin), options.only);
  if (options.list) {
    print_list(contestants);
    return 0;
  }
  nlohmann::json merged;
  if (!options.merge.empty()) merge_file(merged, options.merge);  // an error now, not at the end
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  pin_to_cpu(kClientCpu);

  Comparison comparison(options, contestants);
  const bool clean = comparison.run();
  if (!options.json.empty()) {
    nlohmann::json result = to_json(comparison.outcome());
    if (!options.merge.empty()) merge_file(result, options.merge);
    write_file(result, options.json);
  }
  if (!clean) std::fprintf(stderr, "compare: there were errors, see above\n");
  return clean ? 0 : 1;
}

std::string command_line(int argc, char** argv) {
  std::string line;
  for (int i = 0; i < argc; ++i) line += (i > 0 ? " " : "") + std::string(argv[i]);
  return line;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("The same servers over different libraries, side by side.", "compare");
  Options options;
  options.command = command_line(argc, argv);
  app.add_flag("--quick", options.quick, "short rounds: a first impression, good to about 10 %");
  app.add_flag("--list", options.list, "contestants and workloads, and nothing else");
  app.add_option("--only", options.only, "contestants; the reference takes part in any case")
      ->delimiter(',')
      ->type_name("NAME,...");
  app.add_option("--workloads", options.workloads, "those whose id is or contains one of these")
      ->delimiter(',')
      ->type_name("ID,...");
  app.add_option("--rounds", options.rounds, "default 7, with --quick 3")
      ->check(CLI::Range(1, 1000));
  app.add_option("--seconds", options.seconds, "of a round: default 0.5, with --quick 0.15")
      ->check(CLI::Range(0.01, 3600.0));
  app.add_option("--json", options.json, "also write the result to this file")->type_name("FILE");
  app.add_option("--merge", options.merge, "a JSON object whose keys join the result")
      ->type_name("FILE");
  app.add_option("--command", options.command, "how the result says that it was made");
  CLI11_PARSE(app, argc, argv);
  if (::sysconf(_SC_NPROCESSORS_ONLN) < 2) {
    std::fprintf(stderr,
                 "compare: needs two processors, one for the server and one for the load\n");
    return 1;
  }
  try {
    return run(options);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "compare: %s\n", e.what());
    return 1;
  }
}
