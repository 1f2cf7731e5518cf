// Running, stopping and what one iteration does in which order.
#include <millrace/event_loop.h>
#include <millrace/io_watcher.h>

#include "support/buried.h"
#include "support/clock_test.h"
#include "support/flush_target.h"
#include "support/socket_pair.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

struct EventLoopTest : ClockTest {
  std::string order;
  Function<void()> note(const char* what) {
    return [this, what] { order += what; };
  }
};

// Writes into a string when it is destroyed.
struct Noisy {
  std::string& order;
  const char* what;
  Noisy(std::string& o, const char* w) : order(o), what(w) {}
  Noisy(const Noisy&) = delete;
  Noisy& operator=(const Noisy&) = delete;
  ~Noisy() { order += what; }
};

TEST_F(EventLoopTest, AStopBeforeRunIsNotLost) {
  const Timer timer = loop().after(0ms, [&] { order += "timer ", loop().stop(); });
  loop().stop();
  loop().run();
  EXPECT_EQ(order, "") << "returns at once";
  EXPECT_EQ(loop().stats().iterations, 0u);
  loop().run();
  EXPECT_EQ(order, "timer ");
}

TEST_F(EventLoopTest, EachRunGoesOnWhereTheLastWasStopped) {
  int fired = 0;
  Timer timer(loop(), [&] {
    ++fired;
    timer.start(0ms);
    loop().stop();
  });
  timer.start(0ms);
  for (int runs = 1; runs <= 10; ++runs) {
    loop().run();
    EXPECT_EQ(fired, runs);
  }
}

TEST_F(EventLoopTest, SeveralStopsEndOneRun) {
  loop().stop();
  loop().stop();
  loop().run();
  loop().post([&] { order += "task ", loop().stop(); });
  loop().run();
  EXPECT_EQ(order, "task ");
}

TEST_F(EventLoopTest, StopLetsTheIterationFinish) {
  SocketPair pair;
  pair.send("x");
  const IoWatcher watcher(loop(), pair.ours(), Interest::read, [&](IoEvents) {
    order += "io ";
    loop().stop();
  });
  const Timer timer = loop().after(0ms, note("timer "));
  loop().post(note("task "));
  loop().defer(note("deferred "));
  loop().run();
  EXPECT_EQ(order, "io timer task deferred ");
}

TEST_F(EventLoopTest, RunOnceAfterAStopRunsNothingAndUsesItUp) {
  loop().post(note("task "));
  loop().stop();
  EXPECT_FALSE(loop().run_once(-1ms));
  EXPECT_EQ(order, "");
  EXPECT_TRUE(loop().run_once(0ms));
  EXPECT_EQ(order, "task ");
}

TEST_F(EventLoopTest, AStopInsideRunOnceOrRunForEndsThatOneOnly) {
  loop().post([&] { loop().stop(); });
  EXPECT_FALSE(loop().run_once(0ms)) << "who runs it so must hear of it";
  loop().post(note("a "));
  EXPECT_TRUE(loop().run_once(0ms));
  EXPECT_EQ(order, "a ");
  loop().post([&] { loop().stop(); });
  loop().run_for(std::chrono::hours::max());
  loop().post(note("b "));
  loop().run_for(0ms);
  EXPECT_EQ(order, "a b ");
}

TEST_F(EventLoopTest, RunOnceWithNothingToDoDoesNotWaitForZeroAndRunForAtLeastLooks) {
  loop().run_once(0ms);
  EXPECT_EQ(loop().stats().iterations, 1u);
  loop().run_for(0ms);
  loop().run_for(-1s);
  loop().run_for(std::chrono::hours::min());
  EXPECT_EQ(loop().stats().iterations, 4u);
}

TEST_F(EventLoopTest, AnIterationDoesIoTimersTasksDeferredFlushesAndGravesInThisOrder) {
  SocketPair pair;
  pair.send("x");
  // Asked for in the opposite order.
  FlushTarget* target = FlushTarget::make(loop(), note("flush "));
  loop().services().bury(std::make_unique<Buried<Noisy>>(order, "grave"));
  target->ask();
  loop().defer(note("deferred "));
  loop().post(note("task "));
  const Timer timer = loop().after(0ms, note("timer "));
  const IoWatcher watcher(loop(), pair.ours(), Interest::read, [&](IoEvents) {
    order += "io ";
    pair.receive();
  });
  turn();
  EXPECT_EQ(order, "io timer task deferred flush grave");
  target->end();
}

