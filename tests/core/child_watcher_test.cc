// How children end, as ChildWatcher tells it: real processes of this one.
#include <millrace/child_watcher.h>
#include <millrace/error.h>

#include "support/signal_test.h"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace millrace::test {
namespace {

constexpr char kReady = 'r';

// A pipe between a child and us.
struct Pipe {
  Pipe() {
    if (::pipe(ends) != 0) throw std::runtime_error("pipe");
  }
  ~Pipe() {
    ::close(ends[0]);
    close_writing();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  void close_writing() {
    if (ends[1] >= 0) ::close(std::exchange(ends[1], -1));
  }
  void tell() const { EXPECT_EQ(::write(ends[1], &kReady, 1), 1); }
  // Waits until the other side has told, or has closed.
  void hear() const {
    char byte = 0;
    [[maybe_unused]] const auto n = ::read(ends[0], &byte, 1);
  }
  int ends[2] = {-1, -1};
};

// A child that waits for the end of its `act`; its result is the exit status.
pid_t start(const std::function<int()>& act) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(act());
  return child;
}

pid_t start_sleeper() {
  return start([] {
    ::signal(SIGUSR1, SIG_DFL);
    for (;;) ::pause();
    return 0;
  });
}

bool is_zombie_or_gone(pid_t child) {
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT | WNOHANG) != 0 ||
         info.si_pid == child;
}

void await_zombie(pid_t child) {
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
}

bool is_reaped(pid_t child) {
  return ::waitpid(child, nullptr, WNOHANG) == -1 && errno == ECHILD;
}

struct ChildWatcherTest : SignalTest {
  // What is told of it, once.
  ChildExit end_of(pid_t child) {
    std::vector<ChildExit> told;
    const ChildWatcher watcher(loop(), child, [&](const ChildExit& how) { told.push_back(how); });
    EXPECT_TRUE(run_until([&] { return !told.empty(); }));
    run_for(5ms);
    EXPECT_EQ(told.size(), 1u);
    return told.at(0);
  }
};

TEST_F(ChildWatcherTest, TellsTheExitStatusAndReaps) {
  for (const int status : {0, 1, 255}) {
    const pid_t child = start([&] { return status; });
    const ChildExit how = end_of(child);
    EXPECT_FALSE(how.error);
    EXPECT_EQ(how.pid, child);
    EXPECT_EQ(how.status, status);
    EXPECT_EQ(how.signal, 0);
    EXPECT_EQ(how.succeeded(), status == 0);
    EXPECT_EQ(how.to_string(), "exited with status " + std::to_string(status));
    EXPECT_TRUE(is_reaped(child));
  }
}

TEST_F(ChildWatcherTest, TellsTheSignalThatEndedIt) {
  const pid_t child = start_sleeper();
  ::kill(child, SIGKILL);
  const ChildExit how = end_of(child);
  EXPECT_EQ(how.signal, SIGKILL);
  EXPECT_EQ(how.status, 0);
  EXPECT_FALSE(how.core_dumped);
  EXPECT_FALSE(how.succeeded());
  EXPECT_EQ(how.to_string(), "killed by signal 9");
}

TEST_F(ChildWatcherTest, SaysWhetherACoreWasDumped) {
  const ChildExit dumped{.signal = SIGSEGV, .core_dumped = true};
  EXPECT_EQ(dumped.to_string(), "killed by signal 11, core dumped");
  char directory[] = "/tmp/millrace-core-XXXXXX";
  ASSERT_NE(::mkdtemp(directory), nullptr);
  int status = 0;
  const auto crash = [&] {
    if (::chdir(directory) != 0) return 1;
    const rlimit most{1 << 20, 1 << 20};
    ::setrlimit(RLIMIT_CORE, &most);
    ::signal(SIGQUIT, SIG_DFL);
    ::raise(SIGQUIT);
    return 1;
  };
  // What this system does with cores, waitpid() says.
  const pid_t first = start(crash);
  ASSERT_EQ(::waitpid(first, &status, 0), first);
  const ChildExit how = end_of(start(crash));
  EXPECT_EQ(how.signal, SIGQUIT);
  EXPECT_EQ(how.core_dumped, WCOREDUMP(status) != 0);
  std::filesystem::remove_all(directory);
}

