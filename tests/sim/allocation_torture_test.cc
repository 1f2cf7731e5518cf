// Every scenario, with memory refused at one place after the other: the nth operator new or mapping
// alone, and all from the nth on. Set-up throws std::bad_alloc, or the run goes on: a connection
// that needed the memory ends and says so, no byte is wrong, nothing leaks, no loop spins, and when
// there is memory again the loop serves again.
#include <millrace/client.h>
#include <millrace/error.h>
#include <millrace/server.h>

#include "support/allocations.h"
#include "support/faults.h"
#include "torture.h"

#include <cerrno>
#include <chrono>
#include <functional>
#include <iostream>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

enum class Source { operator_new, mmap, mremap, kCount };
constexpr const char* kSources[] = {"operator new", "mmap", "mremap"};

class AllocationTortureTest : public ::testing::TestWithParam<std::size_t> {
 protected:
  const ScenarioKind& kind() const { return scenarios()[GetParam()]; }

  struct Result {
    bool reached = false;  // the run came to the nth
    std::string wrong;
  };

  Result run_with(Source source, std::uint64_t n, std::uint64_t times) {
    Result result;
    std::optional<NoMemory> limit;
    std::optional<Faults> faults;
    TortureOptions options;
    options.reasons = reasons();
    options.arm = [&](SimWorld&) {
      if (source == Source::operator_new) {
        limit.emplace(n, times);
        return;
      }
      faults.emplace();
      faults->on(call_of(source), Fault::fail(ENOMEM), {.skip = n, .times = times});
    };
    options.disarm = [&] {
      result.reached = limit ? limit->reached() : faults->count(call_of(source)) > n;
      limit.reset();
      faults.reset();
    };
    const Outcome outcome = run_torture(kind(), options);
    result.wrong = joined(outcome.problems);
    if (!outcome.set_up_threw.empty()) {
      if (!outcome.was_bad_alloc) result.wrong += "\n  set-up threw " + outcome.set_up_threw;
    } else if (times == 1 && outcome.goals.size() + 1 < goals_.size()) {
      result.wrong += "\n  more than one goal missed";
      for (const std::string& goal : goals_) {
        if (outcome.goals.count(goal) == 0) result.wrong += " '" + goal + "'";
      }
    }
    return result;
  }

  void run_without() {
    const Outcome outcome = run_torture(kind(), {});
    EXPECT_TRUE(outcome.problems.empty()) << joined(outcome.problems);
    goals_ = outcome.goals;
    ASSERT_FALSE(goals_.empty());
  }

 private:
  static Call call_of(Source source) { return source == Source::mmap ? Call::mmap : Call::mremap; }
  static std::vector<std::error_code> reasons() {
    return {std::make_error_code(std::errc::not_enough_memory), system_error_code(ENOMEM),
            // A handler's own allocation, and what the other end hears of it.
            error::handler_exception, system_error_code(ECONNRESET), system_error_code(EPIPE)};
  }

  QuietLog quiet_;
  std::set<std::string> goals_;
};

TEST_P(AllocationTortureTest, MemoryMayEndAnywhere) {
  AbortNote note;
  note.set(std::string(kind().name) + " with enough memory");
  ASSERT_NO_FATAL_FAILURE(run_without());
  std::uint64_t runs = 0, wrong = 0;
  for (int source = 0; source < static_cast<int>(Source::kCount); ++source) {
    for (const std::uint64_t times : {std::uint64_t{1}, NoMemory::kForEver}) {
      bool reached = true;
      for (std::uint64_t n = 0; reached; ++n, ++runs) {
        const std::string where = std::string(kind().name) + ", " + kSources[source] + " number " +
                                  std::to_string(n) +
                                  (times == 1 ? " fails" : " and all that follow fail");
        note.set(where);
        const Result result = run_with(static_cast<Source>(source), n, times);
        reached = result.reached;
        if (result.wrong.empty()) continue;
        ADD_FAILURE() << where << result.wrong;
        if (++wrong == 20) FAIL() << "and so on";
      }
    }
  }
  std::cout << runs << " runs\n";
}

// The loop's lists grow with what it watches: the attempt that needs one more place than there are
// needs memory for it.
TEST(AllocationTest, AClientThatFindsNoMemoryToTryAgainTriesAgainLater) {
  SeededDecisions decisions(1);
  SimKernel kernel(decisions);
  EventLoop loop;
  std::vector<std::error_code> failures;
  bool opened = false;
  Callbacks callbacks;
  callbacks.on_open = [&](Connection&) { opened = true; };
  callbacks.on_connect_failed = [&](std::error_code why) { failures.push_back(why); };
  ClientOptions options;
  options.reconnect.enabled = true;
  Client client(loop, std::move(callbacks), options);
  client.connect(SocketAddress::loopback(7000));
  loop.run_for(10ms);
  ASSERT_EQ(failures.size(), 1u);
  failures.reserve(10);
  Server others(loop, Callbacks());
  for (std::uint16_t i = 1; i <= 2; ++i) {
    others.listen(SocketAddress::loopback(static_cast<std::uint16_t>(7000 + i)));
  }
  {
    const NoMemory none;
    loop.run_for(150ms);
    EXPECT_TRUE(none.reached());
  }
  ASSERT_EQ(failures.size(), 2u);
  EXPECT_EQ(failures[1], std::errc::not_enough_memory);
  EXPECT_EQ(client.state(), Client::State::waiting);
  others.listen(SocketAddress::loopback(7000));
  loop.run_for(10s);
  EXPECT_TRUE(opened);
}

INSTANTIATE_TEST_SUITE_P(All, AllocationTortureTest,
                         ::testing::Range<std::size_t>(0, scenarios().size()),
                         [](const auto& test) -> std::string {
                           return scenarios()[test.param].name;
                         });

}  // namespace
}  // namespace millrace::test
