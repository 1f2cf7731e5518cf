#include "workloads.h"

#include "broadcast.h"
#include "byte_echo.h"
#include "churn.h"
#include "contestants.h"
#include "datagrams.h"
#include "stream.h"

#include <algorithm>
#include <stdexcept>

namespace millrace::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kKibibyte = 1024;
constexpr auto kVerifyFor = 50ms;
// From here on the client would be busier with the bytes than the server.
constexpr std::size_t kCountOnlyFrom = 4 * kKibibyte;

Workload echo(std::string id, std::string title, std::string group, std::size_t bytes,
              std::size_t connections, std::optional<double> target) {
  Workload workload;
  workload.id = std::move(id);
  workload.title = std::move(title);
  workload.group = std::move(group);
  workload.load.message_bytes = bytes;
  workload.load.connections = connections;
  workload.target = target;
  return workload;
}

Workload framed(Workload workload, std::size_t depth) {
  workload.load.framed = true;
  workload.load.depth = depth;
  return workload;
}

Workload other(Workload workload, Kind kind, std::string unit) {
  workload.kind = kind;
  workload.unit = std::move(unit);
  return workload;
}

Workload open(std::string id, std::string title, double share) {
  Workload workload = echo(std::move(id), std::move(title), "open loop", 64, 100, std::nullopt);
  workload.kind = Kind::open;
  workload.share_of_capacity = share;
  return workload;
}

Workload datagrams(std::string id, std::string title, std::size_t bytes, std::size_t sockets,
                   std::size_t depth) {
  Workload workload = echo(std::move(id), std::move(title), "datagrams", bytes, sockets, 1.05);
  workload.load.depth = depth;
  return other(std::move(workload), Kind::datagrams, "datagram");
}

Workload with_idle(Workload workload, std::size_t idle, int most_rounds) {
  workload.load.idle_connections = idle;
  workload.most_rounds = most_rounds;
  return workload;
}

}  // namespace

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::echo:
      return "echo";
    case Kind::open:
      return "open";
    case Kind::churn:
      return "churn";
    case Kind::stream:
      return "stream";
    case Kind::broadcast:
      return "broadcast";
    case Kind::datagrams:
      return "datagrams";
  }
  return "";
}

const char* Workload::server_mode() const {
  if (kind == Kind::stream) return "--sink";
  if (kind == Kind::broadcast) return "--broadcast";
  if (kind == Kind::datagrams) return kDatagramMode;
  return load.framed ? "--framed" : "";
}

std::vector<Workload> all_workloads(const Pace& pace) {
  constexpr const char* kPingPong = "ping-pong";
  constexpr const char* kLarge = "large messages";
  constexpr const char* kOther = "other shapes";
  std::vector<Workload> all = {
      echo("raw-64-c1", "raw 64 B, 1 connection", kPingPong, 64, 1, 1.03),
      echo(kCapacityWorkload, "raw 64 B, 100 connections", kPingPong, 64, 100, 1.03),
      echo("raw-64-c1000", "raw 64 B, 1,000 connections", kPingPong, 64, 1000, 1.03),
      framed(echo("framed-64-c100", "framed 64 B, 100 connections", kPingPong, 64, 100, 1.03), 1),
      with_idle(
          echo("idle-10k-c100", "10,000 idle + 100 active, raw 64 B", kPingPong, 64, 100, 1.03),
          10'000, pace.most_heavy_rounds),
      framed(echo("framed-64-d32-c64", "framed 64 B, 32 pipelined, 64 connections", "pipelined", 64,
                  64, 1.08),
             32),
      echo("raw-16k-c100", "raw 16 KiB, 100 connections", kLarge, 16 * kKibibyte, 100, 0.95),
      framed(echo("framed-1m-c4", "framed 1 MiB, 4 connections", kLarge, kKibibyte * kKibibyte, 4,
                  0.70),
             1),
      other(echo("churn-c16", "connect, one echo, close; 16 at once", kOther, 64, 16, 0.92),
            Kind::churn, "connection"),
      other(echo("stream-c4", "one way, 4 connections", kOther, kKibibyte * kKibibyte, 4,
                 std::nullopt),
            Kind::stream, "MiB"),
      other(echo("broadcast-1k-c1000", "1 KiB to 1,000 subscribers", kOther, kKibibyte, 1000, 1.03),
            Kind::broadcast, "delivery"),
      datagrams("udp-64-c1", "datagrams of 64 B, 1 socket", 64, 1, 1),
      datagrams("udp-64-c100", "datagrams of 64 B, 100 sockets", 64, 100, 1),
      datagrams("udp-64-d25-c4", "datagrams of 64 B, 25 under way, 4 sockets", 64, 4, 25),
      datagrams("udp-1k-c50", "datagrams of 1 KiB, 50 sockets", kKibibyte, 50, 1),
      open("open-50", "open loop at 50 %, 64 B, 100 connections", 0.5),
      open("open-80", "open loop at 80 %, 64 B, 100 connections", 0.8),
  };
  for (Workload& workload : all) {
    workload.load.warmup = pace.warmup;
    workload.load.duration = pace.duration;
    workload.load.spin = true;
  }
  return all;
}

std::vector<Workload> choose(const std::vector<Workload>& all,
                             const std::vector<std::string>& words) {
  std::vector<Workload> chosen;
  const auto fits = [](const Workload& workload, const std::string& word) {
    return workload.id.find(word) != std::string::npos;
  };
  for (const std::string& word : words) {
    // Whose id it is exactly is meant alone: raw-64-c1 is in raw-64-c100.
    const bool exact =
        std::any_of(all.begin(), all.end(), [&](const auto& w) { return w.id == word; });
    bool found = false;
    for (const Workload& workload : all) {
      if (exact ? workload.id != word : !fits(workload, word)) continue;
      found = true;
      const bool there = std::any_of(chosen.begin(), chosen.end(),
                                     [&](const auto& w) { return w.id == workload.id; });
      if (!there) chosen.push_back(workload);
    }
    if (!found) throw std::runtime_error("no workload has '" + word + "' in its id (see --list)");
  }
  return chosen;
}

LoadResult run_workload(const Workload& workload, const LoadOptions& load) {
  switch (workload.kind) {
    case Kind::churn:
      return Churn(load).run();
    case Kind::stream:
      return Stream(load).run();
    case Kind::broadcast:
      return Broadcast(load).run();
    case Kind::datagrams:
      return Datagrams(load).run();
    case Kind::open:
      return run_load(load);
    case Kind::echo:
      break;
  }
  if (load.message_bytes >= kCountOnlyFrom && !load.verify) return ByteEcho(load).run();
  return run_load(load);
}

std::vector<std::string> verify_workload(const Workload& workload, LoadOptions load) {
  load.verify = true;
  load.idle_connections = 0;
  load.rate = 0;
  load.warmup = 0ms;
  load.duration = kVerifyFor;
  return errors_of(run_workload(workload, load));
}

std::vector<std::string> errors_of(const LoadResult& result) {
  std::vector<std::string> errors;
  for (const auto& [kind, count] : result.errors) {
    errors.push_back(std::to_string(count) + " x " + kind);
  }
  return errors;
}

}  // namespace millrace::bench
