// TimeoutsTest is OnePeerTest for timeouts of connections, with a clock that the test moves on.
//
//   ConnectionTimeouts t = kOff;
//   t.idle = 1000s;
//   start(timeouts(t));
//   pass(1001s);
//   EXPECT_FALSE(connection().is_open());
//
// Timeouts are hundreds of seconds there: the little real time that passes besides does not matter.
#pragma once

#include "support/one_peer_test.h"

namespace millrace::test {

class TimeoutsTest : public OnePeerTest {
 protected:
  // All off, but for what is set.
  static ServerOptions timeouts(ConnectionTimeouts only) {
    ServerOptions options;
    options.connection.timeouts = only;
    return options;
  }
  static constexpr ConnectionTimeouts kOff{.write_stall = 0ms, .linger = 0ms, .linger_total = 0ms};

  void pass(std::chrono::nanoseconds time) {
    faults.advance_clock(time);
    for (int i = 0; i < 4; ++i) loop().run_once(0ms);
  }
  bool is_open() { return recorder.closed == 0 && connection().is_open(); }

  Faults faults;
};

}  // namespace millrace::test
