// The wheel against a std::multimap, with random operations and a clock moved by hand. Each seed is
// a test of its own, so that a failure, an abort in check_invariants() too, names it.
#include "timer_wheel.h"

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace millrace {
namespace {

using Tick = TimerWheel::Tick;

constexpr std::size_t kNodes = 250;
constexpr int kOperations = 40'000;  // for each of the seeds

struct ModelNode : TimerNode {
  explicit ModelNode(std::size_t n) : number(n) {}
  void handle_timer() override {}
  void move_from(ModelNode& other) { take_place_of(other); }
  std::size_t number;
};

class TimerWheelModel : public ::testing::TestWithParam<unsigned> {
 protected:
  TimerWheelModel() : random(GetParam()) {
    // Near the start, in the middle and near the end of the time that the wheel knows.
    const Tick starts[] = {0, 0x00fe'ffff'ff00, TimerWheel::kMaxTick - 5'000'000};
    now = starts[GetParam() % std::size(starts)];
    wheel = std::make_unique<TimerWheel>(now);
    for (std::size_t i = 0; i < kNodes; ++i) nodes.push_back(std::make_unique<ModelNode>(i));
    entries.resize(kNodes, model.end());
    moved_later.resize(kNodes, false);
  }

  Tick number_below(Tick end) { return std::uniform_int_distribution<Tick>(0, end - 1)(random); }
  // As often of one bit as of two, three ... `bits`.
  Tick of_any_size(unsigned bits) {
    const Tick size = number_below(bits + 1);
    return size == 0 ? 0 : random() >> (64 - size);
  }
  std::size_t any_node() { return number_below(kNodes); }
  bool active(std::size_t i) const { return entries[i] != model.end(); }

  void start(std::size_t i, Tick deadline) {
    wheel->start(*nodes[i], deadline);
    // What is not later than now is due in the next turn, in the order in which it was started.
    const Tick due = std::max(std::min(deadline, TimerWheel::kMaxTick), now);
    if (active(i)) {
      // Moved later by one store: its place among the timers of the same tick is not promised.
      moved_later[i] = due >= entries[i]->first;
      model.erase(entries[i]);
    } else {
      moved_later[i] = false;
    }
    entries[i] = model.emplace(due, i);
    EXPECT_TRUE(nodes[i]->active());
  }

  void cancel(std::size_t i) {
    wheel->cancel(*nodes[i]);
    if (active(i)) model.erase(entries[i]);
    entries[i] = model.end();
    EXPECT_FALSE(nodes[i]->active());
  }

  void relocate(std::size_t i) {
    auto other = std::make_unique<ModelNode>(i);
    other->move_from(*nodes[i]);
    EXPECT_FALSE(nodes[i]->active());
    EXPECT_EQ(other->active(), active(i));
    nodes[i] = std::move(other);
  }

  // What a callback might do. One that is due in this turn is not started again for a tick that has
  // been reached.
  void disturb(const std::set<std::size_t>& still_due) {
    const std::size_t i = any_node();
    switch (number_below(4)) {
      case 0:
        cancel(i);
        break;
      case 1:
        relocate(i);
        break;
      default:
        start(i, now + of_any_size(20) + (still_due.count(i) ? 1 : 0));
    }
  }

  void advance(Tick to) {
    wheel->advance(to);
    now = std::max(now, std::min(to, TimerWheel::kMaxTick));
    wheel->check_invariants();
    std::set<std::size_t> expected;
    for (auto at = model.begin(); at != model.upper_bound(now); ++at) expected.insert(at->second);
    std::map<std::size_t, std::size_t> places;  // in the order of the model
    for (auto at = model.begin(); at != model.upper_bound(now); ++at) {
      places.emplace(at->second, places.size());
    }
    std::size_t next_place = 0;
    while (TimerNode* popped = wheel->pop_due()) {
      const std::size_t i = static_cast<ModelNode*>(popped)->number;
      ASSERT_EQ(popped, nodes[i].get());
      ASSERT_EQ(expected.erase(i), 1u) << "timer " << i << " is not due at " << now;
      if (!moved_later[i]) {
        ASSERT_GE(places[i], next_place) << "timer " << i << " came after one that follows it";
        next_place = places[i] + 1;
      }
      ASSERT_FALSE(popped->active());
      model.erase(entries[i]);
      entries[i] = model.end();
      if (number_below(8) == 0) {
        disturb(expected);
        // Cancelled, or moved to a later tick or turn by the line above.
        for (auto due = expected.begin(); due != expected.end();) {
          due = active(*due) && entries[*due]->first <= now ? std::next(due) : expected.erase(due);
        }
      }
    }
    ASSERT_TRUE(expected.empty()) << "timer " << *expected.begin() << " was due at " << now;
  }

  void check() {
    wheel->check_invariants();
    ASSERT_EQ(wheel->size(), model.size());
    ASSERT_EQ(wheel->now(), now);
    const Tick next = wheel->next_tick();
    if (model.empty()) {
      ASSERT_EQ(next, TimerWheel::kNever);
    } else {
      ASSERT_LE(next, model.begin()->first) << "the loop would oversleep";
      ASSERT_GE(next, now);
    }
  }

  void operate() {
    const std::size_t i = any_node();
    switch (number_below(16)) {
      case 0:
      case 1:
      case 2:
        return start(i, now + of_any_size(12));
      case 3:
      case 4:
        return start(i, now + of_any_size(49));
      case 5:
        return start(i, of_any_size(64));  // also long past, and beyond what the wheel can hold
      case 6:
      case 7:
        return cancel(i);
      case 8:
        if (active(i)) start(i, entries[i]->first + of_any_size(20));  // later
        return;
      case 9:
        if (active(i)) start(i, entries[i]->first - number_below(entries[i]->first - now + 1));
        return;
      case 10:
        return relocate(i);
      case 11:
        return advance(wheel->next_tick() == TimerWheel::kNever ? now : wheel->next_tick());
      case 12:
        return advance(model.empty() ? now : model.begin()->first);
      case 13:
        // Rarely by more than the first two levels, or there would soon be no time left.
        return advance(now + of_any_size(number_below(500) == 0 ? 36 : 14));
      default:
        return advance(now + number_below(4));
    }
  }

  std::mt19937_64 random;
  Tick now;
  std::vector<std::unique_ptr<ModelNode>> nodes;
  std::unique_ptr<TimerWheel> wheel;       // goes first: a test that fails leaves timers active
  std::multimap<Tick, std::size_t> model;  // of equal deadlines, the one started first is first
  std::vector<std::multimap<Tick, std::size_t>::iterator> entries;
  std::vector<bool> moved_later;
};

TEST_P(TimerWheelModel, FiresTheSameTimersInTheSameOrder) {
  for (int n = 0; n < kOperations; ++n) {
    operate();
    check();
    if (HasFatalFailure() || HasFailure()) {
      FAIL() << "seed " << GetParam() << ", operation " << n << ", now " << now;
    }
  }
  advance(TimerWheel::kMaxTick);  // everything, far more than one slot, at once
  wheel->check_invariants();
  for (std::size_t i = 0; i < kNodes; ++i) cancel(i);
  check();
}

INSTANTIATE_TEST_SUITE_P(Seed, TimerWheelModel, ::testing::Range(1u, 9u),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace millrace
