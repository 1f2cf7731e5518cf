#include "contest.h"

#include "broadcast.h"
#include "examples/programs.h"
#include "growth.h"
#include "system_calls.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

namespace millrace::test {
namespace {

using namespace bench;
using namespace std::chrono_literals;

const std::string kBin = MILLRACE_BIN;

// What the bad server does wrong, for as long as this lives.
struct Bad {
  explicit Bad(const char* what) { ::setenv("MILLRACE_BAD", what, 1); }
  ~Bad() { ::unsetenv("MILLRACE_BAD"); }
};

Contestant raw() {
  return {"raw", "epoll by hand", kBin + "/raw_epoll", "", ""};
}
Contestant bad() {
  return {"bad", "a bad server", kBin + "/bad_server", "", ""};
}

Workload workload(const std::string& id) {
  return choose(all_workloads({10ms, 30ms, 1}), {id}).front();
}

bool mentions(const std::vector<std::string>& errors, const std::string& text) {
  return std::any_of(errors.begin(), errors.end(), [&](const std::string& error) {
    return error.find(text) != std::string::npos;
  });
}

class ContestTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::sysconf(_SC_NPROCESSORS_ONLN) < 2) GTEST_SKIP() << "needs two processors";
  }
};

using EveryWorkload = ContestTest;

TEST_F(ContestTest, EveryRoundOfASoundServerCounts) {
  const Course course = run_contest({raw(), raw()}, workload("raw-64-c1"), 2);
  for (const Scores& scores : course.scores) {
    EXPECT_TRUE(scores.errors.empty()) << scores.errors.front();
    EXPECT_EQ(scores.rate.size(), 2u);
    EXPECT_TRUE(spread_of(scores.rate) && spread_of(scores.cpu_ns));
    EXPECT_GT(scores.latency.count(), 0u);
    EXPECT_GT(scores.server_busy(), 0);
  }
}

TEST_F(ContestTest, OneThatFailsIsReportedAndTheOthersGoOn) {
  const struct {
    const char* what;
    const char* workload;
    const char* says;
  } cases[] = {
      {"silent", "raw-64-c1", "does not start: "}, {"flip", "raw-64-c1", "wrong bytes"},
      {"flip", "churn-c16", "wrong bytes"},        {"close", "raw-64-c1", "closed by the server"},
      {"crash", "raw-64-c1", "ended by signal 6"}, {"crash", "churn-c16", "ended by signal 6"}};
  for (const auto& one : cases) {
    SCOPED_TRACE(std::string(one.what) + " in " + one.workload);
    const Bad what(one.what);
    const Course course = run_contest({raw(), bad()}, workload(one.workload), 2);
    EXPECT_TRUE(mentions(course.scores[1].errors, one.says))
        << (course.scores[1].errors.empty() ? "no error" : course.scores[1].errors.front());
    EXPECT_FALSE(spread_of(course.scores[1].rate));
    EXPECT_TRUE(course.scores[0].errors.empty());
    EXPECT_TRUE(spread_of(course.scores[0].rate));
  }
}

TEST_F(ContestTest, AProgramThatIsNotThereIsAnError) {
  Contestant none = raw();
  none.program = "/nonexistent/program";
  const Course course = run_contest({none}, workload("raw-64-c1"), 1);
  EXPECT_TRUE(mentions(course.scores[0].errors, "/nonexistent/program does not start"));
}

// The loads themselves, against the server that is the reference of all.
TEST_F(EveryWorkload, IsServedByTheReference) {
  for (const Workload& one : all_workloads({10ms, 40ms, 1})) {
    if (one.load.idle_connections > 0) continue;  // as raw-64-c100, and slow to set up
    SCOPED_TRACE(one.id);
    Workload now = one;
    if (now.kind == Kind::open) now.load.rate = 2000;
    now.load.connections = std::min<std::size_t>(now.load.connections, 200);
    const Course course = run_contest({raw()}, now, 1);
    const Scores& scores = course.scores.front();
    EXPECT_TRUE(scores.errors.empty()) << scores.errors.front();
    EXPECT_GT(scores.messages, 0u);
    EXPECT_EQ(scores.latency.count() > 0, now.kind != Kind::stream);
  }
}

