#include <millrace/signal_watcher.h>

#include "support/signal_test.h"

#include <cerrno>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

namespace millrace::test {
namespace {

struct SignalWatcherTest : SignalTest {};

TEST_F(SignalWatcherTest, CallsBackWithTheNumber) {
  std::vector<int> seen;
  const SignalWatcher watcher(loop(), {SIGUSR1, SIGUSR2}, [&](int n) { seen.push_back(n); });
  turns(1);
  EXPECT_TRUE(seen.empty());
  ::raise(SIGUSR2);
  turns(1);
  ::raise(SIGUSR1);
  turns(1);
  EXPECT_EQ(seen, (std::vector<int>{SIGUSR2, SIGUSR1}));
}

TEST_F(SignalWatcherTest, StopsALoop) {
  const SignalWatcher stop(loop(), {SIGINT, SIGTERM}, [&](int) { loop().stop(); });
  loop().post([] { ::kill(::getpid(), SIGTERM); });
  loop().run();
}

TEST_F(SignalWatcherTest, CallsEveryWatcherOfASignal) {
  int first = 0;
  int second = 0;
  int other = 0;
  const SignalWatcher one(loop(), {SIGUSR1}, [&](int) { ++first; });
  const SignalWatcher two(loop(), {SIGUSR2, SIGUSR1}, [&](int) { ++second; });
  const SignalWatcher three(loop(), {SIGUSR2}, [&](int) { ++other; });
  ::raise(SIGUSR1);
  turns(2);
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 1);
  EXPECT_EQ(other, 0);
}

TEST_F(SignalWatcherTest, CountsSignalsThatTimersRaise) {
  constexpr int kTimes = 10;
  int counts[4] = {};
  int once = 0;
  std::vector<SignalWatcher> watchers;
  for (int i = 0; i < 4; ++i) {
    watchers.emplace_back(loop(), std::initializer_list<int>{i < 2 ? SIGUSR1 : SIGUSR2},
                          [&counts, i](int) { ++counts[i]; });
  }
  std::optional<SignalWatcher> one_shot;
  one_shot.emplace(loop(), std::initializer_list<int>{SIGUSR1}, [&](int) {
    ++once;
    one_shot.reset();
  });
  int raised = 0;
  const Timer timer = loop().every(1ms, [&] {
    // The next only when the one before has been seen: two that are pending count as one.
    if (raised == kTimes || counts[0] < raised) return;
    ++raised;
    ::raise(SIGUSR1);
    ::raise(SIGUSR2);
  });
  EXPECT_TRUE(run_until([&] { return counts[0] == kTimes && counts[2] == kTimes; }));
  for (const int count : counts) EXPECT_EQ(count, kTimes);
  EXPECT_EQ(once, 1);
}

TEST_F(SignalWatcherTest, EachDeliveryIsToldAndOfThoseThatArePendingTheKernelDeliversOne) {
  std::optional<Blocked> blocked(SIGUSR1);
  for (int i = 0; i < 3; ++i) ::raise(SIGUSR1);
  int calls = 0;
  std::optional<SignalWatcher> watcher;
  watcher.emplace(loop(), std::initializer_list<int>{SIGUSR1}, [&](int) { ++calls; });
  turns(2);
  EXPECT_EQ(calls, 1);
  for (int i = 0; i < 3; ++i) ::raise(SIGUSR1);
  turns(2);
  EXPECT_EQ(calls, 4);
  watcher.reset();
  blocked.reset();
}

TEST_F(SignalWatcherTest, SaysWhoSentIt) {
  std::vector<SignalInfo> seen;
  const SignalWatcher watcher(loop(), {SIGUSR1, SIGRTMIN},
                              [&](const SignalInfo& info) { seen.push_back(info); });
  ::kill(::getpid(), SIGUSR1);
  ::sigqueue(::getpid(), SIGRTMIN, sigval{.sival_int = 42});
  turns(2);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].number, SIGUSR1);
  EXPECT_EQ(seen[0].code, SI_USER);
  EXPECT_EQ(seen[1].number, SIGRTMIN);
  EXPECT_EQ(seen[1].code, SI_QUEUE);
  EXPECT_EQ(seen[1].value, 42);
  for (const SignalInfo& info : seen) {
    EXPECT_EQ(info.pid, ::getpid());
    EXPECT_EQ(info.uid, ::getuid());
  }
}

