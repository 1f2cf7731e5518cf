#include "timer_wheel.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include <gtest/gtest.h>

namespace millrace {
namespace {

using Tick = TimerWheel::Tick;
using Numbers = std::vector<int>;

// Writes its number down when it is due.
struct Node : TimerNode {
  explicit Node(int n = 0) : number(n) {}
  void handle_timer() override {}
  void move_from(Node& other) { take_place_of(other); }
  int number;
};

// In the tests nodes are declared before the wheel: a test that fails half-way leaves some active.

// The numbers of what is due at `now`, in the order in which the wheel gives it.
Numbers due_numbers(TimerWheel& wheel, Tick now) {
  Numbers numbers;
  wheel.advance(now);
  while (TimerNode* node = wheel.pop_due()) {
    EXPECT_FALSE(node->active());
    numbers.push_back(static_cast<Node*>(node)->number);
  }
  wheel.check_invariants();
  return numbers;
}

TEST(TimerWheel, FiresInTheOrderOfDeadlinesAndNoneEarly) {
  Node nodes[10] = {Node(0), Node(1), Node(2), Node(3), Node(4),
                    Node(5), Node(6), Node(7), Node(8), Node(9)};
  TimerWheel wheel;
  for (int i = 0; i < 10; ++i) wheel.start(nodes[i], static_cast<Tick>(50 * i + 1));
  EXPECT_EQ(due_numbers(wheel, 0), Numbers{});
  EXPECT_EQ(due_numbers(wheel, 50), Numbers{0});
  EXPECT_EQ(due_numbers(wheel, 51), Numbers{1});
  EXPECT_EQ(due_numbers(wheel, 1000), (Numbers{2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(wheel.size(), 0u);
}

TEST(TimerWheel, EqualDeadlinesFireInTheOrderInWhichTheyWereStarted) {
  Node a(1), b(2), c(3);
  TimerWheel wheel;
  // 7: level 0; 700: level 1; 70,000: level 2, filed anew twice on the way.
  for (const Tick deadline : {Tick{7}, Tick{700}, Tick{70'000}, Tick{70'000'000}}) {
    wheel.start(c, deadline);
    wheel.start(a, deadline);
    wheel.start(b, deadline);
    EXPECT_EQ(due_numbers(wheel, deadline), (Numbers{3, 1, 2})) << deadline;
  }
}

TEST(TimerWheel, OrderHoldsBetweenWhatWasFiledFarAheadAndWhatCameWhenTimeWasNear) {
  Node early(1), late(2);
  TimerWheel wheel;
  wheel.start(early, 1000);  // at level 1
  EXPECT_EQ(due_numbers(wheel, 990), Numbers{});
  wheel.start(late, 1000);  // at level 0
  EXPECT_EQ(due_numbers(wheel, 1000), (Numbers{1, 2}));
}

TEST(TimerWheel, NothingIsEarlyAndNothingLateAtTheEdgesOfEveryLevel) {
  for (int level = 0; level < TimerWheel::kLevels; ++level) {
    const Tick edge = Tick{1} << (level * TimerWheel::kLevelBits);
    for (const Tick deadline : {edge - 1, edge, edge + 1, 255 * edge, 256 * edge - 1}) {
      if (deadline == 0 || deadline > TimerWheel::kMaxTick) continue;
      Node node(1);
      TimerWheel wheel;
      wheel.start(node, deadline);
      EXPECT_EQ(due_numbers(wheel, deadline - 1), Numbers{}) << deadline;
      EXPECT_EQ(due_numbers(wheel, deadline), Numbers{1}) << deadline;
    }
  }
}

TEST(TimerWheel, DeadlinesBeyondTheLastTickAreKeptThere) {
  Node near(1), last(2), beyond(3);
  TimerWheel wheel;
  wheel.start(near, 1);
  wheel.start(last, TimerWheel::kMaxTick);
  wheel.start(beyond, ~Tick{0});
  EXPECT_EQ(due_numbers(wheel, 1), Numbers{1});
  EXPECT_EQ(due_numbers(wheel, TimerWheel::kMaxTick - 1), Numbers{});
  EXPECT_EQ(due_numbers(wheel, ~Tick{0}), (Numbers{2, 3}));
  EXPECT_EQ(wheel.now(), TimerWheel::kMaxTick);
}

TEST(TimerWheel, AtTheEndOfTimeEverythingIsDueInTheNextTurn) {
  Node node(1);
  TimerWheel wheel(~Tick{0});
  wheel.start(node, ~Tick{0});
  EXPECT_EQ(due_numbers(wheel, ~Tick{0}), Numbers{1});
}

TEST(TimerWheel, AReachedDeadlineWaitsForTheNextAdvance) {
  Node first(1), again(2), past(3);
  TimerWheel wheel;
  wheel.start(first, 5);
  wheel.advance(10);
  ASSERT_EQ(wheel.pop_due(), &first);
  wheel.start(first, 10);
  wheel.start(again, 0);
  wheel.start(past, 9);
  EXPECT_EQ(wheel.pop_due(), nullptr) << "a timer that restarts itself would never end the turn";
  EXPECT_EQ(wheel.next_tick(), 10u);
  EXPECT_EQ(due_numbers(wheel, 10), (Numbers{1, 2, 3}));
}

TEST(TimerWheel, AnEarlierNowCountsAsTheCurrentTick) {
  Node node(1), due(2);
  TimerWheel wheel;
  wheel.advance(1000);
  wheel.start(node, 1001);
  wheel.start(due, 1000);
  EXPECT_EQ(due_numbers(wheel, 3), Numbers{2});
  EXPECT_EQ(wheel.now(), 1000u);
  EXPECT_EQ(due_numbers(wheel, 1001), Numbers{1});
}

TEST(TimerWheel, ARestartMovesTheDeadlineToEitherSideAndFiresOnce) {
  Node node(1);
  TimerWheel wheel;
  wheel.start(node, 500);
  wheel.start(node, 20);  // earlier
  EXPECT_EQ(wheel.size(), 1u);
  EXPECT_EQ(due_numbers(wheel, 20), Numbers{1});
  EXPECT_EQ(due_numbers(wheel, 600), Numbers{});

  wheel.start(node, 700);
  wheel.start(node, 100'000);  // later
  EXPECT_EQ(wheel.size(), 1u);
  EXPECT_EQ(due_numbers(wheel, 99'999), Numbers{});
  EXPECT_EQ(due_numbers(wheel, 100'000), Numbers{1});
}

TEST(TimerWheel, MovingLaterLeavesTheTimerInItsSlotUntilThatComesUp) {
  Node node(1);
  TimerWheel wheel;
  wheel.start(node, 100);
  for (Tick later = 101; later <= 1000; ++later) wheel.start(node, later);
  EXPECT_EQ(wheel.next_tick(), 100u) << "moving later must not touch the slots";
  EXPECT_EQ(due_numbers(wheel, 100), Numbers{});
  EXPECT_GT(wheel.next_tick(), 100u);
  EXPECT_EQ(due_numbers(wheel, 999), Numbers{});
  EXPECT_EQ(due_numbers(wheel, 1000), Numbers{1});
}

TEST(TimerWheel, CancellingHeadMiddleLastAndLaterSlotsLeavesTheOthers) {
  std::vector<Node> nodes(10);
  TimerWheel wheel;
  for (int i = 0; i < 10; ++i) nodes[static_cast<std::size_t>(i)].number = i;
  for (std::size_t i = 0; i < 8; ++i) wheel.start(nodes[i], 5);
  wheel.start(nodes[8], 6);
  wheel.start(nodes[9], 6000);
  wheel.advance(5);
  TimerNode* first = wheel.pop_due();
  ASSERT_EQ(first, &nodes[0]);
  for (const std::size_t i : {1u, 4u, 7u, 8u, 9u}) {  // while their slot is being worked on
    wheel.cancel(nodes[i]);
    EXPECT_FALSE(nodes[i].active());
  }
  wheel.check_invariants();
  EXPECT_EQ(due_numbers(wheel, 10'000), (Numbers{2, 3, 5, 6}));
  EXPECT_EQ(wheel.size(), 0u);
}

TEST(TimerWheel, TheFirstOfElevenDueTimersCanCancelTheOtherTen) {
  std::vector<Node> nodes(11);
  TimerWheel wheel;
  for (Node& node : nodes) wheel.start(node, 3);
  wheel.advance(3);
  ASSERT_EQ(wheel.pop_due(), &nodes[0]);
  for (Node& node : nodes) wheel.cancel(node);
  EXPECT_EQ(wheel.pop_due(), nullptr);
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_EQ(wheel.next_tick(), TimerWheel::kNever);
  wheel.check_invariants();
}

TEST(TimerWheel, ADueTimerMovedLaterInTheTurnDoesNotFireInIt) {
  Node a(1), b(2);
  TimerWheel wheel;
  wheel.start(a, 5);
  wheel.start(b, 5);
  wheel.advance(5);
  ASSERT_EQ(wheel.pop_due(), &a);
  wheel.start(b, 8);
  EXPECT_EQ(wheel.pop_due(), nullptr);
  EXPECT_EQ(due_numbers(wheel, 7), Numbers{});
  EXPECT_EQ(due_numbers(wheel, 8), Numbers{2});
}

TEST(TimerWheel, ATimerMovedIntoTheSlotBeingWorkedOnAndDroppedLeavesNoEntryBehind) {
  Node a(1);
  TimerWheel wheel;
  wheel.start(a, 5);
  {
    auto b = std::make_unique<Node>(2);
    wheel.start(*b, 500);
    wheel.advance(5);
    ASSERT_EQ(wheel.pop_due(), &a);
    wheel.start(*b, 5);
    wheel.cancel(*b);
  }
  wheel.check_invariants();
  EXPECT_EQ(due_numbers(wheel, 1000), Numbers{});
}

TEST(TimerWheel, CancelOfAnInactiveTimerDoesNothing) {
  Node node(1), other(2);
  TimerWheel wheel;
  wheel.start(other, 5);
  wheel.cancel(node);
  wheel.cancel(node);
  EXPECT_EQ(wheel.size(), 1u);
  wheel.check_invariants();
}

TEST(TimerWheel, ANodeThatTakesAnothersPlaceKeepsItsTurn) {
  Node a(1), b(2), c(3), moved(4);
  TimerWheel wheel;
  wheel.start(a, 5);
  wheel.start(b, 5);
  wheel.start(c, 5);
  moved.move_from(b);
  EXPECT_FALSE(b.active());
  EXPECT_TRUE(moved.active());
  wheel.check_invariants();
  EXPECT_EQ(due_numbers(wheel, 5), (Numbers{1, 4, 3}));
}

TEST(TimerWheel, NextTickIsNeverLaterThanTheFirstDeadline) {
  TimerWheel wheel;
  EXPECT_EQ(wheel.next_tick(), TimerWheel::kNever);
  Node far(1), near(2);
  wheel.start(far, 5'000'000);
  EXPECT_LE(wheel.next_tick(), 5'000'000u);
  wheel.start(near, 12);
  EXPECT_EQ(wheel.next_tick(), 12u);
  wheel.cancel(near);
  EXPECT_GT(wheel.next_tick(), 12u) << "a cancelled timer must not wake the loop";
  EXPECT_LE(wheel.next_tick(), 5'000'000u);
  wheel.cancel(far);
  EXPECT_EQ(wheel.next_tick(), TimerWheel::kNever);
}

TEST(TimerWheel, AFarDeadlineIsReachedInAsManyStepsAsThereAreLevels) {
  for (const Tick deadline : {Tick{300}, Tick{123'456}, Tick{0x123456789abc}}) {
    Node node(1);
    TimerWheel wheel;
    wheel.start(node, deadline);
    int steps = 0;
    while (wheel.size() > 0) {
      ASSERT_LE(++steps, TimerWheel::kLevels) << "a sleeping loop would wake for nothing";
      const Tick next = wheel.next_tick();
      ASSERT_GT(next, wheel.now());
      const Numbers fired = due_numbers(wheel, next);
      EXPECT_EQ(fired.empty(), next < deadline);
    }
    EXPECT_EQ(wheel.now(), deadline);
  }
}

TEST(TimerWheel, AWheelThatGoesCancelsWhatIsLeftEverywhere) {
  Node reached(1), due(2), near(3), far(4);
  {
    TimerWheel wheel;
    wheel.start(due, 5);
    wheel.start(near, 6);
    wheel.start(far, 100'000'000);
    wheel.advance(5);
    wheel.start(reached, 1);
    EXPECT_EQ(wheel.size(), 4u);
  }
  for (const Node* node : {&reached, &due, &near, &far}) EXPECT_FALSE(node->active());
}

TEST(TimerWheel, AMillionRestartsLaterCostOneSlotAndKeepTheCount) {
  Node idle(1), clock(2);
  TimerWheel wheel;
  wheel.start(idle, 30'000);
  Tick now = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    now += i % 3 == 0;  // three messages in each tick
    wheel.advance(now);
    ASSERT_EQ(wheel.pop_due(), nullptr);
    wheel.start(idle, now + 30'000);
  }
  wheel.check_invariants();
  EXPECT_EQ(wheel.size(), 1u);
  EXPECT_EQ(due_numbers(wheel, now + 29'999), Numbers{});
  EXPECT_EQ(due_numbers(wheel, now + 30'000), Numbers{1});
}

}  // namespace
}  // namespace millrace
