// fork(): what a child may do with the loop it inherits, and that the parent does not notice.
#include <millrace/event_loop.h>
#include <millrace/io_watcher.h>
#include <millrace/signal_watcher.h>

#include "loop_core.h"
#include "support/loop_test.h"
#include "support/process.h"
#include "support/signal_test.h"
#include "support/socket_pair.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <semaphore>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

namespace millrace::test {
namespace {

// What fork() does last before it forks (handlers that were there first are called last), where it
// takes the locks of malloc.
std::function<void()> at_fork;
[[maybe_unused]] const int watching_forks = ::pthread_atfork(
    [] {
      if (const auto act = std::exchange(at_fork, nullptr)) act();
    },
    nullptr, nullptr);

// The loop is the test's own, so that the child can destroy its copy.
class ForkTest : public LoopTest {
 protected:
  void SetUp() override {
    LoopTest::SetUp();
    ours = std::make_unique<EventLoop>();
  }
  void TearDown() override {
    ours.reset();
    LoopTest::TearDown();
  }

  // Runs `act` in a child; its result, false too when it throws, is the child's exit status.
  static pid_t start_child(const std::function<bool()>& act) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    bool good = false;
    try {
      good = act();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "in the child: %s\n", e.what());
    }
    ::_exit(good ? 0 : 1);
  }
  static bool succeeded(pid_t child) {
    int status = -1;
    return ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  static bool in_child(const std::function<bool()>& act) { return succeeded(start_child(act)); }

  // As LoopTest's, for the loop under test.
  static bool run_until(EventLoop& loop, const std::function<bool()>& done) {
    const auto end = Clock::now() + 10s;
    while (!done()) {
      if (Clock::now() > end) return false;
      loop.run_once(10ms);
    }
    return true;
  }

  std::unique_ptr<EventLoop> ours;
};

TEST_F(ForkTest, AChildThatDestroysItsCopyDoesNotDisturbTheParent) {
  SocketPair pair;
  std::string received;
  auto watcher = std::make_unique<IoWatcher>(*ours, pair.ours(), Interest::read,
                                             [&](IoEvents) { received += pair.receive(); });
  bool fired = false;
  auto timer = std::make_unique<Timer>(ours->after(50ms, [&] { fired = true; }));
  ours->post([] {});
  ours->run_once(0ms);
  static_cast<void>(ours->next_timeout());  // the kernel's timer is set, and the loop asleep
  ours->post([] {});
  EXPECT_TRUE(in_child([&] {
    watcher.reset();
    timer.reset();
    ours.reset();
    return true;
  }));
  pair.send("still there");
  EXPECT_TRUE(run_until(*ours, [&] { return fired && !received.empty(); }));
  EXPECT_EQ(received, "still there");
  watcher.reset();
}

TEST_F(ForkTest, AChildThatClosesWhatTheParentWatchesDoesNotSilenceIt) {
  SocketPair pair;
  std::string received;
  std::optional<IoWatcher> watcher(std::in_place, *ours, pair.ours(), Interest::read,
                                   [&](IoEvents) { received += pair.receive(); });
  EXPECT_TRUE(in_child([&] {
    watcher.reset();
    pair.close_ours();
    pair.close_peer();
    return true;
  }));
  pair.send("x");
  EXPECT_TRUE(run_until(*ours, [&] { return received == "x"; }));
  watcher.reset();
}

TEST_F(ForkTest, AChildThatDestroysItsSignalWatchersDoesNotMakeTheParentDeaf) {
  int ones = 0, twos = 0;
  std::optional<SignalWatcher> one, two;
  one.emplace(*ours, std::initializer_list<int>{SIGUSR1}, [&](int) { ++ones; });
  two.emplace(*ours, std::initializer_list<int>{SIGUSR2}, [&](int) { ++twos; });
  ours->run_once(0ms);
  EXPECT_TRUE(in_child([&] {
    two.reset();
    one.reset();
    return true;
  }));
  ::raise(SIGUSR1);
  ::raise(SIGUSR2);
  EXPECT_TRUE(run_until(*ours, [&] { return ones == 1 && twos == 1; }));
  two.reset();
  one.reset();
}

TEST_F(ForkTest, AChildThatHasNotTakenTheLoopOverDiesOfASignalAsItWouldWithoutWatchers) {
  int calls = 0;
  std::optional<SignalWatcher> watcher;
  watcher.emplace(*ours, std::initializer_list<int>{SIGTERM}, [&](int) { ++calls; });
  for (const bool destroys : {false, true}) {
    const pid_t child = start_child([&] {
      if (destroys) watcher.reset();
      ::raise(SIGTERM);
      return true;
    });
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) << status;
  }
  ours->run_once(0ms);
  EXPECT_EQ(calls, 0) << "a signal to the child was told to the parent";
  ::raise(SIGTERM);
  EXPECT_TRUE(run_until(*ours, [&] { return calls == 1; }));
  watcher.reset();
}

