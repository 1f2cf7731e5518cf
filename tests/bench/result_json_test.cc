#include "result_json.h"

#include "targets.h"

#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace millrace::test {
namespace {

using namespace bench;
using namespace std::chrono_literals;

LoadResult round(std::uint64_t messages, std::chrono::nanoseconds cpu) {
  LoadResult result;
  result.messages = messages;
  result.elapsed = 1s;
  result.server_cpu = CpuTime{cpu, 10, 90};
  result.client_busy = 1.0;
  for (std::uint64_t i = 0; i < messages; ++i) result.latency.record(100us);
  return result;
}

// Two that were measured, of which the second failed in its second round, and one that is absent.
Outcome small_outcome() {
  Outcome outcome;
  outcome.date = "2026-01-31T15:00:00Z";
  outcome.contestants = {{"raw", "epoll by hand", "", "", ""},
                         {"millrace", "millrace", "", "", ""}};
  outcome.absent = {{"libuv", "libuv", "", "", "not built: libuv1-dev was not found"}};
  Workload workload;
  workload.id = "raw-64-c100";
  workload.target = 1.03;
  Course course{workload, std::vector<Scores>(2)};
  course.scores[0].add(round(1000, 500ms));
  course.scores[0].add(round(1000, 500ms));
  course.scores[1].add(round(1000, 505ms));
  course.scores[1].add_failure();
  course.scores[1].errors = {"1 x wrong bytes"};
  outcome.courses.push_back({course, {CallsPerMessage{{"sendto", 1.0}}, std::nullopt}});
  outcome.memory = MemoryOutcome{{}, {MemoryResult{}, std::nullopt}, {"", "it crashed"}};
  outcome.memory->results[0]->open = 1'020'000;
  outcome.growth = Growth{{1, 10}, {{{1.0, 2.0}, {std::nullopt, 5.0}, {}}, {{}, {}, {}}}};
  return outcome;
}

TEST(ResultJson, SaysOfEachContestantWhatWasMeasured) {
  const auto json = to_json(small_outcome());
  EXPECT_EQ(json["format"], "millrace-bench 1");
  EXPECT_EQ(json["contestants"].size(), 3u);
  EXPECT_EQ(json["contestants"][2]["present"], false);
  const auto& results = json["workloads"][0]["results"];
  EXPECT_EQ(results[0]["rate"]["median"], 1000);
  EXPECT_EQ(results[0]["cpu_ns"]["median"], 500'000);
  EXPECT_EQ(results[0]["user_ns"], 50'000);
  EXPECT_EQ(results[0]["system_calls"]["sendto"], 1);
  EXPECT_EQ(results[0]["client_bound"], true) << "busy all the time, the server half of it";
  EXPECT_NEAR(results[0]["latency_ns"]["p99"].get<double>(), 1e5, 1e3);
  EXPECT_DOUBLE_EQ(results[1]["ratio_cpu"]["median"], 1.01) << "of the round that it had";
  EXPECT_TRUE(results[1]["system_calls"].is_null());
  EXPECT_EQ(results[1]["errors"][0], "1 x wrong bytes");
  EXPECT_EQ(json["memory"]["results"].size(), 1u) << "who failed is left out";
  EXPECT_EQ(json["memory"]["results"][0]["idle"], 102);
  EXPECT_TRUE(json["growth"]["connections"]["memory_bytes"]["raw"][0].is_null());
  EXPECT_EQ(json["growth"]["connections"]["cpu_ns"]["raw"][1], 2);
}

TEST(ResultJson, WhatWasNotMeasuredIsNotThere) {
  Outcome outcome = small_outcome();
  outcome.memory.reset();
  outcome.growth.reset();
  outcome.courses.front().course.scores[1] = {};
  const auto json = to_json(outcome);
  EXPECT_FALSE(json.contains("memory"));
  EXPECT_FALSE(json.contains("growth"));
  const auto& nothing = json["workloads"][0]["results"][1];
  EXPECT_TRUE(nothing["rate"].is_null());
  EXPECT_TRUE(nothing["latency_ns"].is_null());
  EXPECT_TRUE(nothing["user_ns"].is_null());
}

TEST(ResultJson, ACurveHasNoMoreNinesThanMessages) {
  const auto json = to_json(small_outcome());
  const auto& curve = json["workloads"][0]["results"][0]["latency_curve"];
  EXPECT_EQ(curve.front()[0], 0.0);
  EXPECT_LE(curve.back()[0].get<double>(), 0.9995) << "of two thousand messages";
  EXPECT_GE(curve.back()[0].get<double>(), 0.999);
}

std::string file_with(const std::string& text) {
  const std::string path = ::testing::TempDir() + "/merge" + std::to_string(::getpid()) + ".json";
  std::ofstream(path) << text;
  return path;
}

TEST(ResultJson, OthersResultsAreTakenOver) {
  auto json = to_json(small_outcome());
  const std::string path = file_with(R"({"micro": [1], "growth_timers": {"live": [1000]}})");
  merge_file(json, path);
  EXPECT_EQ(json["micro"][0], 1);
  EXPECT_EQ(json["growth"]["timers"]["live"][0], 1000);
  EXPECT_TRUE(json["growth"].contains("connections")) << "what was there stays";
  std::remove(path.c_str());
}

TEST(ResultJson, WhatCannotBeTakenOverOrWrittenIsNamed) {
  for (const char* text : {"", "[1]", "{"}) {
    nlohmann::json json;
    const std::string path = file_with(text);
    try {
      merge_file(json, path);
      ADD_FAILURE() << text;
    } catch (const std::runtime_error& e) {
      EXPECT_NE(std::string(e.what()).find(path), std::string::npos) << e.what();
    }
    std::remove(path.c_str());
  }
  EXPECT_THROW(write_file({}, "/nonexistent/file"), std::runtime_error);
}

TEST(Targets, SayWhatIsReachedOfWhatWasMeasured) {
  const auto all = verdicts(small_outcome());
  ASSERT_EQ(all.size(), 2u) << "the ratio and the user time; it has no memory result";
  EXPECT_DOUBLE_EQ(all[0].measured, 1.01);
  EXPECT_TRUE(all[0].reached());
  EXPECT_FALSE(all[1].reached()) << "50 us in user mode";
  Outcome without = small_outcome();
  without.contestants[1].name = "libev";
  EXPECT_TRUE(verdicts(without).empty());
}

}  // namespace
}  // namespace millrace::test
