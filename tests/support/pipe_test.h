// PipeTest is OnePeerTest with a second server and peer: the connection `a` of the peer `left` and
// the connection `b` of the peer `right`, to be piped.
//
//   open_piped();
//   left.send_all("x");
//   EXPECT_EQ(receive(right, 1), "x");
#pragma once

#include <millrace/pipe.h>

#include "support/one_peer_test.h"

#include <algorithm>
#include <memory>

namespace millrace::test {

struct PipeTest : OnePeerTest {
  void TearDown() override {
    right.close();
    right_server.reset();
    a = b = {};  // they would keep a part of the loop
    OnePeerTest::TearDown();
  }

  // Two servers, so that each side may lose its owner alone; not piped yet.
  void open(const ServerOptions& options = {}, int peer_buffer = 0) {
    start(options, peer_buffer, peer_buffer);
    a = connection().ref();
    right_server = std::make_unique<Server>(loop(), right_recorder, options);
    right_server->listen(any_address());
    right = RawSocket::connect_to(right_server->address(), peer_buffer, peer_buffer);
    ASSERT_TRUE(run_until([&] { return right_recorder.opened == 1; }));
    b = right_recorder.last->ref();
  }
  void open_piped(const ServerOptions& options = {}, int peer_buffer = 0) {
    open(options, peer_buffer);
    pipe(*a.get(), *b.get());
  }
  bool until_both_closed() {
    return run_until([&] { return recorder.closed == 1 && right_recorder.closed == 1; });
  }
  // Runs the loop until `who` sees a reset.
  bool sees_reset(RawSocket& who) {
    return run_until([&] {
             who.receive_some();
             return who.last_error() == ECONNRESET || who.at_end();
           }) &&
           !who.at_end();
  }
  std::size_t longest_queue() const {
    std::size_t longest = 0;
    for (const ConnectionRef& side : {a, b}) {
      if (const Connection* c = side.get()) longest = std::max(longest, c->queued_bytes());
    }
    return longest;
  }

  RawSocket& left = peer;
  RawSocket right;
  Recorder right_recorder;
  std::unique_ptr<Server> right_server;
  ConnectionRef a;
  ConnectionRef b;
};

}  // namespace millrace::test
