#include "targets.h"

#include <algorithm>
#include <numeric>

namespace millrace::bench {
namespace {

// User-mode time per message, and system calls per unit without epoll_wait, which serves as many
// connections as are ready.
constexpr double kUserNs = 100;
struct CallTarget {
  const char* id;
  double calls;
};
constexpr CallTarget kCallTargets[] = {
    {"raw-64-c100", 2.01}, {"framed-64-d32-c64", 0.0635}, {"churn-c16", 6.01}};

void judge_course(const CourseOutcome& one, std::size_t subject, std::vector<Verdict>& verdicts) {
  const Workload& workload = one.course.workload;
  const Scores& mine = one.course.scores[subject];
  const auto ratio = ratio_of(mine.cpu_ns, one.course.scores.front().cpu_ns);
  if (workload.target && ratio) {
    verdicts.push_back({workload.title + ": CPU x raw", ratio->median, *workload.target});
  }
  if (const auto user = mine.user_ns(); user && workload.id == kCapacityWorkload) {
    verdicts.push_back({workload.title + ": user ns", *user, kUserNs});
  }
  for (const CallTarget& target : kCallTargets) {
    if (workload.id != target.id || !one.system_calls[subject]) continue;
    double sum = 0;
    for (const auto& [call, each] : *one.system_calls[subject]) {
      if (call.rfind("epoll_", 0) != 0 || call == "epoll_ctl") sum += each;
    }
    verdicts.push_back({workload.title + ": calls but waits", sum, target.calls});
  }
}

}  // namespace

std::vector<Verdict> verdicts(const Outcome& outcome) {
  const auto& all = outcome.contestants;
  const auto found = std::find_if(all.begin(), all.end(),
                                  [](const Contestant& one) { return one.name == kSubject; });
  if (found == all.end()) return {};
  const auto subject = static_cast<std::size_t>(found - all.begin());
  std::vector<Verdict> verdicts;
  for (const CourseOutcome& one : outcome.courses) judge_course(one, subject, verdicts);
  if (outcome.memory && outcome.memory->results[subject]) {
    const auto connections = static_cast<double>(outcome.memory->options.connections);
    const auto bytes = static_cast<double>(outcome.memory->results[subject]->open);
    verdicts.push_back({"memory of an idle connection: bytes", bytes / connections, kMemoryTarget});
  }
  return verdicts;
}

}  // namespace millrace::bench
