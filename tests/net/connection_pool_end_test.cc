// The end of a pool: in each of its states and inside each of its callbacks.
#include <millrace/connection_pool.h>
#include <millrace/error.h>

#include "support/pool_test.h"

#include <optional>

namespace millrace::test {
namespace {

struct ConnectionPoolEndTest : PoolTest {
  void expect_rest() { EXPECT_LE(run_for(20ms), 5u); }
};

TEST_F(ConnectionPoolEndTest, DestroyedUnusedItJustGoes) {
  make_pool();
  pool.reset();
  expect_rest();
}

TEST_F(ConnectionPoolEndTest, DestroyedWhileSomebodyWaitsItForgetsHim) {
  make_pool();
  Asked& one = ask();
  pool.reset();
  EXPECT_FALSE(one.request.active());
  expect_rest();
  EXPECT_FALSE(one.done);
}

TEST_F(ConnectionPoolEndTest, DestroyedWhileItConnectsItCancels) {
  const FullListener silent;
  make_pool(silent.address());
  Asked& one = ask();
  turns();
  EXPECT_EQ(pool->stats().connecting, 1u);
  pool.reset();
  expect_rest();
  EXPECT_FALSE(one.done);
}

TEST_F(ConnectionPoolEndTest, DestroyedWithIdleConnectionsItEndsThem) {
  make_pool();
  lend().lease.release();
  RawSocket peer = listener.accept();
  pool.reset();
  EXPECT_TRUE(sees_end(peer));
}

TEST_F(ConnectionPoolEndTest, DestroyedWhileLentItTellsWhoHasItAndTheLeaseIsEmpty) {
  make_pool();
  Asked& one = lend();
  Recorder holder;
  holder.live.insert(one.lease.get());
  one.lease->set_handler(holder);
  holder.when_close = [&](Connection&, std::error_code) {
    EXPECT_FALSE(one.lease);
    one.lease.release();
  };
  pool.reset();
  EXPECT_EQ(holder.reasons, std::vector<std::error_code>{error::owner_destroyed});
  EXPECT_FALSE(one.lease);
  one.lease.discard();
}

TEST_F(ConnectionPoolEndTest, DestroyedWhileAConnectionClosesItEndsIt) {
  make_pool();
  lend().lease.discard();
  RawSocket peer = listener.accept();
  turns();
  pool.reset();
  EXPECT_TRUE(sees_end(peer));
}

TEST_F(ConnectionPoolEndTest, InsideTheCallbackWithALease) {
  make_pool();
  bool called = false;
  const LeaseRequest request = pool->acquire([&](std::error_code, ConnectionLease lease) {
    called = true;
    pool.reset();
    EXPECT_FALSE(lease);
  });
  const LeaseRequest other = pool->acquire([](std::error_code, ConnectionLease) { FAIL(); });
  ASSERT_TRUE(run_until([&] { return called; }));
  expect_rest();
}

TEST_F(ConnectionPoolEndTest, InsideTheCallbackWithAnError) {
  make_pool(ClosedPort().address());
  int called = 0;
  const LeaseRequest request = pool->acquire([&](std::error_code, ConnectionLease) {
    ++called;
    pool.reset();
  });
  const LeaseRequest other = pool->acquire([&](std::error_code, ConnectionLease) { ++called; });
  ASSERT_TRUE(run_until([&] { return called > 0; }));
  expect_rest();
  EXPECT_EQ(called, 1);
}

TEST_F(ConnectionPoolEndTest, InsidePrepareNew) {
  make_pool();
  pool->prepare_new([&](ConnectionLease) { pool.reset(); });
  Asked& one = ask();
  ASSERT_TRUE(run_until([&] { return !pool; }));
  expect_rest();
  EXPECT_FALSE(one.done);
}

TEST_F(ConnectionPoolEndTest, InsideCheckIdle) {
  options.check_after = 0ms;
  make_pool();
  lend().lease.release();
  pool->check_idle([&](ConnectionLease) { pool.reset(); });
  Asked& one = ask();
  ASSERT_TRUE(run_until([&] { return !pool; }));
  expect_rest();
  EXPECT_FALSE(one.done);
}

TEST_F(ConnectionPoolEndTest, InsideACallbackOfAConnectionThatIsLent) {
  make_pool();
  for (const bool at_close : {false, true}) {
    if (!pool) make_pool();
    Asked& one = lend();
    Recorder holder;
    holder.live.insert(one.lease.get());
    if (at_close) {
      holder.when_close = [&](Connection&, std::error_code) { pool.reset(); };
    } else {
      holder.when_data = [&](Connection&, ReceiveBuffer&) { pool.reset(); };
    }
    one.lease->set_handler(holder);
    RawSocket peer = listener.accept();
    if (at_close) {
      peer.reset();
    } else {
      peer.send_all("x");
    }
    ASSERT_TRUE(run_until([&] { return holder.closed == 1; }));
    EXPECT_FALSE(pool);
    expect_rest();
  }
}

TEST_F(ConnectionPoolEndTest, ALeaseMayEndInOnClose) {
  options.max_connections = 1;
  make_pool();
  Asked& one = lend();
  Recorder holder;
  holder.live.insert(one.lease.get());
  holder.when_close = [&](Connection&, std::error_code) { one.lease = {}; };
  one.lease->set_handler(holder);
  listener.accept().reset();
  ASSERT_TRUE(run_until([&] { return holder.closed == 1; }));
  lend();
}

TEST_F(ConnectionPoolEndTest, InsideItTheOnCloseOfOneMayEndTheLeaseOfAnotherAndAskAnew) {
  options.max_idle = 0;
  make_pool();
  Asked& one = lend();
  Asked& two = lend();
  const RawSocket first = listener.accept();
  RawSocket peer = listener.accept();
  Recorder holder;
  for (Asked* each : {&one, &two}) {
    holder.live.insert(each->lease.get());
    each->lease->set_handler(holder);
  }
  LeaseRequest late;
  ConnectionPool* dying = nullptr;
  holder.when_close = [&](Connection&, std::error_code) {
    one.lease = {};
    two.lease = {};
    if (dying) late = dying->acquire([](std::error_code, ConnectionLease) { FAIL(); });
  };
  holder.when_data = [&](Connection&, ReceiveBuffer&) {
    dying = pool.get();
    pool.reset();
    dying = nullptr;
  };
  peer.send_all("x");
  ASSERT_TRUE(run_until([&] { return holder.closed == 2; }));
  expect_rest();
  EXPECT_FALSE(late.active());
}

TEST_F(ConnectionPoolEndTest, AThrowOutOfAUsersCallbackCostsItsConnectionOnly) {
  loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  options.max_connections = 1;
  make_pool();
  Asked& one = lend();
  Recorder holder;
  holder.live.insert(one.lease.get());
  holder.when_data = [](Connection&, ReceiveBuffer&) { throw 1; };
  one.lease->set_handler(holder);
  RawSocket peer = listener.accept();
  peer.send_all("x");
  ASSERT_TRUE(run_until([&] { return holder.closed == 1; }));
  EXPECT_FALSE(one.lease);
  lend();
}

TEST_F(ConnectionPoolEndTest, WithoutAnyDescriptorRequestsFailAndLaterOnesAreServed) {
  Faults faults;
  faults.stop_clock();
  make_pool();
  faults.on(Call::socket, Fault::fail(EMFILE));
  Asked& one = ask();
  wait_for(one);
  EXPECT_EQ(one.why, std::errc::too_many_files_open);
  Asked& two = ask();
  pass(faults, 100ms);
  wait_for(two);
  EXPECT_FALSE(two.why);
}

}  // namespace
}  // namespace millrace::test
