#include "print.h"

#include "targets.h"

#include <cstdio>

namespace millrace::bench {
namespace {

// Three digits and a unit: a latency in a column of eight.
std::string shown(std::chrono::nanoseconds duration) {
  const auto ns = static_cast<double>(duration.count());
  char text[32];
  if (ns < 1e6) {
    std::snprintf(text, sizeof text, "%.1f us", ns / 1e3);
  } else if (ns < 1e9) {
    std::snprintf(text, sizeof text, "%.1f ms", ns / 1e6);
  } else {
    std::snprintf(text, sizeof text, "%.1f s", ns / 1e9);
  }
  return text;
}

std::string shown(const std::optional<double>& value) {
  if (!value) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.0f", *value);
  return text;
}

void print_latency(const Histogram& latency) {
  if (latency.count() == 0) {
    std::printf(" %9s %9s %9s", "-", "-", "-");
    return;
  }
  for (const double share : {0.5, 0.99, 0.999}) {
    std::printf(" %9s", shown(latency.quantile(share)).c_str());
  }
}

void print_errors(const std::vector<std::string>& errors) {
  for (const std::string& error : errors) std::printf("    error: %s\n", error.c_str());
}

void print_scores(const std::string& name, const Scores& scores, const Scores& reference,
                  const std::optional<CallsPerMessage>& calls) {
  const auto rate = spread_of(scores.rate);
  const auto cpu = spread_of(scores.cpu_ns);
  if (rate && cpu) {
    const Spread ratio = ratio_of(scores.cpu_ns, reference.cpu_ns).value_or(Spread{});
    const Spread rate_ratio = ratio_of(scores.rate, reference.rate).value_or(Spread{});
    std::printf("  %-10s %9.0f %9.0f %8s  %6.3f [%.3f .. %.3f] %7.3f", name.c_str(), rate->median,
                cpu->median, shown(scores.user_ns()).c_str(), ratio.median, ratio.low, ratio.high,
                rate_ratio.median);
    print_latency(scores.latency);
    std::printf(" %4.0f %%", scores.server_busy() * 100);
    if (calls) {
      double sum = 0;
      for (const auto& [call, each] : *calls) sum += each;
      std::printf("  %.3f calls", sum);
    }
    if (scores.client_bound()) std::printf("  client-bound");
    if (scores.overloaded()) std::printf("  overloaded");
    std::printf("\n");
  } else {
    std::printf("  %-10s -\n", name.c_str());
  }
  print_errors(scores.errors);
}

void print_line(const char* what, const std::string& name, const Rounds& values) {
  std::printf("  %-10s %-16s", name.c_str(), what);
  for (const auto& value : values) std::printf(" %8s", shown(value).c_str());
  std::printf("\n");
}

}  // namespace

void print_contestants(const std::vector<Contestant>& contestants) {
  for (const Contestant& one : contestants) {
    std::printf("  %-10s %s %s\n", one.name.c_str(), one.title.c_str(),
                (one.present() ? one.version : "- " + one.absent).c_str());
  }
}

void print_course(const std::vector<Contestant>& contestants, const CourseOutcome& one) {
  const Workload& workload = one.course.workload;
  std::printf("%s: %s", workload.id.c_str(), workload.title.c_str());
  if (workload.target) {
    std::printf("   (target: CPU <= %.2f x %s)", *workload.target,
                contestants.front().name.c_str());
  }
  std::printf("\n  %-10s %9s %9s %8s  %24s %7s %9s %9s %9s %6s\n", "",
              (workload.unit + "/s").c_str(), "CPU ns", "user ns", "CPU x [quartiles]", "rate x",
              "p50", "p99", "p99.9", "busy");
  for (std::size_t i = 0; i < contestants.size(); ++i) {
    print_scores(contestants[i].name, one.course.scores[i], one.course.scores.front(),
                 one.system_calls[i]);
  }
  std::fflush(stdout);
}

void print_memory(const std::vector<Contestant>& contestants, const MemoryOutcome& memory) {
  const MemoryOptions& options = memory.options;
  std::printf(
      "memory: anonymous bytes of the server per connection, %zu open   (target: idle <= "
      "%.0f)\n  %-10s %10s %10s %10s %10s %10s\n",
      options.connections, kMemoryTarget, "", "idle", "one echo",
      (std::to_string(options.burst_bytes / 1024) + " KiB").c_str(), "closed", "again");
  for (std::size_t i = 0; i < contestants.size(); ++i) {
    if (const auto& result = memory.results[i]) {
      std::printf("  %-10s", contestants[i].name.c_str());
      for (const std::uint64_t bytes : {result->open, result->after_echo, result->after_burst,
                                        result->after_close, result->open_again}) {
        std::printf(" %10llu", static_cast<unsigned long long>(bytes / options.connections));
      }
      std::printf("\n");
    } else {
      std::printf("  %-10s -\n    error: %s\n", contestants[i].name.c_str(),
                  memory.errors[i].c_str());
    }
  }
  std::fflush(stdout);
}

void print_growth(const std::vector<Contestant>& contestants, const Growth& growth) {
  std::printf("growth: all connections with a message of 64 B under way\n  %-27s", "");
  for (const std::size_t count : growth.counts) std::printf(" %8zu", count);
  std::printf("\n");
  for (std::size_t i = 0; i < contestants.size(); ++i) {
    print_line("CPU ns/message", contestants[i].name, growth.lines[i].cpu_ns);
    print_line("bytes/connection", "", growth.lines[i].memory_bytes);
    print_errors(growth.lines[i].errors);
  }
  std::fflush(stdout);
}

void print_verdicts(const Outcome& outcome) {
  const auto all = verdicts(outcome);
  if (all.empty()) return;
  std::printf("targets of %s\n", kSubject);
  for (const Verdict& one : all) {
    std::printf("  %-60s %9.3f  <= %7.3f  %s\n", one.what.c_str(), one.measured, one.wanted,
                one.reached() ? "reached" : "NOT reached");
  }
  std::fflush(stdout);
}

}  // namespace millrace::bench
