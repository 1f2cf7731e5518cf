// Every scenario, with every one of its system calls failing in turn, in each way that its manual
// page says the outside can bring about. Whatever fails: set-up says so, or the run goes on; at
// most one connection suffers, no byte is wrong, nothing is left open and no loop spins.
#include <millrace/error.h>

#include "support/faults.h"
#include "torture.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <iostream>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <sys/epoll.h>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

// What a call may say.
struct Way {
  Fault fault;
  bool harms;  // a connection, a whole attempt to connect or set-up may suffer from it
};

std::vector<Way> harmless(std::initializer_list<int> errors) {
  std::vector<Way> ways;
  for (const int e : errors) ways.push_back({Fault::fail(e), false});
  return ways;
}

// Those that say so although the call has had its effect.
std::vector<Way> harmless_and_made(std::initializer_list<int> errors) {
  std::vector<Way> ways;
  for (const int e : errors) ways.push_back({Fault::fail_after(e), false});
  return ways;
}

std::vector<Way> harmful(std::initializer_list<int> errors, std::vector<Way> and_these = {}) {
  for (const int e : errors) and_these.push_back({Fault::fail(e), true});
  return and_these;
}

std::vector<Way> ways_to_fail(const RecordedCall& made) {
  switch (made.call) {
    case Call::accept4:
      return harmless({EINTR, EAGAIN, ECONNABORTED, EPROTO, ENETDOWN, ENETUNREACH, EHOSTDOWN,
                       EHOSTUNREACH, ENONET, ENOPROTOOPT, EOPNOTSUPP, EPERM, ETIMEDOUT, EMFILE,
                       ENFILE, ENOBUFS, ENOMEM});
    case Call::bind:
      return harmful({EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOMEM});
    case Call::close:
      return harmless_and_made({EIO, EINTR, ENOSPC});
    case Call::connect:
      return harmful({ECONNREFUSED, ENETUNREACH, EADDRNOTAVAIL, EADDRINUSE, EAGAIN, EACCES, EPERM,
                      ETIMEDOUT, ENOBUFS},
                     harmless_and_made({EINTR}));
    case Call::epoll_ctl:
      // Changing and removing take no memory.
      if (made.operation != EPOLL_CTL_ADD) return {};
      return harmful({ENOMEM, ENOSPC});
    case Call::epoll_create1:
    case Call::eventfd:
    case Call::timerfd_create:
      return harmful({EMFILE, ENFILE, ENOMEM});
    case Call::socket:
      return harmful({EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES, EAFNOSUPPORT});
    case Call::epoll_wait:
    case Call::read:
      return harmless({EINTR});
    case Call::getpeername:
      return harmless({ENOTCONN, ENOBUFS});
    case Call::getsockname:
      return harmless({ENOBUFS});
    case Call::getsockopt:
      return harmful({ENOBUFS, ENOMEM});
    case Call::ioctl:
      return harmless({EINVAL, ENOTTY});
    case Call::listen:
      return harmful({EADDRINUSE});
    case Call::mmap:
    case Call::mremap:
      return harmful({ENOMEM});
    case Call::recv:
      return harmful({ECONNRESET, ETIMEDOUT, EHOSTUNREACH, ENOMEM}, harmless({EINTR, EAGAIN}));
    case Call::send:
    case Call::sendmsg:
      return harmful({EPIPE, ECONNRESET, ETIMEDOUT, ENOBUFS, ENOMEM}, harmless({EINTR, EAGAIN}));
    case Call::sendfile:
      return harmful({EPIPE, ECONNRESET, EIO, ENOBUFS, ENOMEM}, harmless({EINTR, EAGAIN}));
    case Call::setsockopt:
      return harmful({ENOBUFS, ENOMEM, EINVAL, ENOPROTOOPT});
    case Call::shutdown:
      return harmless_and_made({ENOTCONN});
    case Call::write:
      return harmless_and_made({EAGAIN});  // the counter is full: readable all the same
    case Call::recvmmsg:
      return harmless({EINTR, EAGAIN, ENOMEM, ENOBUFS, ECONNREFUSED});
    case Call::recvmsg:
      return harmful({ECONNRESET, ENOMEM}, harmless({EINTR, EAGAIN}));
    case Call::sendmmsg:
      return harmless({EINTR, EAGAIN, ENOBUFS, ENOMEM, ECONNREFUSED, EPERM, EINVAL, ENETUNREACH,
                       EMSGSIZE, EIO});
    case Call::timerfd_settime:  // only mistakes can make it fail
    case Call::kCount:
      break;
  }
  return {};
}

// Of a call that the failing of set-up must name: itself, or the option that it was about.
bool names(const std::string& text, Call call) {
  const auto has = [&](const char* part) { return text.find(part) != std::string::npos; };
  if (has(name_of(call))) return true;
  return call == Call::setsockopt && (has("SO_") || has("TCP_") || has("IP_") || has("IPV6_"));
}

class SyscallTortureTest : public ::testing::TestWithParam<std::size_t> {
 protected:
  const ScenarioKind& kind() const { return scenarios()[GetParam()]; }

  // The calls of a run without faults, and what it came to.
  std::vector<RecordedCall> trace() {
    Faults faults;
    faults.record();
    std::vector<RecordedCall> calls;
    const Outcome outcome = run_torture(kind(), {.disarm = [&] { calls = faults.recorded(); }});
    EXPECT_TRUE(outcome.problems.empty()) << joined(outcome.problems);
    EXPECT_EQ(outcome.set_up_threw, "");
    goals_ = outcome.goals;
    return calls;
  }

