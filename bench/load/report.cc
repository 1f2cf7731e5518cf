#include "report.h"

#include <cstdio>
#include <fstream>
#include <iomanip>
#include <ostream>
#include <stdexcept>

#include <nlohmann/json.hpp>

namespace millrace::bench {
namespace {

struct Quantile {
  const char* name;
  double share;
};
constexpr Quantile kQuantiles[] = {
    {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};

std::string shown(std::chrono::nanoseconds d) {
  const auto ns = static_cast<double>(d.count());
  char text[32];
  if (ns < 1e6) {
    std::snprintf(text, sizeof text, "%.1f us", ns / 1e3);
  } else if (ns < 1e9) {
    std::snprintf(text, sizeof text, "%.2f ms", ns / 1e6);
  } else {
    std::snprintf(text, sizeof text, "%.2f s", ns / 1e9);
  }
  return text;
}

void row(std::ostream& out, const std::string& name, const std::string& value) {
  out << "  " << std::left << std::setw(14) << name << std::right << std::setw(16) << value << '\n';
}

std::string shown(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

}  // namespace

void print_table(std::ostream& out, const LoadOptions& options, const LoadResult& result) {
  out << options.connections << " connections, " << options.message_bytes << " byte messages, ";
  if (options.rate > 0) {
    out << shown(options.rate, 0) << " msg/s offered";
  } else {
    out << "depth " << options.depth;
  }
  out << ", framing " << (options.framed ? "length-prefix" : "none")
      << (options.verify ? ", every byte verified" : "") << '\n';
  row(out, "messages", std::to_string(result.messages));
  row(out, "msg/s", shown(result.message_rate(), 0));
  row(out, "MB/s", shown(result.megabyte_rate(), 1));
  for (const auto& [name, share] : kQuantiles) {
    row(out, std::string("latency ") + name, shown(result.latency.quantile(share)));
  }
  row(out, "latency max", shown(result.latency.max()));
  if (result.server_cpu && result.messages > 0) {
    const auto n = static_cast<double>(result.messages);
    row(out, "server CPU/msg",
        shown(static_cast<double>(result.server_cpu->total.count()) / n, 0) + " ns");
    row(out, "  of it user",
        shown(static_cast<double>(result.server_cpu->user().count()) / n, 0) + " ns");
  }
  if (result.errors.empty()) row(out, "errors", "none");
  for (const auto& [kind, count] : result.errors) {
    row(out, "error", std::to_string(count) + " x " + kind);
  }
}

void write_json(const std::string& path, const LoadOptions& options, const LoadResult& result) {
  nlohmann::json latency = {{"mean", result.latency.mean().count()},
                            {"max", result.latency.max().count()}};
  for (const auto& [name, share] : kQuantiles) {
    latency[name] = result.latency.quantile(share).count();
  }
  nlohmann::json json = {
      {"server", options.server.to_string()},
      {"connections", options.connections},
      {"idle_connections", options.idle_connections},
      {"message_bytes", options.message_bytes},
      {"depth", options.depth},
      {"framing", options.framed ? "length-prefix" : "none"},
      {"offered_rate", options.rate},
      {"verified", options.verify},
      {"messages", result.messages},
      {"elapsed_ns", result.elapsed.count()},
      {"message_rate", result.message_rate()},
      {"megabyte_rate", result.megabyte_rate()},
      {"latency_ns", latency},
      {"errors", result.errors},
  };
  const auto put_cpu = [&](const char* name, const std::optional<CpuTime>& cpu) {
    if (!cpu) return;
    json[name] = {{"total_ns", cpu->total.count()},
                  {"user_ticks", cpu->user_ticks},
                  {"system_ticks", cpu->system_ticks}};
  };
  put_cpu("server_cpu", result.server_cpu);
  put_cpu("client_cpu", result.client_cpu);
  std::ofstream file(path);
  file << json.dump(2) << '\n';
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

}  // namespace millrace::bench
