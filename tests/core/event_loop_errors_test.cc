// What leaves a callback by exception, and callbacks that take too long.
#include <millrace/event_loop.h>
#include <millrace/io_watcher.h>

#include "support/captured_log.h"
#include "support/clock_test.h"
#include "support/flush_target.h"
#include "support/socket_pair.h"

#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

std::string text_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "not a std::exception";
  }
}

// Lets `act` run in a callback of each kind.
class ErrorsTest : public ClockTest {
 protected:
  const std::vector<std::string> kinds = {"I/O", "timer", "task", "deferred task", "flush"};

  void run_in(const std::string& kind, const std::function<void()>& act) {
    SocketPair pair;
    std::unique_ptr<IoWatcher> watcher;
    Timer timer(loop(), act);
    if (kind == "I/O") {
      pair.send("x");
      watcher = std::make_unique<IoWatcher>(loop(), pair.ours(), Interest::read, [&](IoEvents) {
        pair.receive();
        act();
      });
    } else if (kind == "timer") {
      timer.start(0ms);
    } else if (kind == "task") {
      loop().post(act);
    } else if (kind == "deferred task") {
      loop().defer(act);
    } else {
      FlushTarget* target = FlushTarget::make(loop(), act);
      target->ask();
      loop().defer([this, target] { loop().defer([target] { target->end(); }); });
    }
    turn();
    turn();
  }

  CapturedLog log;
};

TEST_F(ErrorsTest, AnExceptionFromEachKindOfCallbackGoesToTheHookWithItsKind) {
  std::vector<std::string> seen;
  loop().set_exception_hook([&](std::exception_ptr exception, std::string_view kind) {
    seen.push_back(std::string(kind) + ": " + text_of(exception));
  });
  for (const std::string& kind : kinds) run_in(kind, [] { throw std::runtime_error("oops"); });
  EXPECT_EQ(seen, (std::vector<std::string>{"I/O: oops", "timer: oops", "task: oops",
                                            "deferred task: oops", "flush: oops"}));
  EXPECT_EQ(loop().stats().exceptions, 5u);
  EXPECT_TRUE(log.lines(log::Level::error).empty()) << "the hook has it";
}

TEST_F(ErrorsTest, TheOthersOfThePhaseStillRunAfterAnException) {
  loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  std::vector<Timer> timers;
  int timers_ran = 0, tasks_ran = 0, deferred_ran = 0;
  for (int i = 0; i < 5; ++i) {
    timers.push_back(loop().after(0ms, [&] { ++timers_ran, throw 1; }));
    loop().post([&] { ++tasks_ran, throw 2; });
    loop().defer([&] { ++deferred_ran, throw 3; });
  }
  turn();
  EXPECT_EQ(timers_ran, 5);
  EXPECT_EQ(tasks_ran, 5);
  EXPECT_EQ(deferred_ran, 5);
  EXPECT_EQ(loop().stats().exceptions, 15u);
}

TEST_F(ErrorsTest, RunGoesOnAfterAnExceptionAndCanBeStoppedAndStartedAgain) {
  loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  bool reached = false;
  loop().post([&] {
    loop().post([&] {
      reached = true;
      loop().stop();
      throw std::runtime_error("in the iteration that ends the run");
    });
    throw std::runtime_error("in the first");
  });
  loop().run();
  EXPECT_TRUE(reached);
  loop().post([&] { loop().stop(); });
  loop().run();
}

TEST_F(ErrorsTest, WhatAThrowingTaskOwnsIsDestroyed) {
  loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  auto owned = std::make_shared<int>(1);
  const std::weak_ptr<int> watch = owned;
  loop().post([owned = std::move(owned)] { throw std::runtime_error("oops"); });
  turn();
  EXPECT_TRUE(watch.expired());
}

TEST_F(ErrorsTest, WithoutAHookAnExceptionIsAnErrorInTheLog) {
  run_in("timer", [] { throw std::runtime_error("the text of it"); });
  ASSERT_EQ(log.lines(log::Level::error).size(), 1u);
  const std::string line = log.lines(log::Level::error).front();
  EXPECT_NE(line.find("timer"), std::string::npos) << line;
  EXPECT_NE(line.find("the text of it"), std::string::npos) << line;
}

