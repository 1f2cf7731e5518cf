// BackpressureEcho makes the connections of a Recorder send back what they get and obey the
// watermarks meanwhile: when send() says stop they read no further, until on_drained. It notes how
// long a send queue became. It must live while they do; one thread.
//
//   BackpressureEcho echo(recorder);
//   start(BackpressureEcho::options());
//   ...
//   EXPECT_LE(echo.longest_queue(), BackpressureEcho::kLongestQueue);
#pragma once

#include <millrace/server.h>

#include "support/loop_test.h"

#include <algorithm>
#include <cstddef>

namespace millrace::test {

class BackpressureEcho {
 public:
  static constexpr std::size_t kHighWatermark = 16 * 1024;
  // What one receive brings comes on top: it has been read when send() says stop.
  static constexpr std::size_t kLongestQueue = kHighWatermark + LoopServices::kReceiveBlockBytes;

  explicit BackpressureEcho(Recorder& recorder) {
    recorder.when_data = [this](Connection& c, ReceiveBuffer& in) {
      if (!c.send(in.view())) c.pause_reading();
      in.consume_all();
      longest_queue_ = std::max(longest_queue_, c.queued_bytes());
    };
    recorder.when_drained = [](Connection& c) { c.resume_reading(); };
  }
  BackpressureEcho(const BackpressureEcho&) = delete;
  BackpressureEcho& operator=(const BackpressureEcho&) = delete;

  static ServerOptions options() {
    ServerOptions made;
    made.connection.limits.high_watermark_bytes = kHighWatermark;
    made.connection.limits.low_watermark_bytes = kHighWatermark / 2;
    return made;
  }
  std::size_t longest_queue() const { return longest_queue_; }

 private:
  std::size_t longest_queue_ = 0;
};

}  // namespace millrace::test
