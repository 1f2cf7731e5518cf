// Waiting with the kernel's clock: how long, what ends it, what interrupts it.
#include <millrace/event_loop.h>
#include <millrace/io_watcher.h>

#include "support/loop_test.h"
#include "support/socket_pair.h"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <ctime>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>

#include <sched.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

namespace millrace::test {
namespace {

struct WaitTest : LoopTest {};

TEST_F(WaitTest, RunOnceWaitsForAsLongAsItMayWhenNothingComes) {
  const TimePoint start = Clock::now();
  loop().run_once(20ms);
  EXPECT_GE(Clock::now() - start, 20ms);
  EXPECT_EQ(loop().stats().iterations, 1u);
}

TEST_F(WaitTest, RunOnceWaitsForLessThanAMillisecondWhenAskedTo) {
  const TimePoint start = Clock::now();
  loop().run_once(300us);
  EXPECT_GE(Clock::now() - start, 300us);
}

TEST_F(WaitTest, RunForRunsForItsTimeAndServesTimersMeanwhile) {
  int fired = 0;
  const Timer timer = loop().every(10ms, [&] { ++fired; });
  const TimePoint start = Clock::now();
  loop().run_for(55ms);
  EXPECT_GE(Clock::now() - start, 55ms);
  EXPECT_GE(static_cast<std::uint64_t>(fired) + timer.missed(), 5u);
}

TEST_F(WaitTest, TheLongestWaitsAreEndedByATimer) {
  const Timer timer = loop().every(5ms, [&] { loop().stop(); });
  loop().run_once(-1ms);
  loop().run_once(std::chrono::hours::max());
  loop().run_once(std::chrono::hours::min());
  loop().run_for(std::chrono::hours::max());
  loop().run();
}

TEST_F(WaitTest, AnIdleLoopSleeps) {
  SocketPair pair;
  const IoWatcher watcher(loop(), pair.ours(), Interest::read, [](IoEvents) {});
  EXPECT_LE(run_for(100ms), 2u);
}

TEST_F(WaitTest, ALoopThatHadWorkSleepsAgain) {
  loop().post([] {});
  loop().defer([] {});
  const Timer timer = loop().after(1ms, [] {});
  EXPECT_LE(run_for(100ms), 5u);
}

// Of this thread.
Duration processor_time() {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

struct BusyPollTest : testing::Test {
  // Longer than any test: what is found was found by looking.
  EventLoop looks{{.stall_threshold = Duration(0), .busy_poll = 1min}};
  EventLoop looks_briefly{{.stall_threshold = Duration(0), .busy_poll = 1ms}};
};

TEST_F(BusyPollTest, FindsATaskWithoutBeingWoken) {
  std::thread other([ref = looks.ref()] {
    for (int i = 0; i < 1000; ++i) ref.post([] {});
    ref.stop();
  });
  looks.run();
  other.join();
  EXPECT_EQ(looks.stats().wakeups_written, 0u);
}

TEST_F(BusyPollTest, FindsDescriptorsAndTimers) {
  SocketPair pair;
  std::string received;
  const IoWatcher watcher(looks, pair.ours(), Interest::read,
                          [&](IoEvents) { received += pair.receive(); });
  const TimePoint due = looks.now() + 5ms;
  TimePoint fired;
  const Timer timer = looks.after(5ms, [&] { fired = Clock::now(); });
  looks.run_once();
  EXPECT_GE(fired, due);
  pair.send("x");
  looks.run_once();
  EXPECT_EQ(received, "x");
}

TEST_F(BusyPollTest, LooksForNoLongerThanItMayWait) {
  const TimePoint start = Clock::now();
  looks.run_once(5ms);
  EXPECT_GE(Clock::now() - start, 5ms);
  looks.run_once(0ms);
  EXPECT_EQ(looks.stats().iterations, 2u);
}

TEST_F(BusyPollTest, SleepsWhenNothingWasFoundAndCountsTheTimeOfLooking) {
  const TimePoint start = Clock::now();
  const Duration used_before = processor_time();
  looks_briefly.run_once(200ms);
  EXPECT_GE(Clock::now() - start, 200ms);
  EXPECT_LT(processor_time() - used_before, 100ms);
  EXPECT_EQ(looks_briefly.stats().iterations, 1u);
}

TEST_F(WaitTest, AnInterruptedWaitLosesNothingAndFiresNothingEarly) {
  Faults faults;
  faults.on(Call::epoll_wait, Fault::fail(EINTR), {.times = 10});
  SocketPair pair;
  pair.send("x");
  std::string received;
  bool early = false, fired = false;
  const IoWatcher watcher(loop(), pair.ours(), Interest::read,
                          [&](IoEvents) { received += pair.receive(); });
  const TimePoint due = Clock::now() + 10ms;
  const Timer timer = loop().after(10ms, [&] {
    fired = true;
    early = Clock::now() < due;
  });
  EXPECT_TRUE(run_until([&] { return fired && !received.empty(); }));
  EXPECT_FALSE(early);
  EXPECT_EQ(received, "x");
  EXPECT_GE(faults.count(Call::epoll_wait), 11u);
}

TEST_F(WaitTest, AKernelWithoutTheNanosecondWaitIsServedByTheOtherOne) {
  for (const int refusal : {ENOSYS, EPERM}) {
    EventLoop other;
    Faults faults;
    faults.on(Call::epoll_wait, Fault::fail(refusal));
    const TimePoint start = Clock::now();
    other.run_once(20ms);
    EXPECT_GE(Clock::now() - start, 20ms);
    EXPECT_EQ(faults.count(Call::epoll_wait), 2u);
    other.run_once(1500us);
    EXPECT_EQ(faults.count(Call::epoll_wait), 3u) << "it is not tried again";
    const Timer timer = other.after(5ms, [&] { other.stop(); });
    other.run_for(std::chrono::hours::max());  // more milliseconds than that call can take
  }
}

using WaitDeathTest = WaitTest;

TEST_F(WaitDeathTest, ALoopWhoseDescriptorIsGoneStops) {
  EXPECT_DEATH(
      {
        EventLoop own;  // the fixture's belongs to the parent process
        Faults faults;
        faults.on(Call::epoll_wait, Fault::fail(EBADF));
        own.run_once(0ms);
      },
      "was the loop's descriptor closed");
}

// A handler that says stop() or nothing, on SIGALRM.
std::atomic<EventLoop*> stopped_by_signal{nullptr};
std::atomic<int> signals_seen{0};
static_assert(std::atomic<EventLoop*>::is_always_lock_free &&
              std::atomic<int>::is_always_lock_free);

class Alarms {
 public:
  // One after `first`, then one every `period` (zero: no more).
  Alarms(std::chrono::microseconds first, std::chrono::microseconds period) {
    signals_seen = 0;
    struct sigaction action {};
    action.sa_handler = [](int) {
      ++signals_seen;
      if (EventLoop* loop = stopped_by_signal) loop->stop();
    };
    ::sigaction(SIGALRM, &action, &before_);
    const itimerval set{{0, period.count()}, {0, first.count()}};
    ::setitimer(ITIMER_REAL, &set, nullptr);
  }
  ~Alarms() {
    const itimerval off{};
    ::setitimer(ITIMER_REAL, &off, nullptr);
    ::sigaction(SIGALRM, &before_, nullptr);
    stopped_by_signal = nullptr;
  }
  Alarms(const Alarms&) = delete;
  Alarms& operator=(const Alarms&) = delete;

 private:
  struct sigaction before_ {};
};

TEST_F(WaitTest, StopFromASignalHandlerEndsALoopThatSleeps) {
  for (int i = 0; i < 50; ++i) {
    stopped_by_signal = &loop();
    // Mostly during the wait, now and then just before it.
    const Alarms alarm(std::chrono::microseconds(1 + 100 * i), 0us);
    loop().run();
    EXPECT_EQ(signals_seen, 1);
  }
}

TEST_F(WaitTest, StopFromASignalHandlerInsideACallbackKeepsErrnoAndEndsTheRun) {
  stopped_by_signal = &loop();
  const Alarms handler(0us, 0us);
  int errno_after = 0;
  loop().post([&] {
    errno = ENOTTY;
    ::raise(SIGALRM);
    errno_after = errno;
  });
  loop().run();
  EXPECT_EQ(errno_after, ENOTTY);
}

TEST_F(WaitTest, AStormOfSignalsMakesNoTimerEarlyAndLosesNoInput) {
  SocketPair pair;
  std::string received;
  const IoWatcher watcher(loop(), pair.ours(), Interest::read,
                          [&](IoEvents) { received += pair.receive(); });
  int fired = 0, early = 0;
  TimePoint due = Clock::now() + 20ms;
  Timer timer(loop(), [&] {
    ++fired;
    if (Clock::now() < due) ++early;
    pair.send("x");
    due = Clock::now() + 20ms;
    loop().refresh_now();
    timer.start(20ms);
  });
  timer.start(20ms);
  const Alarms storm(1ms, 1ms);
  EXPECT_TRUE(run_until([&] { return received.size() >= 10 && signals_seen >= 50; }));
  timer.cancel();
  run_until([&] { return received.size() == static_cast<std::size_t>(fired); });
  EXPECT_EQ(received.size(), static_cast<std::size_t>(fired));
  EXPECT_EQ(early, 0);
}

// Waits until the process sleeps in a system call, or has ended.
bool sleeps(pid_t process) {
  const std::string path = "/proc/" + std::to_string(process) + "/stat";
  for (;;) {
    std::ifstream file(path);
    const std::string line((std::istreambuf_iterator<char>(file)), {});
    const std::size_t name_end = line.rfind(')');
    if (name_end == std::string::npos) return false;
    const char state = line[name_end + 2];
    if (state == 'S') return true;
    if (state == 'Z') return false;
    ::sched_yield();
  }
}

TEST_F(WaitTest, AProcessThatIsStoppedAndContinuedWakesWithoutHarm) {
  SocketPair ready;
  const pid_t child = ::fork();
  if (child == 0) {
    EventLoop own;
    const TimePoint due = Clock::now() + 100ms;
    bool early = false;
    const Timer timer = own.after(100ms, [&] {
      early = Clock::now() < due;
      own.stop();
    });
    ready.send("r");
    own.run();
    ::_exit(early ? 1 : 0);
  }
  ASSERT_GT(child, 0);
  ASSERT_TRUE(run_until([&] { return !ready.receive().empty(); }));
  int status = -1;
  // The two signals end a wait with EINTR without any handler.
  for (int i = 0; i < 20 && sleeps(child); ++i) {
    ::kill(child, SIGSTOP);
    ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
    if (!WIFSTOPPED(status)) break;
    ::kill(child, SIGCONT);
  }
  if (!WIFEXITED(status)) ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

}  // namespace
}  // namespace millrace::test