TEST_F(ChildWatcherTest, TellsWhatItUsed) {
  const ChildExit how = end_of(start([] {
    const std::vector<char> memory(8 << 20, 'x');
    while (std::clock() < CLOCKS_PER_SEC / 50) {  // the time that it has used
    }
    return 0;
  }));
  EXPECT_GE(how.user_time + how.system_time, 15ms);
  EXPECT_GT(how.most_memory_bytes, 8u << 20);
}

TEST_F(ChildWatcherTest, OneThatHasEndedBeforeItWasWatchedIsToldFromTheLoop) {
  const pid_t child = start([] { return 3; });
  await_zombie(child);
  int calls = 0;
  const ChildWatcher watcher(loop(), child, [&](const ChildExit& how) {
    ++calls;
    EXPECT_EQ(how.status, 3);
  });
  EXPECT_EQ(calls, 0);
  run_for(5ms);
  EXPECT_EQ(calls, 1);
}

TEST_F(ChildWatcherTest, ALoopThatWaitsForAChildSleeps) {
  const pid_t child = start_sleeper();
  const ChildWatcher watcher(loop(), child, [](const ChildExit&) {});
  EXPECT_LE(run_for(30ms), 3u);
  ::kill(child, SIGKILL);
  EXPECT_TRUE(run_until([&] { return is_reaped(child); }));
  EXPECT_LE(run_for(30ms), 3u) << "and afterwards";
}

TEST_F(ChildWatcherTest, ManyAreToldEachOnceWhateverTheirOrder) {
  constexpr int kChildren = 50;
  std::vector<ChildWatcher> watchers;
  std::vector<int> calls(kChildren);
  Pipe go;
  for (int i = 0; i < kChildren; ++i) {
    const pid_t child = start([&] {
      go.close_writing();
      go.hear();
      return i;
    });
    watchers.emplace_back(loop(), child, [&calls, i](const ChildExit& how) {
      ++calls[static_cast<std::size_t>(i)];
      EXPECT_EQ(how.status, i);
    });
  }
  go.close_writing();
  EXPECT_TRUE(run_until([&] { return calls == std::vector<int>(kChildren, 1); }));
  run_for(5ms);
  EXPECT_EQ(calls, std::vector<int>(kChildren, 1));
}

TEST_F(ChildWatcherTest, OtherChildrenAreNotWaitedFor) {
  const pid_t other = start([] { return 7; });
  const pid_t child = start([] { return 0; });
  EXPECT_TRUE(end_of(child).succeeded());
  int status = 0;
  EXPECT_EQ(::waitpid(other, &status, 0), other);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST_F(ChildWatcherTest, RefusesWhatIsNoChildOfThisProcessByName) {
  const pid_t gone = start([] { return 0; });
  ::waitpid(gone, nullptr, 0);
  const auto refusal = [&](int pid) {
    try {
      const ChildWatcher watcher(loop(), pid, [](const ChildExit&) { FAIL(); });
    } catch (const std::system_error& e) {
      EXPECT_NE(std::string(e.what()).find("process " + std::to_string(pid)), std::string::npos)
          << e.what();
      return e.code();
    }
    return std::error_code();
  };
  EXPECT_EQ(refusal(::getppid()), std::errc::no_child_process);
  EXPECT_EQ(refusal(::getpid()), std::errc::no_child_process);
  EXPECT_EQ(refusal(gone), std::errc::no_such_process);
  EXPECT_EQ(refusal(0), std::errc::invalid_argument);
  EXPECT_EQ(refusal(-1), std::errc::invalid_argument);
  run_for(1ms);
}

TEST_F(ChildWatcherTest, ADescriptorThatIsNoPidfdIsRefusedAndClosed) {
  try {
    const ChildWatcher watcher(loop(), UniqueFd(::dup(0)), [](const ChildExit&) { FAIL(); });
    ADD_FAILURE() << "accepted";
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), std::errc::bad_file_descriptor);
  }
  EXPECT_THROW(ChildWatcher(loop(), UniqueFd(), [](const ChildExit&) {}), std::system_error);
}

