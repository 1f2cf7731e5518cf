#include "contest.h"

#include "server_process.h"

#include <algorithm>
#include <exception>

namespace millrace::bench {
namespace {

// Of a hundredth of a second each.
constexpr std::uint64_t kLeastTicks = 100;
constexpr double kOnSchedule = 0.98;

LoadOptions load_of(const Workload& workload, const LoadOptions& server) {
  LoadOptions load = workload.load;
  load.server = server.server;
  load.server_pid = server.server_pid;
  return load;
}

void verify(const Contestant& contestant, Course& course, std::size_t index) {
  const Workload& workload = course.workload;
  course.scores[index].offered_rate = workload.load.rate;
  course.scores[index].errors =
      with_server(contestant, workload.server_mode(), [&](const LoadOptions& server) {
        return verify_workload(workload, load_of(workload, server));
      });
}

void play(const Contestant& contestant, Course& course, std::size_t index) {
  Scores& scores = course.scores[index];
  const Workload& workload = course.workload;
  std::optional<LoadResult> result;
  scores.errors = with_server(contestant, workload.server_mode(), [&](const LoadOptions& server) {
    result = run_workload(workload, load_of(workload, server));
    auto errors = errors_of(*result);
    if (errors.empty() && result->messages == 0) errors.push_back("nothing was answered");
    return errors;
  });
  result ? scores.add(*result) : scores.add_failure();
}

}  // namespace

void Scores::add(const LoadResult& result) {
  if (result.messages == 0 || !result.server_cpu) return add_failure();
  const auto cpu = static_cast<double>(result.server_cpu->total.count());
  const std::chrono::duration<double> seconds = result.elapsed;
  rate.emplace_back(result.message_rate());
  cpu_ns.emplace_back(cpu / static_cast<double>(result.messages));
  latency.add(result.latency);
  messages += result.messages;
  total_cpu_ns += cpu;
  total_seconds += seconds.count();
  client_busy_seconds += seconds.count() * result.client_busy;
  user_ticks += result.server_cpu->user_ticks;
  system_ticks += result.server_cpu->system_ticks;
}

void Scores::add_failure() {
  rate.emplace_back();
  cpu_ns.emplace_back();
}

std::optional<double> Scores::user_ns() const {
  if (user_ticks + system_ticks < kLeastTicks || messages == 0) return std::nullopt;
  const double share =
      static_cast<double>(user_ticks) / static_cast<double>(user_ticks + system_ticks);
  return total_cpu_ns / static_cast<double>(messages) * share;
}

double Scores::server_busy() const {
  return total_seconds > 0 ? total_cpu_ns / 1e9 / total_seconds : 0;
}

bool Scores::overloaded() const {
  const auto reached = spread_of(rate);
  return offered_rate > 0 && reached && reached->median < kOnSchedule * offered_rate;
}

bool Scores::client_bound() const {
  if (total_seconds == 0) return false;
  // Who sends on schedule is busy and yet on time.
  if (offered_rate > 0 && !overloaded()) return false;
  return is_client_bound(client_busy_seconds / total_seconds, server_busy());
}

std::vector<std::string> with_server(
    const Contestant& contestant, const std::string& mode,
    const std::function<std::vector<std::string>(LoadOptions server)>& run) {
  try {
    ServerProcess server(contestant.command(mode), kServerCpu);
    LoadOptions options;
    options.server = server.address();
    options.server_pid = server.pid();
    std::vector<std::string> errors;
    try {
      errors = run(options);
    } catch (const std::exception& e) {
      errors.push_back(e.what());
    }
    // That it crashed says more than what the client saw of it.
    if (!errors.empty()) {
      if (const std::string end = server.how_it_ended(); !end.empty()) errors.push_back(end);
    }
    return errors;
  } catch (const std::exception& e) {
    return {e.what()};
  }
}

Course run_contest(const std::vector<Contestant>& contestants, const Workload& workload,
                   int rounds) {
  Course course{workload, std::vector<Scores>(contestants.size())};
  const std::string mode = workload.server_mode();
  for (std::size_t i = 0; i < contestants.size(); ++i) {
    if (contestants[i].serves(mode)) verify(contestants[i], course, i);
  }
  const std::size_t n = contestants.size();
  for (std::size_t round = 0; round < static_cast<std::size_t>(rounds); ++round) {
    for (std::size_t turn = 0; turn < n; ++turn) {
      const std::size_t i = (round + turn) % n;
      if (contestants[i].serves(mode) && course.scores[i].errors.empty()) {
        play(contestants[i], course, i);
      } else {
        course.scores[i].add_failure();
      }
    }
  }
  return course;
}

}  // namespace millrace::bench
