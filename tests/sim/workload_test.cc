// Thousands of runs of the workloads, each from another seed. A run that fails says its seed and
// the command that repeats it.
#include <millrace/log.h>

#include "datagram_workload.h"
#include "echo_workload.h"
#include "request_workload.h"

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

// Twenty thousand in all; fewer where each takes longer, and where others have run them already.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(MILLRACE_COVERAGE)
constexpr std::uint64_t kSeedsPerPart = 50;
#else
constexpr std::uint64_t kSeedsPerPart = 2500;
#endif

// MILLRACE_SEED=n: that one. MILLRACE_SEEDS=n: so many instead of the usual.
std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

void run_seeds(std::uint64_t first, std::uint64_t usual, Report (*run)(Decisions&)) {
  const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
  std::uint64_t count = number_from("MILLRACE_SEEDS", usual);
  if (const std::uint64_t one = number_from("MILLRACE_SEED", 0)) {
    first = one;
    count = 1;
  }
  std::uint64_t connections = 0, bytes = 0, calls = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SeededDecisions decisions(seed);
    const Report report = run(decisions);
    connections += report.connections;
    bytes += report.bytes;
    calls += report.calls;
    if (report.problems.empty()) continue;
    std::string all;
    for (const std::string& problem : report.problems) all += "\n  " + problem;
    FAIL() << "seed " << seed << ":" << all << "\nTo see it again: MILLRACE_SEED=" << seed
           << " build/dev/bin/sim_tests --gtest_filter=" << info->test_suite_name() << '.'
           << info->name() << "   (MILLRACE_SIM_TRACE=1: with every system call)";
  }
  std::cout << count << " seeds: " << connections << " connections, " << bytes << " bytes, "
            << calls << " system calls\n";
}

class WorkloadTest : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  void SetUp() override { log::set_level(log::Level::off); }
  void TearDown() override { log::set_level(log::Level::warning); }
};

TEST_P(WorkloadTest, EchoKeepsItsPromises) {
  run_seeds(GetParam() * 1'000'000 + 1, kSeedsPerPart, run_echo_workload);
}

TEST_P(WorkloadTest, ARelayLosesAndAddsNothing) {
  run_seeds(GetParam() * 1'000'000 + 1, kSeedsPerPart / 5, run_relay_workload);
}

TEST_P(WorkloadTest, EveryRequestIsAnsweredInTheEnd) {
  run_seeds(GetParam() * 1'000'000 + 1, kSeedsPerPart, run_request_workload);
}

TEST_P(WorkloadTest, EchoOverUnixSocketsKeepsItsPromisesAndPassesDescriptorsInOrder) {
  run_seeds(GetParam() * 1'000'000 + 1, kSeedsPerPart / 5, run_unix_echo_workload);
}

TEST_P(WorkloadTest, EveryRequestOverUnixSocketsIsAnsweredInTheEnd) {
  run_seeds(GetParam() * 1'000'000 + 1, kSeedsPerPart / 10, run_unix_request_workload);
}

TEST_P(WorkloadTest, EveryDatagramIsAccountedFor) {
  run_seeds(GetParam() * 1'000'000 + 1, kSeedsPerPart / 5, run_datagram_workload);
}

TEST_P(WorkloadTest, EveryUnixDatagramIsAccountedForAndNoneOvertakesAnother) {
  run_seeds(GetParam() * 1'000'000 + 1, kSeedsPerPart / 5, run_unix_datagram_workload);
}

// A fuzzer has few bytes, and wants many runs.
TEST(ExhaustedWorkloadTest, EchoComesToItsEndSoonWhenTheDecisionsAreExhausted) {
  for (const std::vector<std::uint8_t>& bytes :
       {std::vector<std::uint8_t>{}, std::vector<std::uint8_t>(50, 0x55)}) {
    ByteDecisions decisions(bytes);
    const Report report = run_echo_workload(decisions);
    EXPECT_TRUE(report.problems.empty()) << report.problems.front();
    EXPECT_GT(report.connections, 0u);
    EXPECT_LT(report.calls, 5'000u);
  }
}

INSTANTIATE_TEST_SUITE_P(Parts, WorkloadTest, ::testing::Range<std::uint64_t>(0, 4));

}  // namespace
}  // namespace millrace::test
