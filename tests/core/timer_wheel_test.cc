#include "timer_wheel.h"

#include <memory>
#include <vector>

#include <gtest/gtest.h>

namespace millrace {
namespace {

// Writes its number down when it is due.
struct Node : TimerNode {
  explicit Node(int n = 0) : number(n) {}
  void handle_timer() override {}
  int number;
};

std::vector<int> due_numbers(TimerWheel& wheel, TimerWheel::Tick now) {
  std::vector<int> numbers;
  wheel.advance(now);
  while (TimerNode* node = wheel.pop_due()) numbers.push_back(static_cast<Node*>(node)->number);
  wheel.check_invariants();
  return numbers;
}

TEST(TimerWheel, FiresInTheOrderOfDeadlinesAndNoneEarly) {
  TimerWheel wheel;
  Node nodes[10] = {Node(0), Node(1), Node(2), Node(3), Node(4),
                    Node(5), Node(6), Node(7), Node(8), Node(9)};
  for (int i = 0; i < 10; ++i) wheel.start(nodes[i], static_cast<TimerWheel::Tick>(50 * i + 1));
  EXPECT_EQ(due_numbers(wheel, 0), std::vector<int>{});
  EXPECT_EQ(due_numbers(wheel, 50), std::vector<int>{0});
  EXPECT_EQ(due_numbers(wheel, 51), std::vector<int>{1});
  EXPECT_EQ(due_numbers(wheel, 1000), (std::vector<int>{2, 3, 4, 5, 6, 7, 8, 9}));
  EXPECT_EQ(wheel.size(), 0u);
}

}  // namespace
}  // namespace millrace
