// ClockTest is LoopTest with a clock that stands still: it moves only when the test says so, by
// step(), and the loop was made at a whole millisecond of it. Timers can then be tested exactly.
//
//   struct MyTest : ClockTest {};
//   TEST_F(MyTest, IsDueAfterTen) {
//     Timer timer = loop().after(10ms, [&] { ++fired; });
//     step(9ms);
//     EXPECT_EQ(fired, 0);
//     step(1ms);
//     EXPECT_EQ(fired, 1);
//   }
#pragma once

#include "support/loop_test.h"

namespace millrace::test {

class ClockTest : public LoopTest {
 protected:
  void SetUp() override {
    faults.stop_clock();
    LoopTest::SetUp();
  }

  // Moves the clock and runs one iteration, which does not wait.
  void step(Duration by) {
    faults.advance_clock(by);
    loop().run_once(0ms);
  }
  void turn() { step(0ms); }

  Faults faults;
};

}  // namespace millrace::test