TEST_F(SignalWatcherTest, NamesNoSenderWhereThereIsNone) {
  std::vector<SignalInfo> seen;
  const SignalWatcher watcher(loop(), {SIGALRM},
                              [&](const SignalInfo& info) { seen.push_back(info); });
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGALRM;
  event.sigev_value.sival_int = 7;
  timer_t timer;
  ASSERT_EQ(::timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
  const itimerspec soon{{0, 0}, {0, 1}};
  ::timer_settime(timer, 0, &soon, nullptr);
  EXPECT_TRUE(run_until([&] { return !seen.empty(); }));
  ::timer_delete(timer);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].code, SI_TIMER);
  EXPECT_EQ(seen[0].pid, 0);
  EXPECT_EQ(seen[0].uid, 0u);
}

TEST_F(SignalWatcherTest, AStormThatALoopSleepsThroughIsCountedExactly) {
  constexpr int kTimes = 1000;
  std::vector<int> values;
  int ones = 0;
  int twos = 0;
  const SignalWatcher watcher(loop(), {SIGUSR1, SIGUSR2, SIGRTMIN}, [&](const SignalInfo& info) {
    if (info.number == SIGRTMIN) values.push_back(info.value);
    ones += info.number == SIGUSR1;
    twos += info.number == SIGUSR2;
  });
  for (int i = 0; i < kTimes; ++i) {
    if (i < 10) ::sigqueue(::getpid(), SIGRTMIN, sigval{.sival_int = i});
    ::raise(SIGUSR1);
    if (i % 2 == 0) ::raise(SIGUSR2);
  }
  EXPECT_TRUE(run_until([&] { return ones == kTimes && twos == kTimes / 2; }));
  EXPECT_EQ(values, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})) << "in their order";
  EXPECT_EQ(ones, kTimes);
  EXPECT_LE(run_for(20ms), 4u) << "then it rests";
}

TEST_F(SignalWatcherTest, ASignalNamedTwiceIsToldOnce) {
  int calls = 0;
  {
    const SignalWatcher watcher(loop(), {SIGUSR1, SIGUSR1}, [&](int) { ++calls; });
    ::raise(SIGUSR1);
    turns(2);
  }
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(is_default(SIGUSR1));
}

TEST_F(SignalWatcherTest, MayWatchNothing) {
  const SignalWatcher watcher(loop(), {}, [](int) { FAIL(); });
  turns(1);
}

TEST_F(SignalWatcherTest, TakesASignalThatWasPendingBefore) {
  const Blocked blocked(SIGUSR1);
  ::raise(SIGUSR1);
  int calls = 0;
  const SignalWatcher watcher(loop(), {SIGUSR1}, [&](int) { ++calls; });
  turns(1);
  EXPECT_EQ(calls, 1);
}

TEST_F(SignalWatcherTest, AHandlerIsThereAsLongAsAWatcherWantsIt) {
  std::optional<SignalWatcher> first;
  std::optional<SignalWatcher> second;
  const auto nothing = [](int) {};
  first.emplace(loop(), std::initializer_list<int>{SIGUSR1, SIGUSR2}, nothing);
  EXPECT_FALSE(is_default(SIGUSR1));
  EXPECT_FALSE(is_default(SIGUSR2));
  second.emplace(loop(), std::initializer_list<int>{SIGUSR1}, nothing);
  first.reset();
  EXPECT_FALSE(is_default(SIGUSR1)) << "the second still wants it";
  EXPECT_TRUE(is_default(SIGUSR2));
  second.reset();
  EXPECT_TRUE(is_default(SIGUSR1));
}