TEST_F(EveryWorkload, AWrongCountOfAStreamIsFound) {
  const Bad what("count");
  Workload one = workload("stream-c4");
  one.load.connections = 1;
  const Course course = run_contest({bad()}, one, 1);
  EXPECT_TRUE(mentions(course.scores[0].errors, "the server counted 1 of "));
}

// One subscriber and a server of the test's own, which gets the publisher's frame.
LoadResult broadcast_with(const std::function<void(RawSocket& subscriber, RawSocket& publisher,
                                                   std::string frame)>& answer) {
  RawSocket listener = RawSocket::listen();
  std::thread server([&] {
    RawSocket subscriber = listener.accept();
    RawSocket publisher = listener.accept();
    answer(subscriber, publisher, receive(publisher, 104));
  });
  LoadOptions load;
  load.server = listener.address();
  load.message_bytes = 100;
  load.duration = load.warmup = 10ms;
  load.verify = true;
  const LoadResult result = Broadcast(load).run();
  server.join();
  return result;
}

TEST(BroadcastLoad, AFrameThatComesBackToThePublisherIsFound) {
  const auto result =
      broadcast_with([](RawSocket&, RawSocket& publisher, const std::string& frame) {
        publisher.send_all(frame);
        receive_all(publisher);
      });
  EXPECT_EQ(result.errors.count("a frame came back to who sent it"), 1u);
}

TEST(BroadcastLoad, AWrongByteIsFound) {
  const auto result = broadcast_with([](RawSocket& subscriber, RawSocket&, std::string frame) {
    frame.back() = static_cast<char>(frame.back() ^ 1);
    subscriber.send_all(frame);
  });
  EXPECT_EQ(result.errors.count("wrong bytes"), 1u);
}

TEST_F(ContestTest, GrowthIsMeasuredAtEveryCount) {
  const Growth growth = measure_growth({raw()}, 1, 10ms);
  ASSERT_FALSE(growth.counts.empty());
  ASSERT_EQ(growth.lines.size(), 1u);
  EXPECT_TRUE(growth.lines[0].errors.empty()) << growth.lines[0].errors.front();
  for (std::size_t i = 0; i < growth.counts.size(); ++i) {
    EXPECT_TRUE(growth.lines[0].cpu_ns[i]) << growth.counts[i];
    EXPECT_EQ(growth.lines[0].memory_bytes[i].has_value(), growth.counts[i] >= 1000);
  }
}

TEST_F(ContestTest, SystemCallsOfAPingPongAreOneReceiveAndOneSend) {
  if (!strace_is_there()) GTEST_SKIP() << "needs strace";
  Workload one = workload("raw-64-c100");
  const auto calls = system_calls_of(raw(), one);
  if (!calls) GTEST_SKIP() << "strace may not trace here";
  EXPECT_NEAR(calls->at("recvfrom"), 1.0, 0.01);
  EXPECT_NEAR(calls->at("sendto"), 1.0, 0.01);
  EXPECT_EQ(calls->count("accept4"), 0u);
}

TEST(Choosing, OfContestantsKeepsTheReferenceFirst) {
  const auto all = find_contestants(kBin);
  const auto chosen = choose(all, {"libuv", "millrace"});
  ASSERT_EQ(chosen.size(), 3u);
  EXPECT_EQ(chosen[0].name, "raw");
  EXPECT_EQ(chosen[1].name, "millrace");
  EXPECT_EQ(choose(all, {}).size(), all.size());
  EXPECT_THROW(choose(all, {"libuvv"}), std::runtime_error);
}

TEST(Choosing, OfWorkloadsTakesAnIdForItselfAndAPartForAll) {
  const auto all = all_workloads({});
  EXPECT_EQ(choose(all, {"raw-64-c1"}).size(), 1u) << "not raw-64-c100";
  EXPECT_EQ(choose(all, {"raw-64"}).size(), 3u);
  EXPECT_EQ(choose(all, {"raw-64", "c1000"}).size(), 4u) << "none twice";
  EXPECT_THROW(choose(all, {"sctp"}), std::runtime_error);
}

}  // namespace
}  // namespace millrace::test
