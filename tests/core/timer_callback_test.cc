// What a timer's callback may do to its own timer and to others: everything.
#include <millrace/event_loop.h>
#include <millrace/timer.h>

#include "support/clock_test.h"

#include <array>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

struct TimerCallbackTest : ClockTest {
  int fired = 0;
  std::string order;
  Function<void()> note(char name) {
    return [this, name] { order += name; };
  }
};

TEST_F(TimerCallbackTest, ATimerMayRestartItself) {
  Timer timer(loop(), [&] {
    EXPECT_FALSE(timer.active());
    if (++fired < 3) timer.start(5ms);
  });
  timer.start(5ms);
  for (int i = 0; i < 30; ++i) step(1ms);
  EXPECT_EQ(fired, 3);
}

TEST_F(TimerCallbackTest, ATimerMayCancelItsOwnRepetition) {
  Timer rate = loop().every(5ms, [&] {
    ++fired;
    rate.cancel();
  });
  Timer delay = loop().every(
      5ms,
      [&] {
        ++fired;
        delay.cancel();
      },
      Repeat::fixed_delay);
  for (int i = 0; i < 30; ++i) step(1ms);
  EXPECT_EQ(fired, 2);
}

TEST_F(TimerCallbackTest, ARepeatingTimerMayTurnItselfIntoAnother) {
  Timer once = loop().every(
      5ms, [&] { order += 'o', once.start(10ms); }, Repeat::fixed_delay);
  once.start_every(5ms, Repeat::fixed_delay);
  step(5ms);
  step(9ms);
  EXPECT_EQ(order, "o") << "neither the old period nor both";
  step(1ms);
  EXPECT_EQ(order, "oo");
  once.cancel();

  Timer slower = loop().every(5ms, [&] { order += 's', slower.start_every(20ms); });
  step(5ms);
  step(19ms);
  EXPECT_EQ(order, "oos");
  step(1ms);
  EXPECT_EQ(order, "ooss");
}

TEST_F(TimerCallbackTest, ATimerMayDestroyItselfAndItsCallbackLivesUntilItReturns) {
  for (const bool repeats : {false, true}) {
    for (const Repeat repeat : {Repeat::fixed_rate, Repeat::fixed_delay}) {
      std::optional<Timer> timer;
      auto kept = std::make_shared<int>(7);
      const std::weak_ptr<int> watch = kept;
      timer.emplace(loop(), [this, &timer, kept = std::move(kept), watch] {
        timer.reset();
        ++fired;
        EXPECT_FALSE(watch.expired()) << "destroyed while it runs";
        EXPECT_EQ(*kept, 7);
      });
      if (repeats) {
        timer->start_every(5ms, repeat);
      } else {
        timer->start(5ms);
      }
      step(5ms);
      EXPECT_TRUE(watch.expired()) << "kept after it was destroyed";
      step(5ms);
    }
  }
  EXPECT_EQ(fired, 4);
}

TEST_F(TimerCallbackTest, ATimerMayBeMovedWhileItsCallbackRuns) {
  std::optional<Timer> old_place, new_place;
  for (const bool repeats : {false, true}) {
    for (const Repeat repeat : {Repeat::fixed_rate, Repeat::fixed_delay}) {
      fired = 0;
      old_place.emplace(loop(), [&] {
        if (++fired == 1) {
          new_place.emplace(std::move(*old_place));
          old_place.reset();
        }
      });
      if (repeats) {
        old_place->start_every(5ms, repeat);
      } else {
        old_place->start(5ms);
      }
      step(5ms);
      ASSERT_EQ(fired, 1);
      EXPECT_EQ(new_place->active(), repeats);
      step(5ms);
      EXPECT_EQ(fired, repeats ? 2 : 1);
      new_place->start(5ms);  // the callback has followed
      step(5ms);
      EXPECT_EQ(fired, repeats ? 3 : 2);
      new_place.reset();
    }
  }
}

TEST_F(TimerCallbackTest, ATimerMovedAndDestroyedWhileItsCallbackRunsIsGone) {
  std::optional<Timer> timer;
  timer.emplace(loop().every(
      5ms,
      [&] {
        ++fired;
        { const Timer elsewhere = std::move(*timer); }
        timer.reset();
      },
      Repeat::fixed_delay));
  for (int i = 0; i < 5; ++i) step(5ms);
  EXPECT_EQ(fired, 1);
}