TEST_F(ErrorsTest, WhatIsNoStdExceptionIsLoggedToo) {
  run_in("task", [] { throw 42; });
  EXPECT_EQ(log.lines(log::Level::error).size(), 1u);
  EXPECT_EQ(loop().stats().exceptions, 1u);
}

TEST_F(ErrorsTest, AnEmptyHookRestoresTheDefault) {
  int hooked = 0;
  loop().set_exception_hook([&](std::exception_ptr, std::string_view) { ++hooked; });
  run_in("task", [] { throw 1; });
  loop().set_exception_hook({});
  run_in("task", [] { throw 2; });
  EXPECT_EQ(hooked, 1);
  EXPECT_EQ(log.lines(log::Level::error).size(), 1u);
}

TEST_F(ErrorsTest, AHookThatThrowsIsLoggedAndTheLoopGoesOn) {
  loop().set_exception_hook([](std::exception_ptr, std::string_view) { throw 1; });
  for (const std::string& kind : kinds) run_in(kind, [] { throw std::runtime_error("inner"); });
  EXPECT_EQ(loop().stats().exceptions, 5u);
  EXPECT_GE(log.lines(log::Level::error).size(), 5u);
}

TEST_F(ErrorsTest, AHookMayReplaceItself) {
  const std::string text = "a text that is too long to be kept inside the string itself";
  std::string said;
  int calls_of_the_next = 0;
  loop().set_exception_hook([&, text](std::exception_ptr, std::string_view) {
    loop().set_exception_hook([&](std::exception_ptr, std::string_view) { ++calls_of_the_next; });
    said = text;  // of this hook, which has been replaced
  });
  run_in("task", [] { throw 1; });
  EXPECT_EQ(said, text);
  EXPECT_EQ(calls_of_the_next, 0);
  run_in("task", [] { throw 2; });
  EXPECT_EQ(calls_of_the_next, 1);
}

TEST_F(ErrorsTest, AHookMayUseTheLoop) {
  bool posted = false;
  loop().set_exception_hook([&](std::exception_ptr, std::string_view) {
    loop().post([&] { posted = true; });
    loop().stop();
  });
  loop().post([] { throw 1; });
  loop().run();
  EXPECT_FALSE(posted);
  turn();
  EXPECT_TRUE(posted);
}

TEST_F(ErrorsTest, APhaseThatTakesTooLongIsCountedAndLoggedWithItsKind) {
  std::uint64_t stalls = 0;
  for (const std::string& kind : kinds) {
    run_in(kind, [&] { faults.advance_clock(150ms); });
    EXPECT_EQ(loop().stats().stalls, ++stalls) << kind;
    const auto lines = log.lines(log::Level::warning);
    ASSERT_EQ(lines.size(), stalls) << kind;
    EXPECT_NE(lines.back().find(" " + kind + " callbacks"), std::string::npos) << lines.back();
    EXPECT_NE(lines.back().find("150 ms"), std::string::npos) << lines.back();
    step(1s);  // what is held back within a second has a test of its own
  }
  EXPECT_EQ(loop().stats().longest_phase, 150ms);
}

TEST_F(ErrorsTest, StallsAreAllCountedButLoggedOncePerSecond) {
  const auto stall = [&] { faults.advance_clock(110ms); };
  for (int i = 0; i < 5; ++i) run_in("task", stall);
  EXPECT_EQ(loop().stats().stalls, 5u);
  EXPECT_EQ(log.lines(log::Level::warning).size(), 1u);
  step(1s);
  run_in("timer", stall);
  EXPECT_EQ(loop().stats().stalls, 6u);
  ASSERT_EQ(log.lines(log::Level::warning).size(), 2u);
  EXPECT_NE(log.lines(log::Level::warning).back().find("4 more"), std::string::npos);
}

TEST_F(ErrorsTest, WhatIsQuickOrOnlyWaitedForIsNoStall) {
  for (const std::string& kind : kinds) run_in(kind, [&] { faults.advance_clock(99ms); });
  step(10s);
  EXPECT_EQ(loop().stats().stalls, 0u);
  EXPECT_EQ(loop().stats().longest_phase, 99ms);
}

TEST_F(ErrorsTest, ATimerThatFiresOnTimeHasNoLag) {
  Timer timer = loop().after(10ms, [] {});
  step(9ms);
  EXPECT_EQ(loop().stats().timer_turns, 0u);
  step(1ms);
  EXPECT_EQ(loop().stats().timer_turns, 1u);
  EXPECT_EQ(loop().stats().timer_lag_total, 0ms);
  EXPECT_EQ(loop().stats().timer_lag_longest, 0ms);
}

