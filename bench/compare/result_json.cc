#include "result_json.h"

#include <algorithm>
#include <fstream>
#include <stdexcept>

#include <nlohmann/json.hpp>

namespace millrace::bench {
namespace {

using nlohmann::json;

json spread_json(const std::optional<Spread>& spread, double scale = 1) {
  if (!spread) return nullptr;
  return {{"low", spread->low * scale},
          {"median", spread->median * scale},
          {"high", spread->high * scale}};
}

json json_or_null(const std::optional<double>& value) {
  return value ? json(*value) : json(nullptr);
}

json rounds_json(const Rounds& values) {
  json array = json::array();
  for (const auto& value : values) array.push_back(json_or_null(value));
  return array;
}

json latency_json(const Histogram& latency) {
  if (latency.count() == 0) return nullptr;
  const auto at = [&](double share) { return latency.quantile(share).count(); };
  return {{"p50", at(0.5)},     {"p90", at(0.9)},       {"p99", at(0.99)},
          {"p99.9", at(0.999)}, {"p99.99", at(0.9999)}, {"max", latency.max().count()}};
}

// As many nines as there are values to tell them from.
json curve_json(const Histogram& latency) {
  if (latency.count() == 0) return nullptr;
  json curve = json::array();
  for (const double share : {0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.99, 0.995, 0.9975, 0.999,
                             0.9995, 0.99975, 0.9999, 0.99995, 0.99999}) {
    if ((1 - share) * static_cast<double>(latency.count()) < 1) break;
    curve.push_back({share, latency.quantile(share).count()});
  }
  return curve;
}

json machine_json(const Machine& machine) {
  return {{"cpu", machine.cpu},       {"processors", machine.processors},
          {"kernel", machine.kernel}, {"compiler", machine.compiler},
          {"flags", machine.flags},   {"memory_bytes", machine.memory_bytes}};
}

json contestants_json(const Outcome& outcome) {
  json array = json::array();
  const auto put = [&](const std::vector<Contestant>& some) {
    for (const Contestant& one : some) {
      json object = {{"name", one.name},
                     {"title", one.title},
                     {"version", one.version},
                     {"present", one.present()}};
      if (!one.present()) object["absent"] = one.absent;
      array.push_back(object);
    }
  };
  put(outcome.contestants);
  put(outcome.absent);
  return array;
}

json score_json(const Workload& workload, const std::string& contestant, const Scores& scores,
                const Scores& reference, const std::optional<CallsPerMessage>& calls) {
  const double megabytes = static_cast<double>(workload.load.message_bytes) / 1e6;
  const auto rate = spread_of(scores.rate);
  return {{"contestant", contestant},
          {"rate", spread_json(rate)},
          {"megabytes_per_second", spread_json(rate, megabytes)},
          {"cpu_ns", spread_json(spread_of(scores.cpu_ns))},
          {"user_ns", json_or_null(scores.user_ns())},
          {"ratio_cpu", spread_json(ratio_of(scores.cpu_ns, reference.cpu_ns))},
          {"ratio_rate", spread_json(ratio_of(scores.rate, reference.rate))},
          {"latency_ns", latency_json(scores.latency)},
          {"latency_curve", curve_json(scores.latency)},
          {"server_busy", rate ? json(scores.server_busy()) : json(nullptr)},
          {"client_bound", scores.client_bound()},
          {"offered_rate", scores.offered_rate},
          {"system_calls", calls ? json(*calls) : json(nullptr)},
          {"errors", scores.errors}};
}

json course_json(const Outcome& outcome, const CourseOutcome& one) {
  const Workload& workload = one.course.workload;
  json results = json::array();
  for (std::size_t i = 0; i < outcome.contestants.size(); ++i) {
    results.push_back(score_json(workload, outcome.contestants[i].name, one.course.scores[i],
                                 one.course.scores.front(), one.system_calls[i]));
  }
  return {{"id", workload.id},
          {"title", workload.title},
          {"group", workload.group},
          {"unit", workload.unit},
          {"kind", name_of(workload.kind)},
          {"connections", workload.load.connections},
          {"idle_connections", workload.load.idle_connections},
          {"message_bytes", workload.load.message_bytes},
          {"depth", workload.load.depth},
          {"framed", workload.load.framed || workload.kind == Kind::broadcast},
          {"target", json_or_null(workload.target)},
          {"results", results}};
}

json memory_json(const Outcome& outcome) {
  const MemoryOutcome& memory = *outcome.memory;
  const auto each = [&](std::uint64_t bytes) { return bytes / memory.options.connections; };
  json results = json::array();
  for (std::size_t i = 0; i < outcome.contestants.size(); ++i) {
    if (!memory.results[i]) continue;
    const MemoryResult& result = *memory.results[i];
    results.push_back({{"contestant", outcome.contestants[i].name},
                       {"idle", each(result.open)},
                       {"after_echo", each(result.after_echo)},
                       {"after_burst", each(result.after_burst)},
                       {"after_close", each(result.after_close)},
                       {"open_again", each(result.open_again)}});
  }
  return {{"connections", memory.options.connections},
          {"burst_bytes", memory.options.burst_bytes},
          {"target", kMemoryTarget},
          {"results", results}};
}

json growth_json(const Outcome& outcome) {
  json cpu = json::object();
  json memory = json::object();
  for (std::size_t i = 0; i < outcome.contestants.size(); ++i) {
    cpu[outcome.contestants[i].name] = rounds_json(outcome.growth->lines[i].cpu_ns);
    memory[outcome.contestants[i].name] = rounds_json(outcome.growth->lines[i].memory_bytes);
  }
  return {{"counts", outcome.growth->counts}, {"cpu_ns", cpu}, {"memory_bytes", memory}};
}

}  // namespace

json to_json(const Outcome& outcome) {
  json result = {{"format", "millrace-bench 1"},
                 {"date", outcome.date},
                 {"command", outcome.command},
                 {"rounds", outcome.rounds},
                 {"round_seconds", outcome.round_seconds},
                 {"machine", machine_json(outcome.machine)},
                 {"reference", outcome.contestants.front().name},
                 {"contestants", contestants_json(outcome)},
                 {"workloads", json::array()}};
  for (const CourseOutcome& one : outcome.courses) {
    result["workloads"].push_back(course_json(outcome, one));
  }
  if (outcome.memory) result["memory"] = memory_json(outcome);
  if (outcome.growth) result["growth"] = {{"connections", growth_json(outcome)}};
  return result;
}

void merge_file(json& result, const std::string& path) {
  std::ifstream in(path);
  const json other = json::parse(in, nullptr, false);
  if (!other.is_object()) throw std::runtime_error(path + " is not a JSON object");
  for (const auto& [key, value] : other.items()) {
    if (key == "growth_timers") {
      result["growth"]["timers"] = value;
    } else {
      result[key] = value;
    }
  }
}

void write_file(const json& result, const std::string& path) {
  std::ofstream out(path);
  out << result.dump(1) << '\n';
  if (!out.flush()) throw std::runtime_error("cannot write " + path);
}

}  // namespace millrace::bench
