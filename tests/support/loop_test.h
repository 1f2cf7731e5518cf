// LoopTest is the fixture of everything that runs on a loop. It checks what must hold in each such
// test: descriptors are the same before and after, and, for handlers that derive from Recorder,
// on_close came exactly once for each on_open and nothing after it.
//
//   struct MyTest : LoopTest {};
//   TEST_F(MyTest, ClosesWhenAsked) {
//     Server server(loop, recorder);
//     server.listen(SocketAddress::loopback(0));
//     RawSocket peer = RawSocket::connect_to(server.address());
//     ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
//   }
//
// Whatever uses the loop is a local of the test: it goes before the loop does.
#pragma once

#include <millrace/connection_handler.h>
#include <millrace/event_loop.h>
#include <millrace/loop_services.h>

#include "support/faults.h"
#include "support/process.h"
#include "support/raw_socket.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {

using namespace std::chrono_literals;

// What an echo does in on_data.
inline void send_back(Connection& c, ReceiveBuffer& in) {
  c.send(in.view());
  in.consume_all();
}

// Counts and keeps what a connection's callbacks say; what they shall do can be given.
struct Recorder : ConnectionHandler {
  std::function<void(Connection&)> when_open = {};
  std::function<void(Connection&, ReceiveBuffer&)> when_data = {};  // default: keeps and consumes
  std::function<void(Connection&)> when_drained = {};
  std::function<void(Connection&)> when_peer_end = {};  // default: that of ConnectionHandler
  std::function<void(Connection&)> when_drain = {};     // default: that of ConnectionHandler
  std::function<void(Connection&, std::error_code)> when_close = {};

  int opened = 0;
  int drained = 0;
  int peer_ended = 0;
  int drains = 0;  // calls of on_drain
  int closed = 0;
  int connect_failed = 0;
  std::string received;        // of all connections
  Connection* last = nullptr;  // the one opened last, while it lives
  std::set<Connection*> live;
  std::vector<std::error_code> reasons;   // of on_close
  std::vector<std::error_code> failures;  // of on_connect_failed
  std::string detail;                     // close_detail() of the last on_close
  std::vector<std::string> events;  // "open", "data", "drained", "end", "drain", "close", in order

  void on_open(Connection& c) override {
    EXPECT_TRUE(live.insert(&c).second) << "opened twice";
    ++opened;
    last = &c;
    events.push_back("open");
    if (when_open) when_open(c);
  }
  void on_data(Connection& c, ReceiveBuffer& in) override {
    EXPECT_TRUE(live.count(&c)) << "data of a connection that is not open";
    events.push_back("data");
    if (when_data) return when_data(c, in);
    received += in.view().text();
    in.consume_all();
  }
  void on_drained(Connection& c) override {
    EXPECT_TRUE(live.count(&c)) << "drained, but not open";
    ++drained;
    events.push_back("drained");
    if (when_drained) when_drained(c);
  }
  void on_peer_end(Connection& c) override {
    EXPECT_TRUE(live.count(&c)) << "peer end, but not open";
    ++peer_ended;
    events.push_back("end");
    if (when_peer_end) return when_peer_end(c);
    ConnectionHandler::on_peer_end(c);
  }
  void on_drain(Connection& c) override {
    EXPECT_TRUE(live.count(&c)) << "drain, but not open";
    ++drains;
    events.push_back("drain");
    if (when_drain) return when_drain(c);
    ConnectionHandler::on_drain(c);
  }
  void on_close(Connection& c, std::error_code why) override {
    EXPECT_EQ(live.erase(&c), 1u) << "closed without being open";
    ++closed;
    reasons.push_back(why);
    detail = c.close_detail();
    if (last == &c) last = nullptr;
    events.push_back("close");
    if (when_close) when_close(c, why);
  }
  void on_connect_failed(std::error_code why) override {
    ++connect_failed;
    failures.push_back(why);
  }
};

class LoopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    descriptors_before_ = open_descriptors();
    loop_ = std::make_unique<EventLoop>(loop_options);
  }

  void TearDown() override {
    loop().run_once(0ms);  // buries
    EXPECT_EQ(loop().services().blocks().live_blocks(), 0u) << "buffer memory was not given back";
    loop_.reset();
    EXPECT_TRUE(recorder.live.empty()) << recorder.live.size() << " connections without on_close";
    EXPECT_EQ(recorder.opened, recorder.closed);
    EXPECT_EQ(open_descriptors(), descriptors_before_) << "descriptors leaked, or too many closed";
  }

  EventLoop& loop() { return *loop_; }

  // Runs the loop until done() or, then false, until the limit.
  bool run_until(const std::function<bool()>& done, std::chrono::milliseconds limit = 10s) {
    const auto end = Clock::now() + limit;
    while (!done()) {
      if (Clock::now() > end) return false;
      loop().run_once(1ms);  // what the peer waits for does not wake the loop
    }
    return true;
  }

  // Runs the loop for a while, to show that something does not happen. The result is how often the
  // loop woke up.
  std::uint64_t run_for(std::chrono::milliseconds length) {
    const std::uint64_t before = loop().stats().iterations;
    loop().run_for(length);
    return loop().stats().iterations - before;
  }

  // Runs the loop until `peer` has received `n` bytes; what it has received.
  std::string receive(RawSocket& peer, std::size_t n) {
    std::string all;
    run_until([&] {
      while (all.size() < n) {
        const std::string part =
            peer.receive_some(std::min<std::size_t>(n - all.size(), 64 * 1024));
        if (part.empty()) break;
        all += part;
      }
      return all.size() >= n || peer.at_end() ||
             (peer.last_error() != 0 && peer.last_error() != EAGAIN);
    });
    return all;
  }

  // Runs the loop until `peer` sees the end of the stream (true) or a reset or nothing (false).
  bool sees_end(RawSocket& peer) {
    run_until([&] {
      peer.receive_some();
      return peer.at_end() || (peer.last_error() != 0 && peer.last_error() != EAGAIN);
    });
    return peer.at_end();
  }

  Recorder recorder;
  // For constructors of fixtures. Who counts allocations switches the warning of stalls off: on a
  // busy machine it may come at any time, and takes memory.
  LoopOptions loop_options;

 private:
  std::map<int, std::string> descriptors_before_;
  std::unique_ptr<EventLoop> loop_;
};

}  // namespace millrace::test
