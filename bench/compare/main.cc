// compare: servers that do the same with different libraries, loaded in turn, and what each costs.
#include "comparison.h"
#include "contest.h"
#include "print.h"
#include "result_json.h"
#include "server_process.h"

#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <sys/resource.h>
#include <unistd.h>

using namespace millrace::bench;

namespace {

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

int run(const CompareOptions& options) {
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
  CompareOptions options;
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
