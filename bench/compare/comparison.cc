#include "comparison.h"

#include "contest.h"
#include "print.h"
#include "system_calls.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <stdexcept>
#include <utility>

#include <sys/resource.h>

namespace millrace::bench {
namespace {

using namespace std::chrono_literals;

constexpr const char* kTracedWhenQuick[] = {"raw-64-c100", "framed-64-d32-c64", "churn-c16",
                                            "udp-64-d25-c4"};

Plan plan_of(const CompareOptions& options) {
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

}  // namespace

Comparison::Comparison(const CompareOptions& options, std::vector<Contestant> contestants)
    : options_(options), plan_(plan_of(options)), strace_(strace_is_there()) {
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

bool Comparison::run() {
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

void Comparison::print_head() const {
  std::printf("%s, %ld processors, Linux %s, %s %s\n", outcome_.machine.cpu.c_str(),
              outcome_.machine.processors, outcome_.machine.kernel.c_str(),
              outcome_.machine.compiler.c_str(), outcome_.machine.flags.c_str());
  print_contestants(outcome_.contestants);
  print_contestants(outcome_.absent);
  std::printf(
      "server on processor %d, client spinning on processor %d; %d rounds of %.2f s, each "
      "beginning with\nanother contestant, after a verification of every byte; CPU and user time "
      "are the "
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
    if (sound && is_traced(workload) && contestants[i].serves(workload.server_mode()))
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

}  // namespace millrace::bench