TEST_F(SignalWatcherTest, WhatTheProcessDidBeforeItDoesAfterwards) {
  static int handled;
  handled = 0;
  ::signal(SIGUSR1, [](int) { ++handled; });
  ::signal(SIGUSR2, SIG_IGN);
  {
    int calls = 0;
    const SignalWatcher watcher(loop(), {SIGUSR1, SIGUSR2}, [&](int) { ++calls; });
    ::raise(SIGUSR1);
    ::raise(SIGUSR2);
    turns(2);
    EXPECT_EQ(calls, 2);
    EXPECT_EQ(handled, 0);
  }
  ::raise(SIGUSR1);
  ::raise(SIGUSR2);
  EXPECT_EQ(handled, 1);
  ::signal(SIGUSR1, SIG_DFL);
  ::signal(SIGUSR2, SIG_DFL);
}

TEST_F(SignalWatcherTest, AHandlerThatSomebodyElseHasPutThereMeanwhileStays) {
  static int handled;
  handled = 0;
  {
    const SignalWatcher watcher(loop(), {SIGUSR1}, [](int) { FAIL(); });
    ::signal(SIGUSR1, [](int) { ++handled; });
  }
  ::raise(SIGUSR1);
  EXPECT_EQ(handled, 1);
  ::signal(SIGUSR1, SIG_DFL);
}

TEST_F(SignalWatcherTest, TwoLoopsOfOneThreadMayWatchOneSignal) {
  EventLoop other;
  int first_calls = 0;
  int second_calls = 0;
  std::optional<SignalWatcher> first;
  std::optional<SignalWatcher> second;
  first.emplace(loop(), std::initializer_list<int>{SIGUSR1}, [&](int) { ++first_calls; });
  second.emplace(other, std::initializer_list<int>{SIGUSR1}, [&](int) { ++second_calls; });
  for (int i = 0; i < 3; ++i) ::raise(SIGUSR1);
  turns(2);
  other.run_once(0ms);
  EXPECT_EQ(first_calls, 3);
  EXPECT_EQ(second_calls, 3);
  first.reset();
  ASSERT_FALSE(is_default(SIGUSR1)) << "the second still wants it";
  ::raise(SIGUSR1);
  other.run_once(0ms);
  EXPECT_EQ(second_calls, 4);
  second.reset();
  EXPECT_TRUE(is_default(SIGUSR1));
}

TEST_F(SignalWatcherTest, ASignalThatWasBlockedIsLetThroughAndThenBlockedAgain) {
  const Blocked blocked(SIGUSR1);
  {
    const SignalWatcher watcher(loop(), {SIGUSR1, SIGUSR2}, [](int) {});
    EXPECT_FALSE(is_blocked(SIGUSR1));
  }
  EXPECT_TRUE(is_blocked(SIGUSR1));
  EXPECT_FALSE(is_blocked(SIGUSR2));
}

