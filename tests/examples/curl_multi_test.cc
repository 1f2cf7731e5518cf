// libcurl inside the loop, against the HTTP server of Python.
#include "examples/programs.h"
#include "support/sockets.h"

#include <algorithm>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

struct CurlMulti : ::testing::Test {
  Program server{{MILLRACE_PYTHON, MILLRACE_HTTP_SERVER}};
  std::string base = "http://127.0.0.1:" + server.read_line();

  struct Result {
    int status = -1;
    std::multiset<std::string> lines;  // which is ready first is not said
  };
  static Result fetch(const std::vector<std::string>& urls) {
    std::vector<std::string> command = {bin("curl_multi")};
    command.insert(command.end(), urls.begin(), urls.end());
    Program program(command);
    Result result;
    std::istringstream all(program.read_rest());
    for (std::string line; std::getline(all, line);) result.lines.insert(line);
    result.status = program.wait();
    return result;
  }
};

TEST_F(CurlMulti, FetchesAllAtOnce) {
  // Nobody is answered before all are there.
  std::vector<std::string> urls;
  std::multiset<std::string> expected;
  for (int i = 0; i < 5; ++i) {
    urls.push_back(base + "/together/5/" + std::to_string(i));
    expected.insert(urls.back() + ": 200, 5 bytes");
  }
  const Result result = fetch(urls);
  EXPECT_EQ(result.lines, expected);
  EXPECT_EQ(result.status, 0);
}

TEST_F(CurlMulti, ReceivesLargeBodiesAndTellsTheStatus) {
  const Result result = fetch({base + "/bytes/20000000", base + "/bytes/0", base + "/nothing"});
  const std::multiset<std::string> expected = {base + "/bytes/20000000: 200, 20000000 bytes",
                                               base + "/bytes/0: 200, 0 bytes",
                                               base + "/nothing: 404, 0 bytes"};
  EXPECT_EQ(result.lines, expected);
  EXPECT_EQ(result.status, 0);
}

// Of six connections at a time curl closes one whenever it has its answer, and the next has its
// number.
TEST_F(CurlMulti, DescriptorsThatCurlClosesAndReusesAreWatchedAnew) {
  std::vector<std::string> urls;
  std::multiset<std::string> expected;
  for (int i = 0; i < 100; ++i) {
    const char* kind = i % 3 == 0 ? "/bytes/" : "/close/";
    urls.push_back(base + kind + std::to_string(i * 100));
    expected.insert(urls.back() + ": 200, " + std::to_string(i * 100) + " bytes");
  }
  const Result result = fetch(urls);
  EXPECT_EQ(result.lines, expected);
  EXPECT_EQ(result.status, 0);
}

TEST_F(CurlMulti, OneThatFailsHarmsNoOther) {
  const ClosedPort nobody;
  const std::string refused = "http://" + nobody.address().to_string() + "/";
  const std::string cut = base + "/cut/100000";
  const std::string good = base + "/bytes/1000";
  const Result result = fetch({refused, cut, good, "nonsense://x"});
  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.lines.count(good + ": 200, 1000 bytes"), 1u);
  EXPECT_EQ(result.lines.size(), 4u);
  const auto told = [&](const std::string& begin, const std::string& part) {
    return std::any_of(result.lines.begin(), result.lines.end(), [&](const std::string& line) {
      return line.rfind(begin, 0) == 0 && line.find(part) != std::string::npos;
    });
  };
  EXPECT_TRUE(told(refused + ": ", "refused") || told(refused + ": ", "connect"));
  EXPECT_TRUE(told(cut + ": ", "50000 bytes"));
  EXPECT_TRUE(told("nonsense://x: ", "not supported"));
}

TEST_F(CurlMulti, WithoutAUrlSaysWhatItNeeds) {
  Program program({bin("curl_multi")});
  EXPECT_NE(program.read_error_line().find("URL"), std::string::npos);
  EXPECT_NE(program.wait(), 0);
}

}  // namespace
}  // namespace millrace::test
