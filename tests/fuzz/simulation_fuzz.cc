// Whatever the kernel decides, and the peers, and the users: servers and clients on the simulated
// kernel keep the promises that the workload checks. The first byte chooses the workload; the
// others are its decisions, and when they have run out it comes to its end undisturbed.
#include <millrace/log.h>

#include "sim/workloads.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

using namespace millrace;
using namespace millrace::test;

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  log::set_level(log::Level::off);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const Workload& workload = kWorkloads[data[0] % kWorkloads.size()];
  ByteDecisions decisions(std::span(data, size).subspan(1));
  const Report report = workload.run(decisions);
  if (report.problems.empty()) return 0;
  for (const std::string& problem : report.problems) std::fprintf(stderr, "%s\n", problem.c_str());
  std::abort();
}