// It runs in the memory of its parent.
TEST_F(ForkTest, ASignalToAChildOfVforkEndsItAndTouchesNothingOfTheParent) {
  int calls = 0;
  std::optional<SignalWatcher> watcher;
  watcher.emplace(*ours, std::initializer_list<int>{SIGTERM}, [&](int) { ++calls; });
  const pid_t child = ::vfork();
  if (child == 0) {
    ::raise(SIGTERM);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM) << status;
  ours->run_once(0ms);
  EXPECT_EQ(calls, 0);
  ::raise(SIGTERM);
  EXPECT_TRUE(run_until(*ours, [&] { return calls == 1; }));
  watcher.reset();
}

TEST_F(ForkTest, AfterReinitEachProcessHearsItsOwnSignalsOnly) {
  SocketPair from_child, to_child;
  int ones = 0;
  std::optional<SignalWatcher> watcher;
  watcher.emplace(*ours, std::initializer_list<int>{SIGUSR1}, [&](int) { ++ones; });
  ::raise(SIGUSR1);  // waits in both
  const pid_t child = start_child([&] {
    ours->reinit_after_fork();
    ours->run_once(0ms);
    if (ones != 0) return false;  // it was the parent's
    int twos = 0;
    std::optional<SignalWatcher> two;
    two.emplace(*ours, std::initializer_list<int>{SIGUSR2, SIGUSR1},
                [&](int n) { twos += n == SIGUSR2; });
    from_child.send("r");
    if (!run_until(*ours, [&] { return ones == 1 && twos == 1; })) return false;
    two.reset();
    watcher.reset();
    return true;
  });
  EXPECT_TRUE(run_until(*ours, [&] { return ones == 1; }));
  ASSERT_TRUE(run_until(*ours, [&] { return from_child.receive() == "r"; }));
  ::kill(child, SIGUSR1);
  ::kill(child, SIGUSR2);
  EXPECT_TRUE(succeeded(child));
  ours->run_once(0ms);
  EXPECT_EQ(ones, 1) << "what the child was told";
  ::raise(SIGUSR1);
  EXPECT_TRUE(run_until(*ours, [&] { return ones == 2; }));
  watcher.reset();
}

TEST_F(ForkTest, AfterReinitASignalToTheChildDoesNotWakeTheParent) {
  std::optional<SignalWatcher> watcher;
  watcher.emplace(*ours, std::initializer_list<int>{SIGUSR1}, [](int) {});
  EXPECT_TRUE(in_child([&] {
    ours->reinit_after_fork();
    ::raise(SIGUSR1);
    return true;
  }));
  pollfd woken{ours->backend_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&woken, 1, 0), 0) << "the child has woken its parent";
  watcher.reset();
}

