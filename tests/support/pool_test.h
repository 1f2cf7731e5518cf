// PoolTest is the fixture of the tests of ConnectionPool: a pool, a listener that accepts when it
// is asked to, and requests that write down what they got.
//
//   Asked& one = ask();
//   ASSERT_TRUE(run_until([&] { return one.done; }));
//   one.lease->send("hello");
#pragma once

#include <millrace/connection.h>
#include <millrace/connection_pool.h>

#include "support/loop_test.h"
#include "support/sockets.h"

#include <deque>
#include <memory>
#include <string>

namespace millrace::test {

// What became of a request.
struct Asked {
  LeaseRequest request;
  ConnectionLease lease;
  std::error_code why;
  bool done = false;
  std::uint64_t id = 0;  // of its connection
};

class PoolTest : public LoopTest {
 protected:
  void SetUp() override {
    LoopTest::SetUp();
    listener = RawSocket::listen(64);
  }
  void TearDown() override {
    asked.clear();
    pool.reset();
    listener.close();
    LoopTest::TearDown();
  }
  void make_pool(const SocketAddress& address) {
    pool = std::make_unique<ConnectionPool>(loop(), address, options);
  }
  void make_pool() { make_pool(listener.address()); }
  Asked& ask() {
    Asked& one = asked.emplace_back();
    one.request = pool->acquire([&one, this](std::error_code why, ConnectionLease lease) {
      EXPECT_FALSE(one.done) << "twice";
      EXPECT_NE(static_cast<bool>(why), static_cast<bool>(lease));
      one.done = true;
      one.why = why;
      if (lease) one.id = lease->id();
      one.lease = std::move(lease);
      order.push_back(&one);
    });
    EXPECT_FALSE(one.done) << "from inside acquire()";
    return one;
  }
  // A request that has its connection.
  Asked& lend() {
    Asked& one = ask();
    EXPECT_TRUE(run_until([&] { return one.done; }));
    EXPECT_FALSE(one.why) << one.why.message();
    return one;
  }
  void wait_for(Asked& one) {
    EXPECT_TRUE(run_until([&] { return one.done; }));
  }
  void turns(int n = 5) {
    while (n-- > 0) loop().run_once(0ms);
  }
  // A timer may be late by a tick; what it leads to may take some turns.
  void pass(Faults& faults, std::chrono::milliseconds time) {
    faults.advance_clock(time + 1ms);
    turns();
  }

  RawSocket listener;
  ConnectionPoolOptions options;
  std::unique_ptr<ConnectionPool> pool;
  std::deque<Asked> asked;
  std::vector<Asked*> order;  // of the answers
};

}  // namespace millrace::test
