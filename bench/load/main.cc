// millrace-bench: loads an echo server, verifies what comes back, and reports rate and latency.
#include <millrace/socket_address.h>

#include "load.h"
#include "memory.h"
#include "report.h"

#include <exception>
#include <iostream>
#include <map>
#include <string>

#include <CLI/CLI.hpp>
#include <unistd.h>

using namespace millrace;
using namespace millrace::bench;

namespace {

// "5s", "200ms", "1m": a number and its unit.
CLI::Option* add_duration(CLI::App& app, const std::string& name, std::chrono::nanoseconds& to,
                          const std::string& help) {
  static const std::map<std::string, double> kUnits = {
      {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}};
  return app
      .add_option_function<double>(
          name, [&to](double ns) { to = std::chrono::nanoseconds(static_cast<std::int64_t>(ns)); },
          help)
      ->transform(CLI::AsNumberWithUnit(kUnits, CLI::AsNumberWithUnit::UNIT_REQUIRED))
      ->type_name("DURATION");
}

struct EchoCommand {
  std::string address;
  std::string framing = "none";
  std::string json;
  LoadOptions options;

  void add_to(CLI::App& app) {
    app.add_option("--connect", address, "HOST:PORT or unix:PATH of the echo server")->required();
    app.add_option("--connections", options.connections)
        ->check(CLI::Range(1, 1'000'000))
        ->capture_default_str();
    app.add_option("--idle", options.idle_connections, "further connections, left alone")
        ->capture_default_str();
    app.add_option("--size", options.message_bytes, "bytes of a message")
        ->check(CLI::Range(1, 256 << 20))
        ->capture_default_str();
    app.add_option("--depth", options.depth, "messages under way per connection")
        ->check(CLI::Range(1, 1'000'000))
        ->capture_default_str();
    app.add_option("--framing", framing, "none, or length-prefix: 4 bytes, big-endian")
        ->check(CLI::IsMember({"none", "length-prefix"}))
        ->capture_default_str();
    app.add_option("--rate", options.rate,
                   "messages per second in all, sent on schedule whatever the server does; latency "
                   "counts from the scheduled time (default: as fast as answers come)")
        ->check(CLI::NonNegativeNumber);
    add_duration(app, "--duration", options.duration, "how long to measure (default 5s)");
    add_duration(app, "--warmup", options.warmup, "how long to load before (default 1s)");
    app.add_flag("--verify", options.verify, "compare every byte that comes back");
    app.add_option("--json", json, "also write the result to this file")->type_name("FILE");
    app.add_option("--server-pid", options.server_pid,
                   "measure the processor time of this process");
    app.add_flag("--spin", options.spin, "never sleep: for a processor of its own");
  }

  int run() {
    options.server = SocketAddress::parse(address);
    options.framed = framing == "length-prefix";
    options.progress = ::isatty(STDERR_FILENO) == 1;
    const LoadResult result = run_load(options);
    print_table(std::cout, options, result);
    if (!json.empty()) write_json(json, options, result);
    return result.errors.empty() ? 0 : 1;
  }
};

struct MemoryCommand {
  std::string address;
  MemoryOptions options;

  void add_to(CLI::App& app) {
    app.add_option("--connect", address, "HOST:PORT or unix:PATH of the echo server")->required();
    app.add_option("--server-pid", options.server_pid, "measure the memory of this process")
        ->required();
    app.add_option("--connections", options.connections)->capture_default_str();
    app.add_option("--burst", options.burst_bytes, "bytes that each connection echoes at once")
        ->capture_default_str();
  }

  int run() {
    options.server = SocketAddress::parse(address);
    print_memory(std::cout, options, measure_memory(options));
    return 0;
  }
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Loads an echo server, verifies what comes back, reports rate and latency.");
  app.require_subcommand(1);
  EchoCommand echo;
  auto* echo_app = app.add_subcommand("echo", "messages there and back");
  echo.add_to(*echo_app);
  MemoryCommand memory;
  auto* memory_app = app.add_subcommand("memory", "what open connections cost the server");
  memory.add_to(*memory_app);
  CLI11_PARSE(app, argc, argv);
  try {
    return *echo_app ? echo.run() : memory.run();
  } catch (const std::exception& e) {
    std::cerr << "millrace-bench: " << e.what() << '\n';
    return 1;
  }
}