TEST_F(ChildWatcherTest, LeavesNothingBehindWhenEpollHasNoRoom) {
  const pid_t child = start([] { return 0; });
  {
    Faults faults;
    faults.on(Call::epoll_ctl, Fault::fail(ENOSPC));
    EXPECT_THROW(ChildWatcher(loop(), child, [](const ChildExit&) {}), std::system_error);
  }
  EXPECT_TRUE(end_of(child).succeeded()) << "it can be watched later";
}

TEST_F(ChildWatcherTest, TakesAPidfd) {
  const pid_t child = start_sleeper();
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  ASSERT_TRUE(pidfd);
  std::optional<ChildExit> told;
  ChildWatcher watcher(loop(), std::move(pidfd), [&](const ChildExit& how) { told = how; });
  EXPECT_EQ(watcher.pid(), 0);
  EXPECT_FALSE(watcher.send_signal(SIGTERM));
  EXPECT_TRUE(run_until([&] { return told.has_value(); }));
  EXPECT_EQ(told->pid, child);
  EXPECT_EQ(watcher.pid(), child);
  EXPECT_EQ(told->signal, SIGTERM);
}

TEST_F(ChildWatcherTest, TakesAChildWhoseEndRaisesNoSignal) {
  // As clone(2) makes it without SIGCHLD among its flags.
  const auto child = static_cast<pid_t>(::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, 0));
  if (child == 0) ::_exit(9);
  EXPECT_EQ(end_of(child).status, 9);
}

TEST_F(ChildWatcherTest, SendsASignalToItsChildAndToNobodyAfterItsEnd) {
  const pid_t child = start_sleeper();
  int calls = 0;
  ChildWatcher watcher(loop(), child, [&](const ChildExit& how) {
    ++calls;
    EXPECT_EQ(how.signal, SIGUSR1);
    EXPECT_EQ(watcher.send_signal(SIGKILL), std::errc::no_such_process);
  });
  EXPECT_EQ(watcher.pid(), child);
  EXPECT_EQ(watcher.send_signal(999), std::errc::invalid_argument);
  EXPECT_FALSE(watcher.send_signal(0));
  EXPECT_FALSE(watcher.send_signal(SIGUSR1));
  EXPECT_TRUE(run_until([&] { return calls == 1; }));
  EXPECT_EQ(watcher.send_signal(SIGKILL), std::errc::no_such_process);
  ChildWatcher moved = std::move(watcher);
  EXPECT_EQ(watcher.send_signal(SIGKILL), std::errc::no_such_process);
  EXPECT_EQ(watcher.pid(), 0);
}

TEST_F(ChildWatcherTest, ASignalToOneThatHasEndedAndWasNotToldYetIsInVain) {
  const pid_t child = start([] { return 3; });
  std::optional<ChildExit> told;
  ChildWatcher watcher(loop(), child, [&](const ChildExit& how) { told = how; });
  siginfo_t info;
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(watcher.send_signal(SIGKILL));
  EXPECT_TRUE(run_until([&] { return told.has_value(); }));
  EXPECT_EQ(told->status, 3);
  EXPECT_EQ(told->signal, 0);
  EXPECT_EQ(watcher.send_signal(SIGKILL), std::errc::no_such_process);
}

TEST_F(ChildWatcherTest, SaysSoWhenSigchldIsIgnored) {
  for (const bool by_flag : {false, true}) {
    struct sigaction before {};
    struct sigaction ignore {};
    ignore.sa_handler = by_flag ? SIG_DFL : SIG_IGN;
    if (by_flag) ignore.sa_flags = SA_NOCLDWAIT;
    ::sigaction(SIGCHLD, &ignore, &before);
    const pid_t child = start_sleeper();
    std::optional<ChildExit> told;
    ChildWatcher watcher(loop(), child, [&](const ChildExit& how) { told = how; });
    watcher.send_signal(SIGKILL);
    EXPECT_TRUE(run_until([&] { return told.has_value(); }));
    ::sigaction(SIGCHLD, &before, nullptr);
    EXPECT_EQ(told->error, error::child_ignored);
    EXPECT_EQ(told->pid, child);
    EXPECT_FALSE(told->succeeded());
    EXPECT_NE(told->to_string().find("SIGCHLD is ignored"), std::string::npos);
  }
}