TEST_F(TimerCallbackTest, ATimerMovedTwiceAndRestartedWhileItsCallbackRunsFiresFromTheLastPlace) {
  std::array<std::optional<Timer>, 3> places;
  places[0].emplace(loop(), [&] {
    if (++fired > 1) return;
    places[1].emplace(std::move(*places[0]));
    places[1]->start(20ms);
    places[2].emplace(std::move(*places[1]));
    places[2]->start(5ms);
    places[0].reset();
    places[1].reset();
  });
  places[0]->start(5ms);
  step(5ms);
  step(5ms);
  EXPECT_EQ(fired, 2);
  step(1s);
  EXPECT_EQ(fired, 2);
}

TEST_F(TimerCallbackTest, AVectorOfTimersMayGrowUnderARunningCallback) {
  std::vector<Timer> timers;
  timers.push_back(loop().every(5ms, [&] {
    ++fired;
    for (int i = 0; i < 100; ++i) timers.push_back(loop().after(1ms, [&] { ++fired; }));
    timers.front().cancel();
  }));
  step(5ms);
  step(1ms);
  step(10ms);
  EXPECT_EQ(fired, 101);
}

TEST_F(TimerCallbackTest, ATimerMayBeAssignedANewOneInItsOwnCallback) {
  Timer timer = loop().after(5ms, [&] {
    order += 'a';
    timer = loop().after(5ms, note('b'));
    order += '.';
  });
  step(5ms);
  step(5ms);
  step(5ms);
  EXPECT_EQ(order, "a.b");
}

TEST_F(TimerCallbackTest, TwoTimersMaySwapPlacesInTheCallbackOfOne) {
  Timer b = loop().after(10ms, note('b'));
  Timer a = loop().every(5ms, [&] {
    order += 'a';
    std::swap(a, b);
  });
  step(5ms);
  a.cancel();  // what was b
  step(5ms);
  EXPECT_EQ(order, "aa");
}

TEST_F(TimerCallbackTest, ACallbackMayCancelDestroyAndMoveOthersThatAreDue) {
  std::vector<std::optional<Timer>> timers(8);
  timers[0].emplace(loop().after(5ms, [&] {
    order += '0';
    timers[1]->cancel();                       // the next
    timers[4].reset();                         // one in the middle
    timers[7].reset();                         // the last
    timers[3]->start(10ms);                    // to a later slot
    timers[5].emplace(std::move(*timers[6]));  // over a third
    timers[6].reset();
  }));
  for (std::size_t i = 1; i < timers.size(); ++i) {
    timers[i].emplace(loop().after(5ms, note(static_cast<char>('0' + i))));
  }
  step(5ms);
  EXPECT_EQ(order, "026");
  step(10ms);
  EXPECT_EQ(order, "0263");
}

// There is no cancel_all(): each of the two cancels what it knows of.
TEST_F(TimerCallbackTest, OfTwoDueTimersThatCancelEachOtherExactlyOneFires) {
  Timer a(loop(), [] {});
  Timer b = loop().after(5ms, [&] { order += 'b', a.cancel(); });
  a = loop().after(5ms, [&] { order += 'a', b.cancel(); });
  step(5ms);
  step(5ms);
  EXPECT_EQ(order, "b");
}

TEST_F(TimerCallbackTest, ACallbackMayDestroyAllTimersThereAre) {
  std::vector<Timer> timers;
  for (int i = 0; i < 50; ++i) {
    timers.push_back(loop().after((5 + i % 3) * 1ms, [&] {
      ++fired;
      const auto all = std::move(timers);
    }));
  }
  step(1s);
  EXPECT_EQ(fired, 1);
  EXPECT_EQ(loop().next_timeout(), std::nullopt);
}

TEST_F(TimerCallbackTest, TimersStartedWithoutDelayInACallbackAllComeInTheNextTurn) {
  std::vector<Timer> timers;
  const Timer first = loop().after(0ms, [&] {
    for (int i = 0; i < 1000; ++i) timers.push_back(loop().after(0ms, [&] { ++fired; }));
  });
  turn();
  EXPECT_EQ(fired, 0);
  turn();
  EXPECT_EQ(fired, 1000);
}

TEST_F(TimerCallbackTest, ADueTimerRestartedByAnotherFiresAtItsNewTimeOnly) {
  Timer b(loop(), note('b'));
  const Timer a = loop().after(5ms, [&] { order += 'a', b.start(3ms); });
  b.start(5ms);
  step(5ms);
  EXPECT_EQ(order, "a");
  step(2ms);
  EXPECT_EQ(order, "a");
  step(1ms);
  EXPECT_EQ(order, "ab");
}