TEST_F(SignalWatcherTest, ACallOfTheProgramThatASignalInterruptsIsRestarted) {
  int calls = 0;
  const SignalWatcher watcher(loop(), {SIGUSR1}, [&](int) { ++calls; });
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  const pthread_t reader = ::pthread_self();
  const std::string stat = "/proc/self/task/" + std::to_string(::gettid()) + "/stat";
  std::thread writer([&] {
    const auto reader_sleeps = [&] {
      std::string text;
      std::getline(std::ifstream(stat), text);
      return text.find(") S ") != std::string::npos;
    };
    while (!reader_sleeps()) std::this_thread::yield();
    ::pthread_kill(reader, SIGUSR1);
    ASSERT_EQ(::write(pipe[1], "x", 1), 1);
  });
  char byte = 0;
  EXPECT_EQ(::read(pipe[0], &byte, 1), 1);
  writer.join();
  turns(2);
  EXPECT_EQ(calls, 1);
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST_F(SignalWatcherTest, OneThatIsPendingWhenTheLastWatcherGoesDoesNoHarm) {
  {
    const SignalWatcher watcher(loop(), {SIGUSR1}, [](int) { FAIL(); });
    ::raise(SIGUSR1);
  }
  EXPECT_TRUE(is_default(SIGUSR1));
  EXPECT_FALSE(is_pending(SIGUSR1));
  turns(1);
}

TEST_F(SignalWatcherTest, OneThatIsPendingForTheProcessDoesNoHarmEither) {
  const SignalWatcher other(loop(), {SIGUSR2}, [](int) { FAIL(); });
  {
    const SignalWatcher watcher(loop(), {SIGUSR1}, [](int) { FAIL(); });
    ::kill(::getpid(), SIGUSR1);
  }
  EXPECT_TRUE(is_default(SIGUSR1));
  turns(1);
}

TEST_F(SignalWatcherTest, WhatWaitsIsForgottenWithTheLastWhoWantsIt) {
  int calls = 0;
  const SignalWatcher other(loop(), {SIGUSR2}, [&](int) { ++calls; });
  std::optional<SignalWatcher> watcher;
  const auto watch = [&] {
    watcher.emplace(loop(), std::initializer_list<int>{SIGUSR1}, [&](int) { FAIL(); });
  };
  watch();
  for (int i = 0; i < 100; ++i) ::raise(SIGUSR1);
  ::raise(SIGUSR2);
  for (int i = 0; i < 100; ++i) ::raise(SIGUSR1);
  watcher.reset();
  watch();
  turns(3);
  EXPECT_EQ(calls, 1);
}

TEST_F(SignalWatcherTest, WatchesAgainAfterAllWatchersWereGone) {
  for (int i = 0; i < 3; ++i) {
    int calls = 0;
    const SignalWatcher watcher(loop(), {SIGUSR1}, [&](int) { ++calls; });
    ::raise(SIGUSR1);
    turns(1);
    EXPECT_EQ(calls, 1);
  }
}

TEST_F(SignalWatcherTest, TakesARealTimeSignal) {
  int calls = 0;
  const SignalWatcher watcher(loop(), {SIGRTMIN, SIGRTMAX}, [&](int) { ++calls; });
  ::raise(SIGRTMIN);
  ::raise(SIGRTMAX);
  turns(2);
  EXPECT_EQ(calls, 2);
}

TEST_F(SignalWatcherTest, RefusesWhatIsNoSignalOrCannotBeCaughtOrIsAFault) {
  for (const int number : {0, -1, 32, 65, 999, SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
    try {
      const SignalWatcher watcher(loop(), {SIGUSR1, number}, [](int) {});
      ADD_FAILURE() << number << " was accepted";
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), std::errc::invalid_argument);
      EXPECT_NE(std::string(e.what()).find("signal " + std::to_string(number)), std::string::npos)
          << e.what();
    }
    EXPECT_TRUE(is_default(SIGUSR1)) << "nothing is left of a watcher that was refused";
  }
}

TEST_F(SignalWatcherTest, LeavesNothingBehindWhenTheProcessIsOutOfDescriptors) {
  const auto held = std::make_shared<int>(0);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  std::error_code why;
  try {
    const SignalWatcher watcher(loop(), {SIGUSR1}, [held](int) {});
  } catch (const std::system_error& e) {
    why = e.code();
  }
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(why, std::errc::too_many_files_open);
  EXPECT_TRUE(is_default(SIGUSR1));
  EXPECT_EQ(held.use_count(), 1);
  int calls = 0;
  const SignalWatcher watcher(loop(), {SIGUSR1}, [&](int) { ++calls; });
  ::raise(SIGUSR1);
  turns(1);
  EXPECT_EQ(calls, 1);
}

