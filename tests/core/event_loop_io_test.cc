// Many descriptors in one batch, those that die in it, and that no kind of work starves another.
#include <millrace/event_loop.h>
#include <millrace/io_watcher.h>

#include "support/clock_test.h"
#include "support/socket_pair.h"

#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::test {
namespace {

struct IoTest : LoopTest {
  void turn() { loop().run_once(0ms); }
};

// An eventfd that is readable until its watcher is called, which counts.
struct Counter {
  Counter(EventLoop& loop, int* calls)
      : fd(::eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC)),
        watcher(loop, fd.get(), Interest::read, [this, calls](IoEvents events) {
          EXPECT_TRUE(events.readable());
          eventfd_t value = 0;
          EXPECT_EQ(::eventfd_read(fd.get(), &value), 0);
          ++*calls;
          ++own_calls;
        }) {}

  UniqueFd fd;
  IoWatcher watcher;
  int own_calls = 0;
};

TEST_F(IoTest, EachOfMoreReadyDescriptorsThanABatchHoldsIsServedOnce) {
  constexpr std::size_t kCount = 1'200;
  ASSERT_GE(raise_descriptor_limit(2 * kCount), kCount + 100);
  int calls = 0;
  std::deque<Counter> counters;
  for (std::size_t i = 0; i < kCount; ++i) counters.emplace_back(loop(), &calls);
  int task_after = -1, timer_after = -1;
  loop().post([&] { task_after = calls; });
  const Timer timer = loop().after(0ms, [&] { timer_after = calls; });
  turn();
  EXPECT_LT(task_after, static_cast<int>(kCount)) << "tasks wait for all I/O there is";
  EXPECT_EQ(timer_after, task_after);
  turn();
  turn();
  EXPECT_EQ(calls, static_cast<int>(kCount)) << "1,200 are three batches";
  for (const Counter& counter : counters) EXPECT_EQ(counter.own_calls, 1);
  EXPECT_LE(run_for(20ms), 2u);
}

TEST_F(IoTest, ADescriptorThatStaysReadyDoesNotKeepOthersFromTheirTurn) {
  SocketPair noisy, quiet;
  noisy.send("never read");
  int noise = 0;
  bool heard = false;
  const IoWatcher first(loop(), noisy.ours(), Interest::read, [&](IoEvents) { ++noise; });
  const IoWatcher second(loop(), quiet.ours(), Interest::read, [&](IoEvents) {
    heard = true;
    quiet.receive();
  });
  turn();
  quiet.send("x");
  turn();
  EXPECT_TRUE(heard);
  EXPECT_EQ(noise, 2) << "called once in each iteration";
}

TEST_F(IoTest, AnEventForADescriptorClosedEarlierInTheBatchIsNotDelivered) {
  SocketPair a, b;
  std::optional<IoWatcher> watch_a, watch_b;
  int calls = 0;
  // Whichever comes first closes the other.
  watch_a.emplace(loop(), a.ours(), Interest::read, [&](IoEvents) {
    ++calls;
    a.receive();
    watch_b.reset();
    b.close_ours();
  });
  watch_b.emplace(loop(), b.ours(), Interest::read, [&](IoEvents) {
    ++calls;
    b.receive();
    watch_a.reset();
    a.close_ours();
  });
  a.send("x");
  b.send("x");
  turn();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(loop().stats().stale_events, 1u);
  EXPECT_EQ(loop().stats().io_events, 1u);
}

TEST_F(IoTest, AHundredDescriptorsReusedInTheBatchSeeNoEventOfTheirPredecessors) {
  constexpr std::size_t kCount = 100;
  std::deque<SocketPair> pairs(kCount);
  std::vector<std::optional<IoWatcher>> watchers(kCount), new_watchers;
  std::vector<UniqueFd> new_fds;
  int calls = 0, new_calls = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    watchers[i].emplace(loop(), pairs[i].ours(), Interest::read, [&](IoEvents) {
      ++calls;
      std::set<int> numbers;
      for (auto& watcher : watchers) watcher.reset();
      for (SocketPair& pair : pairs) {
        numbers.insert(pair.ours());
        pair.close_ours();
      }
      while (!numbers.empty()) {
        // The kernel gives the lowest number that is free.
        const int fd = new_fds.emplace_back(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)).get();
        ASSERT_EQ(numbers.erase(fd), 1u) << "the test is about numbers that are used again";
        new_watchers.emplace_back(std::in_place, loop(), fd, Interest::read, [&, fd](IoEvents) {
          ++new_calls;
          eventfd_t value = 0;
          ::eventfd_read(fd, &value);
        });
      }
    });
    pairs[i].send("x");
  }
  turn();
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(loop().stats().stale_events, kCount - 1);
  turn();
  EXPECT_EQ(new_calls, 0);
  for (const UniqueFd& fd : new_fds) ::eventfd_write(fd.get(), 1);
  turn();
  EXPECT_EQ(new_calls, static_cast<int>(kCount));
}

