// What allocates and what does not, and what happens when memory runs out.
#include <millrace/event_loop.h>
#include <millrace/io_watcher.h>
#include <millrace/signal_watcher.h>

#include "support/allocations.h"
#include "support/captured_log.h"
#include "support/loop_test.h"
#include "support/socket_pair.h"

#include <array>
#include <csignal>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

// Tries with room for 0, 1, 2 ... allocations until it works; how many it took.
template <class Act>
std::size_t allocations_until_it_works(Act&& act) {
  for (std::size_t n = 0; n < 1000; ++n) {
    const NoMemory limit(n);
    try {
      act();
      return n;
    } catch (const std::bad_alloc&) {
    }
  }
  ADD_FAILURE() << "it never works";
  return 0;
}

struct MemoryTest : LoopTest {
  // How many allocations `act` makes.
  template <class Act>
  static std::uint64_t count(Act&& act) {
    const Allocations allocations;
    act();
    return allocations.count();
  }
};

TEST_F(MemoryTest, ALoopThatCannotHaveItsMemoryThrowsAndLeavesNothing) {
  const auto before = open_descriptors();
  const std::size_t needed = allocations_until_it_works([] { const EventLoop loop; });
  EXPECT_GT(needed, 1u);
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(MemoryTest, AWatcherThatCannotHaveItsMemoryThrowsAndWatchesNothing) {
  SocketPair pair;
  pair.send("x");
  int calls = 0;
  std::optional<IoWatcher> watcher;
  EventLoop own;
  const std::size_t needed = allocations_until_it_works(
      [&] { watcher.emplace(own, pair.ours(), Interest::read, [&](IoEvents) { ++calls; }); });
  EXPECT_GT(needed, 1u);
  own.run_once(0ms);
  EXPECT_EQ(calls, 1);
  watcher.reset();
}

TEST_F(MemoryTest, ATimerThatCannotHaveItsMemoryThrowsAndDoesNotFire) {
  const std::array<char, 100> large{};
  int fired = 0;
  std::optional<Timer> timer;
  EXPECT_EQ(allocations_until_it_works([&] {
              timer.emplace(loop().after(0ms, [large, &fired] { fired += 1 + large[0]; }));
            }),
            1u);
  loop().run_once(0ms);
  EXPECT_EQ(fired, 1);
}

TEST_F(MemoryTest, APostThatFailsThrowsDestroysTheTaskAndLeavesTheLoopAsItWas) {
  int ran = 0;
  auto owned = std::make_shared<int>(0);
  const std::weak_ptr<int> watch = owned;
  loop().post([&] { ran += 1; });
  bool full = false;
  // The queue grows by doubling: after some posts one needs memory.
  for (int i = 0; i < 100 && !full; ++i) {
    const NoMemory limit(0);
    try {
      if (i < 50) {
        loop().post([&, owned = owned] { ran += 1; });
      } else {
        loop().defer([&, owned = owned] { ran += 1; });
      }
    } catch (const std::bad_alloc&) {
      full = true;
    }
  }
  EXPECT_TRUE(full);
  loop().run_once(0ms);
  EXPECT_GE(ran, 1);
  owned.reset();
  EXPECT_TRUE(watch.expired());
  loop().post([&] { ran = 100; });
  loop().run_once(0ms);
  EXPECT_EQ(ran, 100);
}

TEST_F(MemoryTest, AnExceptionIsReportedWithoutMemoryToo) {
  CapturedLog log;  // whose sink needs memory as well
  std::optional<NoMemory> limit;
  loop().post([&] {
    limit.emplace();
    throw 1;
  });
  loop().post([] { throw std::bad_alloc(); });
  const Timer timer = loop().after(0ms, [] {});
  loop().run_once(0ms);
  limit.reset();
  EXPECT_EQ(loop().stats().exceptions, 2u);
  EXPECT_EQ(loop().stats().timers_fired, 1u);
}

TEST_F(MemoryTest, AStallIsCountedThoughThereIsNoMemoryToLogIt) {
  Faults faults;
  loop().run_once(0ms);
  loop().post([&] { faults.advance_clock(5s); });
  {
    const NoMemory none;
    EXPECT_NO_THROW(loop().run_once(0ms));
    EXPECT_TRUE(none.reached());
  }
  EXPECT_EQ(loop().stats().stalls, 1u);
}

TEST_F(MemoryTest, ASignalWatcherGoesWithoutMemory) {
  std::optional<SignalWatcher> watcher;
  watcher.emplace(loop(), std::initializer_list<int>{SIGUSR1}, [](int) {});
  const NoMemory none;
  watcher.reset();
  EXPECT_FALSE(none.reached());
}

TEST_F(MemoryTest, StartingMovingAndCancellingTimersAllocatesNothing) {
  std::vector<Timer> timers;
  timers.reserve(1000);
  EXPECT_EQ(count([&] {
              for (int i = 0; i < 1000; ++i) {
                // A callback of three pointers.
                timers.emplace_back(loop(), [this, &timers, i] {
                  static_cast<void>(timers[static_cast<std::size_t>(i)]);
                });
              }
            }),
            0u);
  std::uint64_t fired = loop().stats().timers_fired;
  EXPECT_EQ(count([&] {
              for (int round = 0; round < 5; ++round) {
                for (std::size_t i = 0; i < timers.size(); ++i) {
                  timers[i].start(std::chrono::milliseconds(i * i * 100));
                  timers[i].start(std::chrono::milliseconds(i));
                  if (i % 3 == 0) timers[i].cancel();
                  if (i % 7 == 0) timers[i].start_every(1ms);
                }
                loop().run_for(2ms);
              }
            }),
            0u);
  EXPECT_GT(loop().stats().timers_fired, fired);
}

TEST_F(MemoryTest, PostingSmallTasksAllocatesNothingOnceTheQueueHasGrown) {
  struct {
    void* pointers[5];
  } payload{};
  int ran = 0;
  const auto burst = [&] {
    for (int i = 0; i < 100; ++i) {
      loop().post([payload, &ran] { ran += payload.pointers[0] == nullptr; });  // 48 bytes
      loop().defer([payload, &ran] { ran += payload.pointers[0] == nullptr; });
    }
    loop().run_once(0ms);
  };
  burst();
  burst();  // there are two queues that take turns
  EXPECT_EQ(count([&] {
              for (int i = 0; i < 10; ++i) burst();
            }),
            0u);
  EXPECT_EQ(ran, 12 * 200);
}

TEST_F(MemoryTest, WatchingAndServingADescriptorAllocatesNothingPerEvent) {
  SocketPair pair;
  int calls = 0;
  char buffer[16];
  IoWatcher watcher(loop(), pair.ours(), Interest::read, [&](IoEvents) {
    ++calls;
    EXPECT_EQ(::recv(pair.ours(), buffer, sizeof buffer, 0), 1);
  });
  EXPECT_EQ(count([&] {
              for (int i = 0; i < 100; ++i) {
                pair.send("x");
                watcher.set_interest(i % 2 == 0 ? Interest::read_write : Interest::read);
                loop().run_once(0ms);
              }
            }),
            0u);
  EXPECT_EQ(calls, 100);
}

}  // namespace
}  // namespace millrace::test