TEST_F(SignalWatcherTest, LeavesNothingBehindWhenEpollHasNoRoom) {
  const auto before = open_descriptors();
  Faults faults;
  faults.on(Call::epoll_ctl, Fault::fail(ENOSPC));
  EXPECT_THROW(SignalWatcher(loop(), {SIGUSR1}, [](int) {}), std::system_error);
  EXPECT_TRUE(is_default(SIGUSR1));
  EXPECT_EQ(open_descriptors(), before);
  int calls = 0;
  const SignalWatcher watcher(loop(), {SIGUSR1}, [&](int) { ++calls; });
  ::raise(SIGUSR1);
  turns(1);
  EXPECT_EQ(calls, 1);
}

TEST_F(SignalWatcherTest, MovesWithItsCallback) {
  int calls = 0;
  SignalWatcher first(loop(), {SIGUSR1}, [&](int) { ++calls; });
  SignalWatcher second = std::move(first);
  SignalWatcher& same = second;
  second = std::move(same);
  ::raise(SIGUSR1);
  turns(1);
  EXPECT_EQ(calls, 1);
}

TEST_F(SignalWatcherTest, TakesTheWatchOfOneThatIsMovedIntoIt) {
  int old_calls = 0;
  int new_calls = 0;
  SignalWatcher watcher(loop(), {SIGUSR1}, [&](int) { ++old_calls; });
  watcher = SignalWatcher(loop(), {SIGUSR1}, [&](int) { ++new_calls; });
  ::raise(SIGUSR1);
  turns(1);
  EXPECT_EQ(old_calls, 0);
  EXPECT_EQ(new_calls, 1);
}

TEST_F(SignalWatcherTest, OneThatGoesInAnotherThreadLeavesThatThreadsMaskAlone) {
  auto own = std::make_unique<EventLoop>();
  std::unique_ptr<SignalWatcher> foreign;
  std::thread([&] {
    const Blocked blocked(SIGUSR1);
    foreign =
        std::make_unique<SignalWatcher>(*own, std::initializer_list<int>{SIGUSR1}, [](int) {});
  }).join();
  foreign.reset();
  own.reset();
  EXPECT_FALSE(is_blocked(SIGUSR1));
  int calls = 0;
  const SignalWatcher watcher(loop(), {SIGUSR1}, [&](int) { ++calls; });
  ::raise(SIGUSR1);
  turns(1);
  EXPECT_EQ(calls, 1);
}

TEST_F(SignalWatcherTest, OneThatGoesInAnotherThreadDoesNotMakeThatThreadsOwnDeaf) {
  auto own = std::make_unique<EventLoop>();
  std::unique_ptr<SignalWatcher> foreign;
  std::thread([&] {
    foreign =
        std::make_unique<SignalWatcher>(*own, std::initializer_list<int>{SIGUSR1}, [](int) {});
  }).join();
  const Blocked blocked(SIGUSR1);
  int calls = 0;
  {
    const SignalWatcher watcher(loop(), {SIGUSR1}, [&](int) { ++calls; });
    foreign.reset();
    own.reset();
    EXPECT_FALSE(is_blocked(SIGUSR1));
    ::raise(SIGUSR1);
    turns(1);
  }
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(is_blocked(SIGUSR1));
}

TEST_F(SignalWatcherTest, LetsGoOfItsCallback) {
  const auto held = std::make_shared<int>(0);
  {
    const SignalWatcher watcher(loop(), {SIGUSR1}, [held](int) {});
  }
  turns(1);
  EXPECT_EQ(held.use_count(), 1);
}

struct SignalWatcherDeathTest : SignalWatcherTest {
  SignalWatcherDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(SignalWatcherDeathTest, WithoutACallbackAborts) {
  EXPECT_DEATH(SignalWatcher(loop(), {SIGUSR1}, nullptr), "a SignalWatcher needs a callback");
}

}  // namespace
}  // namespace millrace::test