TEST_F(ErrorsTest, WhatASlowCallbackOfAnyKindDoesToTimersIsTheirLag) {
  std::uint64_t turns = 0;
  Duration total{0};
  for (const std::string& kind : kinds) {
    const LoopStats before = loop().stats();
    Timer victim = loop().after(20ms, [] {});
    run_in(kind, [&] { faults.advance_clock(90ms); });
    turn();
    step(0ms);
    EXPECT_FALSE(victim.active()) << kind;
    const LoopStats after = loop().stats();
    // The callback may have been a timer itself, which was due in time.
    EXPECT_GE(after.timer_turns, before.timer_turns + 1) << kind;
    EXPECT_EQ(after.timer_lag_total - before.timer_lag_total, 70ms) << kind;
    turns = after.timer_turns;
    total = after.timer_lag_total;
  }
  EXPECT_EQ(loop().stats().timer_lag_longest, 70ms);
  EXPECT_GE(turns, kinds.size());
  EXPECT_EQ(total, kinds.size() * 70ms);
}

TEST_F(ErrorsTest, TheLagOfATurnIsThatOfTheEarliest) {
  Timer late = loop().after(30ms, [] {});
  Timer later = loop().after(10ms, [] {});
  Timer latest = loop().after(20ms, [] {});
  step(40ms);
  EXPECT_EQ(loop().stats().timer_turns, 1u);
  EXPECT_EQ(loop().stats().timer_lag_total, 30ms);
}

TEST_F(ErrorsTest, ATimerWithoutADelayIsNeverLate) {
  step(10s);
  Timer soon = loop().after(0ms, [] {});
  step(10s);
  EXPECT_FALSE(soon.active());
  EXPECT_EQ(loop().stats().timer_turns, 0u);
  // Nor does it hide one that is.
  soon.start(0ms);
  Timer late = loop().after(10ms, [] {});
  step(15ms);
  EXPECT_EQ(loop().stats().timer_turns, 1u);
  EXPECT_EQ(loop().stats().timer_lag_longest, 5ms);
}

TEST_F(ErrorsTest, TheLongestBeginAnewWhenAsked) {
  Timer timer = loop().after(10ms, [&] { faults.advance_clock(20ms); });
  step(40ms);
  EXPECT_EQ(loop().stats().timer_lag_longest, 30ms);
  EXPECT_EQ(loop().stats().longest_phase, 20ms);
  loop().reset_longest();
  EXPECT_EQ(loop().stats().timer_lag_longest, 0ms);
  EXPECT_EQ(loop().stats().longest_phase, 0ms);
  EXPECT_EQ(loop().stats().timer_lag_total, 30ms) << "sums go on: two snapshots are compared";
}

TEST_F(ErrorsTest, AStallIsCountedThoughTheLogIsOff) {
  log::set_level(log::Level::off);
  loop().post([&] { faults.advance_clock(1s); });
  loop().run_once(0ms);
  log::set_level(log::Level::warning);
  EXPECT_EQ(loop().stats().stalls, 1u);
}

TEST_F(ErrorsTest, AStallIsBlamedOnThePhaseThatCausedIt) {
  const Timer timer = loop().after(0ms, [&] { faults.advance_clock(200ms); });
  loop().post([] {});
  loop().defer([] {});
  turn();
  EXPECT_EQ(loop().stats().stalls, 1u);
  ASSERT_EQ(log.lines(log::Level::warning).size(), 1u);
  EXPECT_NE(log.lines(log::Level::warning).front().find("timer"), std::string::npos);
}

TEST_F(ErrorsTest, TheThresholdCanBeMovedAndSwitchedOff) {
  EventLoop strict({.stall_threshold = 10ms}), deaf({.stall_threshold = 0ms});
  for (EventLoop* loop : {&strict, &deaf}) {
    loop->post([&] { faults.advance_clock(20ms); });
    loop->run_once(0ms);
    loop->post([&] { faults.advance_clock(1h); });
    loop->run_once(0ms);
  }
  EXPECT_EQ(strict.stats().stalls, 2u);
  EXPECT_EQ(deaf.stats().stalls, 0u);
}

}  // namespace
}  // namespace millrace::test