TEST_F(ForkTest, AChildWatchesSignalsWithALoopOfItsOwn) {
  int parents = 0;
  std::optional<SignalWatcher> watcher;
  watcher.emplace(*ours, std::initializer_list<int>{SIGUSR1, SIGUSR2}, [&](int) { ++parents; });
  EXPECT_TRUE(in_child([&] {
    EventLoop fresh;
    int calls = 0;
    std::optional<SignalWatcher> own;
    own.emplace(fresh, std::initializer_list<int>{SIGUSR1}, [&](int) { ++calls; });
    ::raise(SIGUSR1);
    if (!run_until(fresh, [&] { return calls == 1; }) || parents != 0) return false;
    own.reset();
    return is_default(SIGUSR1);
  }));
  ours->run_once(0ms);
  EXPECT_EQ(parents, 0);
  watcher.reset();
}

// Threads in which signals arrive all the time, while this one forks. (They allocate nothing: a
// child may find that locked.)
TEST_F(ForkTest, AForkWhileSignalsArriveInOtherThreadsLeavesTheChildUsable) {
  std::optional<SignalWatcher> watcher;
  watcher.emplace(*ours, std::initializer_list<int>{SIGUSR1}, [](int) {});
  std::atomic<bool> going{true};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (going) ::raise(SIGUSR1);
    });
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(in_child([&] {
      EventLoop fresh;
      int calls = 0;
      std::optional<SignalWatcher> own;
      own.emplace(fresh, std::initializer_list<int>{SIGUSR2}, [&](int) { ++calls; });
      ::raise(SIGUSR2);
      return run_until(fresh, [&] { return calls == 1; });
    }));
  }
  going = false;
  for (std::thread& thread : threads) thread.join();
  watcher.reset();
}

// It may be in malloc, whose locks fork() waits for: were it held up until fork() is done, neither
// would go on.
TEST_F(ForkTest, AForkHoldsUpNoThreadThatASignalInterrupts) {
  int calls = 0;
  std::optional<SignalWatcher> watcher;
  watcher.emplace(*ours, std::initializer_list<int>{SIGUSR1}, [&](int) { ++calls; });
  std::binary_semaphore ready{0};
  std::binary_semaphore back{0};
  std::binary_semaphore done{0};
  std::thread other([&] {
    sigset_t one;
    sigset_t before;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    ::pthread_sigmask(SIG_BLOCK, &one, &before);
    ready.release();
    ::sigsuspend(&before);  // until the handler has returned
    back.release();
    done.acquire();  // it is there while the child is: one that has ended looks leaked in it
  });
  ready.acquire();
  bool held_up = false;
  at_fork = [&] {
    ::pthread_kill(other.native_handle(), SIGUSR1);
    held_up = !back.try_acquire_for(5s);
  };
  EXPECT_TRUE(in_child([] { return true; }));
  EXPECT_FALSE(held_up);
  done.release();
  other.join();
  EXPECT_TRUE(run_until(*ours, [&] { return calls == 1; }));
  watcher.reset();
}

TEST_F(ForkTest, AChildThatRunsTheLoopAsItIsIsRefused) {
  SocketPair pair;
  pair.send("x");
  int calls = 0;
  std::optional<IoWatcher> watcher(std::in_place, *ours, pair.ours(), Interest::read,
                                   [&](IoEvents) { ++calls; });
  ours->post([&] { ++calls; });
  EXPECT_TRUE(in_child([&] {
    int refused = 0;
    for (const auto& run : {std::function<void()>([&] { ours->run(); }),
                            std::function<void()>([&] { ours->run_once(0ms); }),
                            std::function<void()>([&] { ours->run_for(0ms); })}) {
      try {
        run();
      } catch (const std::logic_error&) {
        ++refused;
      }
    }
    watcher.reset();
    return refused == 3 && calls == 0;
  }));
  ours->run_once(0ms);
  EXPECT_EQ(calls, 2);
  watcher.reset();
}

