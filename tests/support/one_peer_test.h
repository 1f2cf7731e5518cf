// OnePeerTest is LoopTest with one server, whose handler is the fixture's recorder, and one plain
// peer that is connected to it.
//
//   struct MyTest : OnePeerTest {};
//   TEST_F(MyTest, Greets) {
//     recorder.when_open = [](Connection& c) { c.send("hello"); };
//     start();
//     EXPECT_EQ(receive(peer, 5), "hello");
//   }
//
// Callbacks of the recorder that refer to locals of the test are dropped before the server goes:
// its remaining connections end without them.
#pragma once

#include <millrace/connection.h>
#include <millrace/error.h>
#include <millrace/server.h>

#include "support/loop_test.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>

namespace millrace::test {

// Bytes among which no two places look alike: what is lost, doubled or swapped shows.
inline std::string pattern(std::size_t n, unsigned seed = 1) {
  std::string bytes(n + 8, '\0');
  std::mt19937_64 random(seed);
  for (std::size_t i = 0; i < n; i += 8) {
    const std::uint64_t next = random();
    std::memcpy(bytes.data() + i, &next, 8);
  }
  bytes.resize(n);
  return bytes;
}

// Comparing megabytes with EXPECT_EQ prints them.
inline ::testing::AssertionResult same_bytes(std::string_view got, std::string_view wanted) {
  if (got == wanted) return ::testing::AssertionSuccess();
  std::size_t at = 0;
  while (at < got.size() && at < wanted.size() && got[at] == wanted[at]) ++at;
  return ::testing::AssertionFailure() << got.size() << " bytes instead of " << wanted.size()
                                       << ", different from byte " << at << " on";
}

// How often `call` is made while `run` runs.
inline std::uint64_t calls_during(const Faults& faults, Call call,
                                  const std::function<void()>& run) {
  const std::uint64_t before = faults.count(call);
  run();
  return faults.count(call) - before;
}

class OnePeerTest : public LoopTest {
 protected:
  void TearDown() override {
    recorder.when_open = {};
    recorder.when_data = {};
    recorder.when_drained = {};
    recorder.when_peer_end = {};
    recorder.when_drain = {};
    recorder.when_close = {};
    peer.close();
    server.reset();
    LoopTest::TearDown();
  }

  // With the kernel's buffers so small that a peer which does not read blocks us after a few KiB.
  static ServerOptions small_buffers() {
    ServerOptions options;
    options.listen.socket.send_buffer_bytes = 4096;
    options.listen.socket.receive_buffer_bytes = 4096;
    return options;
  }

  void listen(const ServerOptions& options = {}) {
    server = std::make_unique<Server>(loop(), recorder, options);
    server->listen(any_address());
  }
  // A further peer, for whom the server has opened recorder.last.
  RawSocket connect(int receive_buffer = 0, int send_buffer = 0) {
    const int before = recorder.opened;
    RawSocket made = RawSocket::connect_to(server->address(), receive_buffer, send_buffer);
    EXPECT_TRUE(run_until([&] { return recorder.opened > before; }));
    return made;
  }
  void start(const ServerOptions& options = {}, int peer_receive_buffer = 0,
             int peer_send_buffer = 0) {
    listen(options);
    peer = connect(peer_receive_buffer, peer_send_buffer);
  }
  // Blocked by a peer that reads only when told to.
  void start_with_small_buffers(ServerOptions options = {}) {
    options.listen.socket = small_buffers().listen.socket;
    start(options, 4096);
  }

  Connection& connection() { return *recorder.last; }
  bool until_closed(int n = 1) {
    return run_until([&] { return recorder.closed >= n; });
  }

  // Runs the loop until `to` has taken all of it.
  void feed(RawSocket& to, std::string_view bytes) {
    EXPECT_TRUE(run_until([&] {
      bytes.remove_prefix(to.send_some(bytes));
      return bytes.empty();
    })) << "the server does not read";
  }

  std::unique_ptr<Server> server;
  RawSocket peer;
};

}  // namespace millrace::test