TEST_F(ChildWatcherTest, SaysSoWhenSomebodyElseHasWaitedForIt) {
  const pid_t child = start([] { return 0; });
  std::vector<ChildExit> told;
  const ChildWatcher watcher(loop(), child, [&](const ChildExit& how) { told.push_back(how); });
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(run_until([&] { return !told.empty(); }));
  run_for(5ms);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].error, error::child_reaped);
  EXPECT_EQ(told[0].pid, child);
}

TEST_F(ChildWatcherTest, TwoOfOneChildOneOfThemIsToldHow) {
  const pid_t child = start([] { return 4; });
  int known = 0, unknown = 0;
  const auto count = [&](const ChildExit& how) { ++(how.error ? unknown : known); };
  const ChildWatcher one(loop(), child, count);
  const ChildWatcher two(loop(), child, count);
  EXPECT_TRUE(run_until([&] { return known + unknown == 2; }));
  EXPECT_EQ(known, 1);
}

TEST_F(ChildWatcherTest, AChildWhoseWatcherGoesRunsOnAndCanBeWatchedAgain) {
  const pid_t child = start_sleeper();
  {
    const ChildWatcher watcher(loop(), child, [](const ChildExit&) { FAIL(); });
  }
  run_for(5ms);
  EXPECT_FALSE(is_zombie_or_gone(child));
  ::kill(child, SIGKILL);
  await_zombie(child);
  EXPECT_EQ(end_of(child).signal, SIGKILL);
}

TEST_F(ChildWatcherTest, OneThatIsDestroyedWithTheEndAlreadyThereIsNotCalled) {
  const pid_t first = start([] { return 0; });
  const pid_t second = start([] { return 0; });
  await_zombie(first);
  await_zombie(second);
  // In one batch: whoever comes first destroys the other.
  std::optional<ChildWatcher> one, two;
  int calls = 0;
  one.emplace(loop(), first, [&](const ChildExit&) {
    ++calls;
    two.reset();
  });
  two.emplace(loop(), second, [&](const ChildExit&) {
    ++calls;
    one.reset();
  });
  run_for(5ms);
  EXPECT_EQ(calls, 1);
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
}

TEST_F(ChildWatcherTest, IsDestroyedMovedAndReplacedInItsOwnCallback) {
  std::optional<ChildWatcher> watcher;
  std::vector<std::string> told;
  watcher.emplace(loop(), start([] { return 1; }),
                  [&, kept = std::string(100, 'k')](const ChildExit& how) {
                    told.push_back(how.to_string());
                    watcher.emplace(loop(), start([] { return 2; }), [&](const ChildExit& next) {
                      told.push_back(next.to_string());
                      const ChildWatcher moved = std::move(*watcher);
                      watcher.reset();
                    });
                    EXPECT_EQ(kept, std::string(100, 'k')) << "what the callback holds lives on";
                  });
  EXPECT_TRUE(run_until([&] { return told.size() == 2; }));
  EXPECT_EQ(told, (std::vector<std::string>{"exited with status 1", "exited with status 2"}));
  EXPECT_FALSE(watcher);
}

TEST_F(ChildWatcherTest, TakesTheWatchOfOneThatIsMovedIntoIt) {
  const pid_t first = start([] { return 1; });
  std::vector<int> told;
  ChildWatcher watcher(loop(), first, [&](const ChildExit&) { FAIL(); });
  watcher = ChildWatcher(loop(), start([] { return 2; }),
                         [&](const ChildExit& how) { told.push_back(how.status); });
  ChildWatcher& same = watcher;
  watcher = std::move(same);
  EXPECT_TRUE(run_until([&] { return !told.empty(); }));
  EXPECT_EQ(told, std::vector<int>{2});
  ::waitpid(first, nullptr, 0);
}

