// LimitedPeerTest is OnePeerTest for a connection whose send queue has tight limits, on a kernel
// that takes exactly what the test says.
//
//   start_with_limits(10, 5);
//   EXPECT_FALSE(connection().send(bytes(11)));
//   kernel_takes(6);
//   EXPECT_EQ(recorder.drained, 1);
#pragma once

#include "support/one_peer_test.h"

#include <cstddef>
#include <string>

namespace millrace::test {

class LimitedPeerTest : public OnePeerTest {
 protected:
  // A `low` of zero is half of `high`, as always.
  void start_with_limits(std::size_t high, std::size_t low = 0, std::size_t cap = 1 << 20,
                         Overflow overflow = Overflow::close) {
    ServerOptions options;
    options.connection.limits = {.high_watermark_bytes = high,
                                 .low_watermark_bytes = low,
                                 .send_queue_bytes = cap,
                                 .overflow = overflow};
    start(options);
    fd = connection().native_handle();
  }
  // One iteration, in which the kernel takes `n` bytes of what is queued.
  void kernel_takes(std::size_t n) {
    Faults script;
    for (const Call call : {Call::send, Call::sendmsg}) {
      script.on(call, n == 0 ? Fault::fail(EAGAIN) : Fault::shorten(n), {.fd = fd});
    }
    loop().run_once(0ms);
  }
  // For when only their number matters.
  static std::string bytes(std::size_t n) { return std::string(n, '.'); }

  int fd = -1;  // of the connection that start_with_limits() has made
};

}  // namespace millrace::test