TEST_F(EventLoopTest, WhatAnIoCallbackAsksForStillComesInItsIteration) {
  SocketPair pair;
  pair.send("x");
  FlushTarget* target = FlushTarget::make(loop(), note("flush "));
  Timer timer(loop(), note("timer "));
  const IoWatcher watcher(loop(), pair.ours(), Interest::read, [&](IoEvents) {
    pair.receive();
    loop().services().bury(std::make_unique<Buried<Noisy>>(order, "grave"));
    target->ask();
    loop().defer(note("deferred "));
    loop().post(note("task "));
    timer.start(0ms);
  });
  turn();
  EXPECT_EQ(order, "timer task deferred flush grave");
  target->end();
}

TEST_F(EventLoopTest, ATaskThatPostsWaitsOneIteration) {
  loop().post([&] {
    order += "1 ";
    loop().post([&] {
      order += "2 ";
      loop().post(note("3 "));
    });
  });
  turn();
  EXPECT_EQ(order, "1 ");
  turn();
  EXPECT_EQ(order, "1 2 ");
  turn();
  EXPECT_EQ(order, "1 2 3 ");
}

TEST_F(EventLoopTest, WhatADeferredTaskDefersWaitsOneIteration) {
  loop().defer([&] {
    order += "1 ";
    loop().defer(note("2 "));
  });
  turn();
  EXPECT_EQ(order, "1 ");
  turn();
  EXPECT_EQ(order, "1 2 ");
}

TEST_F(EventLoopTest, AFlushAskedForByADeferredTaskComesAtOnceAndByAFlushOneIterationLater) {
  FlushTarget* second = FlushTarget::make(loop(), note("second "));
  FlushTarget* first = FlushTarget::make(loop(), [&] {
    order += "first ";
    second->ask();
    loop().defer(note("deferred "));
  });
  loop().defer([&] { first->ask(); });
  turn();
  EXPECT_EQ(order, "first ");
  turn();
  EXPECT_EQ(order, "first deferred second ");
  first->end();
  second->end();
}

TEST_F(EventLoopTest, AskingForAFlushTwiceIsAskingOnceAndTheBuriedAreNotFlushed) {
  FlushTarget* twice = FlushTarget::make(loop(), note("twice "));
  FlushTarget* dead = FlushTarget::make(loop(), note("dead "));
  twice->ask();
  twice->ask();
  dead->ask();
  dead->end();
  turn();
  turn();
  EXPECT_EQ(order, "twice ");
  twice->end();
}

TEST_F(EventLoopTest, WhatADestructorBuriesIsDestroyedInTheSameIteration) {
  struct Buries {
    EventLoop& loop;
    std::string& order;
    ~Buries() {
      order += "outer ";
      loop.services().bury(std::make_unique<Buried<Noisy>>(order, "inner "));
      loop.defer([this_order = &order] { *this_order += "deferred "; });
    }
  };
  loop().services().bury(std::make_unique<Buried<Buries>>(loop(), order));
  turn();
  EXPECT_EQ(order, "outer inner ");
  turn();
  EXPECT_EQ(order, "outer inner deferred ");
}

TEST_F(EventLoopTest, WorkThatIsLeftKeepsTheLoopFromSleeping) {
  loop().defer([&] {  // each in an iteration of its own, none of which may wait
    loop().defer([&] { loop().post([&] { loop().defer([&] { loop().stop(); }); }); });
  });
  loop().run();
  EXPECT_LE(loop().stats().iterations, 4u);
}

TEST_F(EventLoopTest, CallbacksNeverRunFromInsideTheCallThatAsksForThem) {
  SocketPair pair;
  pair.send("x");
  loop().post(note("task "));
  loop().defer(note("deferred "));
  const Timer timer = loop().after(0ms, note("timer "));
  const IoWatcher watcher(loop(), pair.ours(), Interest::read, [&](IoEvents) { order += "io "; });
  EXPECT_EQ(order, "");
}

TEST_F(EventLoopTest, TasksAndDeferredTasksRunInTheirOrder) {
  std::vector<int> ran;
  for (int i = 0; i < 100; ++i) {
    loop().post([&ran, i] { ran.push_back(i); });
    loop().defer([&ran, i] { ran.push_back(1000 + i); });
  }
  turn();
  ASSERT_EQ(ran.size(), 200u);
  for (std::size_t i = 0; i < 100; ++i) {
    EXPECT_EQ(ran[i], static_cast<int>(i));
    EXPECT_EQ(ran[100 + i], static_cast<int>(1000 + i));
  }
  EXPECT_EQ(loop().stats().tasks_run, 200u);
}