TEST_F(TimerCallbackTest, AThrowingCallbackLeavesItsTimerAndTheOthersAsTheyWere) {
  std::vector<std::string> kinds;
  loop().set_exception_hook(
      [&](std::exception_ptr, std::string_view kind) { kinds.emplace_back(kind); });
  const auto fail = [&] { ++fired, throw std::runtime_error("on purpose"); };
  Timer once = loop().after(5ms, fail);
  const Timer rate = loop().every(5ms, fail);
  const Timer delay = loop().every(5ms, fail, Repeat::fixed_delay);
  const Timer other = loop().after(5ms, note('o'));
  step(5ms);
  EXPECT_EQ(fired, 3);
  EXPECT_EQ(order, "o");
  once.start(5ms);
  step(5ms);
  EXPECT_EQ(fired, 6);
  EXPECT_EQ(kinds, std::vector<std::string>(6, "timer"));
}

TEST_F(TimerCallbackTest, AThrowingCallbackMayHaveDestroyedItsTimer) {
  loop().set_exception_hook([&](std::exception_ptr, std::string_view) { ++fired; });
  std::optional<Timer> timer;
  timer.emplace(loop().every(
      5ms,
      [&] {
        timer.reset();
        throw std::runtime_error("on purpose");
      },
      Repeat::fixed_delay));
  step(5ms);
  step(5ms);
  EXPECT_EQ(fired, 1);
}

// Timers in random places do random things to each other; what should fire when is written down
// beside them.
class TimerHammer : public TimerCallbackTest, public ::testing::WithParamInterface<unsigned> {
 protected:
  static constexpr std::size_t kPlaces = 40;
  struct Expected {
    bool active = false;
    TimePoint due{};
    std::uint64_t started_in = 0;  // iteration
  };

  std::size_t any() { return random() % kPlaces; }
  Expected& of(std::size_t place) { return expected[ids[place]]; }

  void fill(std::size_t place) {
    const std::size_t id = expected.size();
    expected.emplace_back();
    ids[place] = id;
    places[place].emplace(loop(), [this, id] {
      Expected& mine = expected[id];
      EXPECT_TRUE(mine.active) << "cancelled, destroyed or fired before";
      EXPECT_GE(loop().now(), mine.due) << "early";
      mine.active = false;
      ++fired;
      for (std::uint64_t n = random() % 5; n > 0; --n) act();
    });
  }

  void act() {
    const std::size_t a = any(), b = any();
    if (!places[a]) return fill(a);
    switch (random() % 8) {
      case 0:
        places[a]->cancel();
        of(a).active = false;
        break;
      case 1:
        of(a).active = false;
        places[a].reset();
        break;
      case 2:
        if (a == b) break;
        if (places[b]) of(b).active = false;
        places[b].reset();
        places[b].emplace(std::move(*places[a]));
        places[a].reset();
        ids[b] = ids[a];
        break;
      case 3:
        if (a == b || !places[b]) break;
        of(b).active = false;
        *places[b] = std::move(*places[a]);
        places[a].reset();
        ids[b] = ids[a];
        break;
      default: {
        const Duration delay = std::chrono::microseconds(random() % 300'000 + 1);
        places[a]->start(delay);
        of(a) = {true, loop().now() + delay, loop().stats().iterations};
      }
    }
  }

  std::mt19937_64 random{GetParam()};
  std::array<std::optional<Timer>, kPlaces> places;
  std::array<std::size_t, kPlaces> ids{};
  std::vector<Expected> expected;
};

TEST_P(TimerHammer, NothingFiresEarlyTwiceOrAfterItsCancellation) {
  expected.reserve(1'000'000);  // callbacks hold references
  for (int turns = 0; turns < 20'000 && !HasFailure(); ++turns) {
    for (int n = 0; n < 3; ++n) act();
    step(std::chrono::microseconds(random() % (random() % 10 == 0 ? 40'000 : 2'000)));
    for (std::size_t place = 0; place < kPlaces; ++place) {
      if (!places[place]) continue;
      EXPECT_EQ(places[place]->active(), of(place).active);
      const bool overdue = of(place).active && of(place).due + 1ms <= loop().now();
      EXPECT_FALSE(overdue && of(place).started_in < loop().stats().iterations) << "forgotten";
    }
  }
  EXPECT_GT(fired, 1000);
  for (auto& place : places) place.reset();
}

INSTANTIATE_TEST_SUITE_P(Seed, TimerHammer, ::testing::Range(1u, 5u),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace millrace::test