TEST_F(ForkTest, AChildThatWatchesWithTheParentsLoopIsStopped) {
  SocketPair pair, other;
  std::optional<IoWatcher> watcher(std::in_place, *ours, pair.ours(), Interest::read,
                                   [](IoEvents) {});
  EXPECT_DEATH(IoWatcher(*ours, other.ours(), Interest::read, [](IoEvents) {}),
               "this loop belongs to the parent process");
  EXPECT_DEATH(watcher->set_interest(Interest::none), "this loop belongs to the parent process");
  watcher.reset();
}

TEST_F(ForkTest, AfterReinitTheChildHearsWhatItWatchedThoughTheParentStopped) {
  SocketPair pair, ready;
  std::string received;
  std::optional<IoWatcher> watcher(std::in_place, *ours, pair.ours(), Interest::read,
                                   [&](IoEvents) { received += pair.receive(); });
  const pid_t child = start_child([&] {
    ours->reinit_after_fork();
    ready.send("r");
    const bool heard = run_until(*ours, [&] { return received == "hi\n"; });
    watcher.reset();
    ours.reset();
    return heard;
  });
  ASSERT_TRUE(run_until(*ours, [&] { return ready.receive() == "r"; }));
  watcher.reset();
  pair.send("hi\n");
  EXPECT_TRUE(succeeded(child));
  EXPECT_EQ(received, "");
}

TEST_F(ForkTest, AReinitForWhichEpollHasNoRoomSaysSo) {
  SocketPair pair;
  const IoWatcher watcher(*ours, pair.ours(), Interest::read, [](IoEvents) {});
  for (const std::uint64_t taken : {0u, 1u, 2u}) {  // timer, wake-up, what was watched
    EXPECT_TRUE(in_child([&] {
      Faults faults;
      faults.on(Call::epoll_ctl, Fault::fail(ENOSPC), {.skip = taken});
      try {
        ours->reinit_after_fork();
        return false;
      } catch (const std::system_error& e) {
        return e.code() == std::error_code(ENOSPC, std::system_category());
      }
    })) << taken;
  }
}

TEST_F(ForkTest, AfterReinitWhatTheChildStopsWatchingTheParentStillWatches) {
  SocketPair pair;
  std::string received;
  std::optional<IoWatcher> watcher(std::in_place, *ours, pair.ours(), Interest::read,
                                   [&](IoEvents) { received += pair.receive(); });
  EXPECT_TRUE(in_child([&] {
    ours->reinit_after_fork();
    ours->run_once(0ms);
    watcher.reset();
    pair.close_ours();
    ours->run_once(0ms);
    return true;
  }));
  pair.send("x");
  EXPECT_TRUE(run_until(*ours, [&] { return received == "x"; }));
  watcher.reset();
}

TEST_F(ForkTest, AfterReinitTimersTasksAndInterestsAreTheChildsOwn) {
  SocketPair paused, writable;
  int paused_calls = 0, writable_calls = 0, fired = 0, tasks = 0;
  paused.send("x");
  std::optional<IoWatcher> paused_watcher(std::in_place, *ours, paused.ours(), Interest::none,
                                          [&](IoEvents) { ++paused_calls; });
  std::optional<IoWatcher> writable_watcher(std::in_place, *ours, writable.ours(), Interest::write,
                                            [&](IoEvents) { ++writable_calls; });
  Timer timer = ours->after(20ms, [&] { ++fired; });
  ours->post([&] { ++tasks; });
  EXPECT_TRUE(in_child([&] {
    ours->reinit_after_fork();
    timer.start(1ms);
    ours->post([&] { ++tasks; });
    const bool done =
        run_until(*ours, [&] { return fired == 1 && tasks == 2 && writable_calls > 0; });
    paused_watcher->set_interest(Interest::read);
    ours->run_once(0ms);
    const bool resumed = paused_calls == 1;
    paused_watcher.reset();
    writable_watcher.reset();
    return done && resumed;
  }));
  writable_watcher.reset();
  EXPECT_TRUE(run_until(*ours, [&] { return fired == 1; })) << "the child has set its timer";
  EXPECT_EQ(tasks, 1);
  EXPECT_EQ(paused_calls, 0);
  paused_watcher.reset();
}