TEST_F(EventLoopTest, WhatATaskOwnsIsDestroyedBeforeTheNextTaskRuns) {
  loop().post([owned = std::make_unique<Buried<Noisy>>(order, "gone ")] {});
  loop().post(note("next "));
  turn();
  EXPECT_EQ(order, "gone next ");
}

TEST_F(EventLoopTest, NowIsTheSameInAllPhasesOfAnIteration) {
  SocketPair pair;
  pair.send("x");
  std::vector<TimePoint> times;
  const auto look = [&] {
    times.push_back(loop().now());
    faults.advance_clock(50ms);
  };
  FlushTarget* target = FlushTarget::make(loop(), look);
  target->ask();
  const IoWatcher watcher(loop(), pair.ours(), Interest::read, [&](IoEvents) {
    pair.receive();
    look();
  });
  const Timer timer = loop().after(0ms, look);
  loop().post(look);
  loop().defer(look);
  const TimePoint before = loop().now();
  faults.advance_clock(1ms);
  turn();
  EXPECT_EQ(times, std::vector<TimePoint>(5, before + 1ms)) << "read after the wait, and once";
  target->end();
}

TEST_F(EventLoopTest, RefreshNowReadsTheClockAgainForTheRestOfTheIteration) {
  TimePoint before, after, later_phase;
  loop().post([&] {
    before = loop().now();
    faults.advance_clock(5ms);
    after = loop().refresh_now();
    EXPECT_EQ(loop().now(), after);
  });
  loop().defer([&] { later_phase = loop().now(); });
  turn();
  EXPECT_EQ(after - before, 5ms);
  EXPECT_EQ(later_phase, after);
}

TEST_F(EventLoopTest, OutsideOfRunNowIsTheTimeNow) {
  const TimePoint before = loop().now();
  faults.advance_clock(5ms);
  EXPECT_EQ(loop().now() - before, 5ms);
  turn();
  faults.advance_clock(5ms);
  EXPECT_EQ(loop().now() - before, 10ms);
}

TEST_F(EventLoopTest, RunFromInsideACallbackIsRefusedAndTheLoopGoesOn) {
  SocketPair pair;
  pair.send("x");
  int refused = 0;
  const auto try_to_run = [&] {
    EXPECT_THROW(loop().run(), std::logic_error);
    EXPECT_THROW(loop().run_once(0ms), std::logic_error);
    EXPECT_THROW(loop().run_for(1ms), std::logic_error);
    ++refused;
  };
  FlushTarget* target = FlushTarget::make(loop(), try_to_run);
  target->ask();
  const IoWatcher watcher(loop(), pair.ours(), Interest::read, [&](IoEvents) {
    pair.receive();
    try_to_run();
  });
  const Timer timer = loop().after(0ms, try_to_run);
  loop().post(try_to_run);
  loop().defer(try_to_run);
  turn();
  EXPECT_EQ(refused, 5);
  EXPECT_EQ(loop().stats().iterations, 1u);
  loop().post(note("task "));
  turn();
  EXPECT_EQ(order, "task ");
  target->end();
}

TEST_F(EventLoopTest, ALoopMayBeRunFromACallbackOfAnother) {
  EventLoop inner;
  inner.post([&] { order += "inner ", inner.stop(); });
  loop().post([&] {
    inner.run();
    order += "outer ";
  });
  turn();
  EXPECT_EQ(order, "inner outer ");
}

TEST_F(EventLoopTest, StatsCountWhatRan) {
  SocketPair pair;
  pair.send("x");
  const IoWatcher watcher(loop(), pair.ours(), Interest::read, [&](IoEvents) { pair.receive(); });
  const Timer timer = loop().every(1ms, [] {});
  loop().post([] {});
  loop().defer([] {});
  step(1ms);
  step(1ms);
  const LoopStats stats = loop().stats();
  EXPECT_EQ(stats.iterations, 2u);
  EXPECT_EQ(stats.io_events, 1u);
  EXPECT_EQ(stats.stale_events, 0u);
  EXPECT_EQ(stats.timers_fired, 2u);
  EXPECT_EQ(stats.tasks_run, 2u);
  EXPECT_EQ(stats.wakeups_written, 0u);
  EXPECT_EQ(stats.exceptions, 0u);
  EXPECT_EQ(stats.stalls, 0u);
}

}  // namespace
}  // namespace millrace::test