  // Empty, or what was wrong.
  std::string run_with(std::size_t number, const RecordedCall& call, const Way& way) {
    std::optional<Faults> faults;
    const auto arm = [&](SimWorld&) {
      faults.emplace();
      faults->record();
      faults->on_number(number, way.fault);
    };
    const Outcome outcome = run_torture(
        kind(), {.arm = arm, .disarm = [&] { faults.reset(); }, .reasons = reasons(way)});
    std::string wrong = joined(outcome.problems);
    if (!outcome.set_up_threw.empty()) return wrong + judge_set_up(outcome, call, way);
    const std::size_t missed = goals_.size() - outcome.goals.size();
    if (missed > (way.harms ? 1u : 0u)) wrong += "\n  goals missed: " + missing(outcome);
    return wrong;
  }

  const std::set<std::string>& goals() const { return goals_; }

 private:
  static std::vector<std::error_code> reasons(const Way& way) {
    if (!way.harms) return {};
    const std::error_code why = system_error_code(way.fault.error);
    // And what the other end hears of it.
    std::vector<std::error_code> all{why, system_error_code(ECONNRESET), system_error_code(EPIPE)};
    if (way.fault.error != ENOMEM) return all;
    // Told by the product, or as std::bad_alloc out of a handler that asked for room.
    all.push_back(std::make_error_code(std::errc::not_enough_memory));
    all.push_back(error::handler_exception);
    return all;
  }
  static std::string judge_set_up(const Outcome& outcome, const RecordedCall& call,
                                  const Way& way) {
    std::string wrong;
    if (!way.harms) wrong += "\n  set-up failed for nothing: " + outcome.set_up_threw;
    const bool is_memory = call.call == Call::mmap || call.call == Call::mremap;
    if (is_memory ? !outcome.was_bad_alloc : !names(outcome.set_up_threw, call.call)) {
      wrong += "\n  set-up does not say which call failed: " + outcome.set_up_threw;
    }
    return wrong;
  }
  std::string missing(const Outcome& outcome) const {
    std::string names;
    for (const std::string& goal : goals_) {
      if (outcome.goals.count(goal) == 0) names += " '" + goal + "'";
    }
    return names;
  }

  QuietLog quiet_;
  std::set<std::string> goals_;
};

TEST_P(SyscallTortureTest, EveryCallMayFailInEveryWay) {
  AbortNote note;
  note.set(std::string(kind().name) + " without faults");
  const std::vector<RecordedCall> calls = trace();
  ASSERT_FALSE(goals().empty());
  std::size_t runs = 0, wrong = 0;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    for (const Way& way : ways_to_fail(calls[i])) {
      const std::string where = std::string(kind().name) + ", call " + std::to_string(i) + " of " +
                                std::to_string(calls.size()) + ": " + name_of(calls[i].call) + '(' +
                                std::to_string(calls[i].fd) + ") says " +
                                std::strerror(way.fault.error);
      note.set(where);
      const std::string what = run_with(i, calls[i], way);
      ++runs;
      if (what.empty()) continue;
      ADD_FAILURE() << where << what;
      if (++wrong == 20) FAIL() << "and so on";
    }
  }
  std::cout << calls.size() << " calls, " << runs << " runs\n";
}

TEST(ScenariosTest, TogetherTheyMakeEveryCallOfTheProduct) {
  const QuietLog quiet;
  std::set<std::string> made;
  for (const ScenarioKind& kind : scenarios()) {
    Faults faults;
    faults.record();
    run_torture(kind, {});
    for (const RecordedCall& each : faults.recorded()) made.insert(name_of(each.call));
  }
  for (int i = 0; i < static_cast<int>(Call::kCount); ++i) {
    const auto call = static_cast<Call>(i);
    // Of signals, and of a connection to oneself.
    if (call == Call::read || call == Call::getpeername) continue;
    EXPECT_TRUE(made.count(name_of(call))) << name_of(call);
  }
}

// What the kernel has too little of, it has too little of for a while: nobody asks it without
// pause.
TEST(ShortageTest, AcceptingWaitsUntilThereIsEnoughAgain) {
  const QuietLog quiet;
  for (const ScenarioKind& kind : scenarios()) {
    if (kind.name == std::string_view("Drain")) continue;  // it has a deadline
    if (kind.name == std::string_view("Datagrams")) continue;
    const std::set<std::string> goals = run_torture(kind, {}).goals;
    for (const int error : {EMFILE, ENFILE, ENOBUFS, ENOMEM}) {
      std::optional<Faults> faults;
      std::uint64_t asked = 0;
      const auto arm = [&](SimWorld& world) {
        faults.emplace();
        faults->on(Call::accept4, Fault::fail(error), {.times = 1'000'000'000});
        world.kernel().at(world.kernel().after(3s), [&] {
          asked = faults->count(Call::accept4);
          faults.reset();
        });
      };
      const Outcome outcome = run_torture(kind, {.arm = arm});
      EXPECT_TRUE(outcome.problems.empty())
          << kind.name << ", " << std::strerror(error) << joined(outcome.problems);
      EXPECT_EQ(outcome.goals, goals) << kind.name << ", " << std::strerror(error);
      EXPECT_GE(asked, 5u);
      EXPECT_LE(asked, 20u) << kind.name << ", " << std::strerror(error);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SyscallTortureTest,
                         ::testing::Range<std::size_t>(0, scenarios().size()),
                         [](const auto& test) -> std::string {
                           return scenarios()[test.param].name;
                         });

}  // namespace
}  // namespace millrace::test