TEST_F(ForkTest, AfterReinitTheChildsPostsWakeTheChildAndNotTheParent) {
  ASSERT_EQ(ours->next_timeout(), std::nullopt);  // asleep, in both processes
  EXPECT_TRUE(in_child([&] {
    ours->reinit_after_fork();
    if (ours->next_timeout() != std::nullopt) return false;
    bool ran = false;
    ours->ref().post([&] { ran = true; });
    pollfd woken{ours->backend_fd(), POLLIN, 0};
    if (::poll(&woken, 1, 10'000) != 1) return false;
    ours->run_once(0ms);
    return ran;
  }));
  pollfd woken{ours->backend_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&woken, 1, 0), 0) << "the child has woken its parent";
}

TEST_F(ForkTest, AChildMayBeginItsOwnLifeInsideACallback) {
  // The rest of the batch belongs to the parent's epoll instance; the child gets its events anew.
  constexpr int kPairs = 5;
  std::vector<SocketPair> pairs(kPairs);
  std::vector<IoWatcher> watchers;
  std::string received;
  bool is_child = false;
  pid_t child = -1;
  for (SocketPair& pair : pairs) {
    watchers.emplace_back(*ours, pair.ours(), Interest::read, [&](IoEvents) {
      if (child == -1) {
        child = ::fork();
        is_child = child == 0;
        if (is_child) ours->reinit_after_fork();
        if (!is_child) ours->stop();  // the child reads: the parent must not take it away
        return;
      }
      if (is_child) received += pair.receive();
    });
    pair.send("x");
  }
  ours->run_once(0ms);
  if (is_child) {
    const bool all = run_until(*ours, [&] { return received.size() == kPairs; });
    const bool none_stale = ours->stats().stale_events == 0;
    ::_exit(all && none_stale ? 0 : 1);
  }
  EXPECT_TRUE(succeeded(child));
  watchers.clear();
}

TEST_F(ForkTest, ALoopMadeInTheChildIsItsOwn) {
  EXPECT_TRUE(in_child([] {
    EventLoop fresh;
    bool fired = false;
    const Timer timer = fresh.after(1ms, [&] {
      fired = true;
      fresh.stop();
    });
    fresh.run();
    return fired;
  }));
}

TEST_F(ForkTest, AGrandchildNeedsAReinitOfItsOwn) {
  EXPECT_TRUE(in_child([&] {
    ours->reinit_after_fork();
    const bool refused = in_child([&] {
      try {
        ours->run_once(0ms);
        return false;
      } catch (const std::logic_error&) {
      }
      ours->reinit_after_fork();
      ours->run_once(0ms);
      return true;
    });
    ours->run_once(0ms);
    return refused;
  }));
}

// Owns what it watches, as a connection does.
class OwningTarget final : public IoTarget {
 public:
  OwningTarget(EventLoop& loop, int fd, int& calls) : IoTarget(loop), calls_(calls) {
    EXPECT_EQ(attach(fd, Interest::read), 0);
  }
  void close() {
    detach_and_close();
    bury();
  }

 private:
  void handle_io(IoEvents) override { ++calls_; }
  void handle_burial() noexcept override { loop().services().slab<OwningTarget>().destroy(this); }

  int& calls_;
};

TEST_F(ForkTest, WhatTheParentClosesIsSilentThoughAChildHoldsACopy) {
  SocketPair pair;
  int calls = 0;
  auto* target = ours->services().slab<OwningTarget>().make(*ours, pair.take_ours(), calls);
  const DescriptorCopies copies;
  target->close();
  pair.send("x");
  for (int i = 0; i < 3; ++i) ours->run_once(0ms);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(ours->stats().stale_events, 0u) << "the registration has outlived the descriptor";
}

}  // namespace
}  // namespace millrace::test