TEST_F(ChildWatcherTest, WhatACallbackThrowsGoesToTheHook) {
  std::vector<std::string> kinds;
  loop().set_exception_hook(
      [&](std::exception_ptr, std::string_view kind) { kinds.emplace_back(kind); });
  const pid_t child = start([] { return 0; });
  const ChildWatcher watcher(loop(), child,
                             [](const ChildExit&) { throw std::runtime_error("asked for"); });
  EXPECT_TRUE(run_until([&] { return !kinds.empty(); }));
  EXPECT_EQ(kinds, std::vector<std::string>{"child"});
  EXPECT_TRUE(is_reaped(child));
}

// A child that another process traces is a zombie before it is ours to reap.
TEST_F(ChildWatcherTest, WaitsForADebuggerWithoutSpinning) {
  Pipe traced, go;
  const pid_t child = start_sleeper();
  const pid_t tracer = start([&] {
    if (::ptrace(PTRACE_SEIZE, child, nullptr, nullptr) != 0) return 1;
    ::kill(child, SIGKILL);
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT | __WALL);
    go.close_writing();
    traced.tell();
    go.hear();  // until then it does not let go
    return 0;
  });
  traced.close_writing();
  traced.hear();
  std::optional<ChildExit> told;
  const ChildWatcher watcher(loop(), child, [&](const ChildExit& how) { told = how; });
  EXPECT_LE(run_for(100ms), 20u);
  const bool waited = !told;
  go.close_writing();
  int status = 0;
  ::waitpid(tracer, &status, 0);
  if (WEXITSTATUS(status) != 0) {
    ::kill(child, SIGKILL);
    run_until([&] { return told.has_value(); });
    GTEST_SKIP() << "ptrace is not allowed here";
  }
  EXPECT_TRUE(waited) << "told while the debugger had not seen it";
  EXPECT_TRUE(run_until([&] { return told.has_value(); }));
  EXPECT_EQ(told->signal, SIGKILL);
}

TEST_F(ChildWatcherTest, AForkedCopyOfTheLoopSaysThatItIsNotItsChild) {
  auto own = std::make_unique<EventLoop>();
  const pid_t child = start_sleeper();
  std::optional<ChildExit> told;
  std::optional<ChildWatcher> watcher;
  watcher.emplace(*own, child, [&](const ChildExit& how) { told = how; });
  Pipe ready;
  const pid_t copy = start([&] {
    own->reinit_after_fork();
    ready.tell();
    const auto end = Clock::now() + 10s;
    while (!told && Clock::now() < end) own->run_once(10ms);
    return told && told->error == error::child_reaped ? 0 : 1;
  });
  ready.hear();
  watcher->send_signal(SIGKILL);
  const auto end = Clock::now() + 10s;
  while (!told && Clock::now() < end) own->run_once(10ms);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->signal, SIGKILL) << "the copy has taken it away";
  EXPECT_TRUE(end_of(copy).succeeded());
  watcher.reset();
}

TEST_F(ChildWatcherTest, LoopsInManyThreadsEachHearOfTheirChildren) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([i] {
      EventLoop own;
      int left = 20;
      std::optional<ChildWatcher> watcher;
      std::function<void()> next = [&] {
        watcher.emplace(own, start([&] { return i * 20 + left; }), [&](const ChildExit& how) {
          EXPECT_EQ(how.status, i * 20 + left);
          if (--left == 0) return own.stop();
          next();
        });
      };
      next();
      own.run();
      EXPECT_EQ(left, 0);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

struct ChildWatcherDeathTest : ChildWatcherTest {
  ChildWatcherDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(ChildWatcherDeathTest, WithoutACallbackAborts) {
  EXPECT_DEATH({ const ChildWatcher watcher(loop(), start([] { return 0; }), nullptr); },
               "a ChildWatcher needs a callback");
}

}  // namespace
}  // namespace millrace::test
