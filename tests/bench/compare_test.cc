// The contest as its users run it.
#include "examples/programs.h"

#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace millrace::test {
namespace {

class CompareTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::sysconf(_SC_NPROCESSORS_ONLN) < 2) GTEST_SKIP() << "needs two processors";
  }
};

std::vector<std::string> compare(std::vector<std::string> more) {
  std::vector<std::string> command = {bin("compare")};
  command.insert(command.end(), more.begin(), more.end());
  return command;
}

TEST_F(CompareTest, WritesWhatItMeasured) {
  const std::string path = ::testing::TempDir() + "/compare" + std::to_string(::getpid()) + ".json";
  Program program(compare({"--only", "millrace", "--workloads", "raw-64-c1,churn-c16", "--rounds",
                           "2", "--seconds", "0.05", "--quick", "--json", path}));
  const std::string text = program.read_rest();
  EXPECT_EQ(program.wait(), 0) << text;
  const auto json = nlohmann::json::parse(std::ifstream(path));
  EXPECT_EQ(json["format"], "millrace-bench 1");
  EXPECT_EQ(json["reference"], "raw");
  EXPECT_GT(json["machine"]["memory_bytes"], 0);
  ASSERT_EQ(json["contestants"].size(), 2u);
  ASSERT_EQ(json["workloads"].size(), 2u);
  for (const auto& workload : json["workloads"]) {
    EXPECT_NE(text.find(workload["id"].get<std::string>()), std::string::npos) << text;
    ASSERT_EQ(workload["results"].size(), 2u);
    EXPECT_EQ(workload["results"][0]["contestant"], "raw");
    EXPECT_EQ(workload["results"][1]["contestant"], "millrace");
    for (const auto& result : workload["results"]) {
      EXPECT_GT(result["rate"]["median"], 0);
      EXPECT_GT(result["cpu_ns"]["median"], 0);
      EXPECT_GT(result["latency_ns"]["p50"], 0);
      EXPECT_LE(result["ratio_cpu"]["low"], result["ratio_cpu"]["high"]);
      EXPECT_TRUE(result["errors"].empty()) << result["errors"];
    }
  }
  EXPECT_FALSE(json.contains("memory")) << "it was not asked for";
  std::filesystem::remove(path);
}

TEST_F(CompareTest, NamesWhatItDoesNotKnow) {
  for (const auto& [options, says] : std::vector<std::pair<std::vector<std::string>, const char*>>{
           {{"--only", "nginx"}, "'nginx'"},
           {{"--workloads", "sctp"}, "'sctp'"},
           {{"--rounds", "0"}, "--rounds"},
           {{"--merge", "/nonexistent/file"}, "/nonexistent/file"}}) {
    Program program(compare(options));
    EXPECT_NE(program.wait(), 0) << says;
    EXPECT_NE(program.read_error_line().find(says), std::string::npos) << says;
  }
}

TEST_F(CompareTest, ListsContestantsAndWorkloads) {
  Program program(compare({"--list"}));
  const std::string text = program.read_rest();
  EXPECT_EQ(program.wait(), 0);
  for (const char* word : {"raw", "millrace", "libuv", "framed-1m-c4", "memory"}) {
    EXPECT_NE(text.find(word), std::string::npos) << word << " is missing in\n" << text;
  }
}

}  // namespace
}  // namespace millrace::test