TEST_F(IoTest, AllOf2500UdpWatchersMayBeClosedInTheCallbackOfOne) {
  constexpr std::size_t kCount = 2'500;
  ASSERT_GE(raise_descriptor_limit(2 * kCount), kCount + 100);
  const SocketAddress any_port = SocketAddress::loopback(0);
  std::vector<UniqueFd> sockets;
  std::vector<IoWatcher> watchers;
  int calls = 0;
  for (std::size_t i = 0; i < kCount; ++i) {
    sockets.emplace_back(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(sockets.back().get(), any_port.native(), any_port.native_size()), 0);
    watchers.emplace_back(loop(), sockets.back().get(), Interest::read, [&](IoEvents) {
      ++calls;
      watchers.clear();
      sockets.clear();
    });
  }
  sockaddr_in to{};
  socklen_t size = sizeof to;
  const int middle = sockets[kCount / 2].get();
  ASSERT_EQ(::getsockname(middle, reinterpret_cast<sockaddr*>(&to), &size), 0);
  ASSERT_EQ(::sendto(middle, "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), size), 1);
  EXPECT_TRUE(run_until([&] { return calls > 0; }));
  run_for(5ms);
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(sockets.empty());
}

TEST_F(IoTest, InputThatNobodyWantsDoesNotKeepTheLoopAwake) {
  SocketPair pair;
  pair.send("x");
  int calls = 0;
  const IoWatcher watcher(loop(), pair.ours(), Interest::none, [&](IoEvents) { ++calls; });
  EXPECT_LE(run_for(100ms), 3u);
  EXPECT_EQ(calls, 0);
}

TEST_F(IoTest, AResetWhileNothingIsAskedForIsToldOnceAndDoesNotSpin) {
  RawSocket listener = RawSocket::listen();
  RawSocket peer = RawSocket::connect_to(listener.address());
  RawSocket accepted = listener.accept();
  ASSERT_TRUE(accepted);
  int calls = 0;
  const IoWatcher watcher(loop(), accepted.fd(), Interest::none, [&](IoEvents events) {
    ++calls;
    EXPECT_TRUE(events.ended());
  });
  peer.reset();
  EXPECT_LE(run_for(100ms), 5u);
  EXPECT_EQ(calls, 1);
}

// How much of each kind of work one iteration may do is not promised, only that it ends.
struct BoundsTest : ClockTest {};

TEST_F(BoundsTest, ALongQueueOfTasksIsWorkedOffInPartsAndInOrder) {
  constexpr int kTasks = 20'000;
  SocketPair pair;
  pair.send("x");
  int ran = 0, ran_before_io = -1, ran_before_timer = -1, wrong = 0;
  loop().post([&] { pair.send("x"); });
  for (int i = 0; i < kTasks; ++i) {
    loop().post([&, i] { wrong += ran++ != i; });
  }
  loop().run_once(0ms);
  const int first_part = ran;
  EXPECT_GT(first_part, 0);
  EXPECT_LT(first_part, kTasks / 2);
  EXPECT_EQ(loop().next_timeout(), Duration::zero()) << "there is work left";
  // What comes now comes before the rest, but no task does.
  const IoWatcher watcher(loop(), pair.ours(), Interest::read, [&](IoEvents) {
    pair.receive();
    ran_before_io = ran;
  });
  const Timer timer = loop().after(0ms, [&] { ran_before_timer = ran; });
  bool last = false;
  loop().post([&] {
    last = ran == kTasks;
    loop().stop();
  });
  loop().run();
  EXPECT_EQ(ran_before_io, first_part);
  EXPECT_EQ(ran_before_timer, first_part);
  EXPECT_TRUE(last);
  EXPECT_EQ(wrong, 0);
}

TEST_F(BoundsTest, ManyTimersThatAreDueTogetherLeaveRoomForIoAndTasks) {
  constexpr int kTimers = 50'000;
  SocketPair pair;
  int fired = 0, fired_before_io = -1, fired_before_task = -1;
  std::vector<Timer> timers;
  for (int i = 0; i < kTimers; ++i) {
    timers.push_back(loop().after(5ms, [&] {
      if (++fired == 1) pair.send("x");
    }));
  }
  const IoWatcher watcher(loop(), pair.ours(), Interest::read, [&](IoEvents) {
    pair.receive();
    fired_before_io = fired;
  });
  loop().post([&] { fired_before_task = fired; });
  step(5ms);
  EXPECT_GT(fired_before_task, 0);
  EXPECT_LT(fired_before_task, kTimers / 2);
  loop().run_once(-1ms);  // must not sleep
  EXPECT_EQ(fired_before_io, fired_before_task);
  for (int i = 0; i < 50 && fired < kTimers; ++i) loop().run_once(-1ms);
  EXPECT_EQ(fired, kTimers);
}

TEST_F(BoundsTest, WhatAsksForItselfAgainAndAgainStarvesNobody) {
  SocketPair pair;
  int io = 0, timers = 0, tasks = 0, deferred = 0;
  const IoWatcher watcher(loop(), pair.ours(), Interest::read, [&](IoEvents) { ++io; });
  pair.send("x");  // never read
  Timer timer(loop(), [&] { ++timers, timer.start(0ms); });
  timer.start(0ms);
  struct Again {
    EventLoop& loop;
    int& tasks;
    int& deferred;
    bool on = true;
    void post() {
      ++tasks;
      if (on) loop.post([this] { post(); });
    }
    void defer() {
      ++deferred;
      if (on) loop.defer([this] { defer(); });
    }
  } again{loop(), tasks, deferred};
  again.post();
  again.defer();
  for (int turns = 1; turns <= 100; ++turns) {
    turn();
    EXPECT_EQ(io, turns);
    EXPECT_EQ(timers, turns);
    EXPECT_EQ(tasks, turns + 1);  // the first was the call above
    EXPECT_EQ(deferred, turns + 1);
  }
  again.on = false;
  turn();
}

}  // namespace
}  // namespace millrace::test
