// Which connections a pool keeps: those that are young, asked for, silent and well.
#include <millrace/connection_pool.h>
#include <millrace/error.h>
#include <millrace/pipe.h>
#include <millrace/server.h>
#include <millrace/unix_connection.h>

#include "support/pool_test.h"
#include "support/unix_dir.h"

#include <optional>
#include <utility>
#include <vector>

#include <unistd.h>

namespace millrace::test {
namespace {

struct ConnectionPoolHealthTest : PoolTest {
  void SetUp() override {
    PoolTest::SetUp();
    faults.stop_clock();
  }
  // An idle connection and its peer.
  RawSocket idle_peer() {
    lend().lease.release();
    EXPECT_EQ(pool->stats().idle, 1u);
    return listener.accept();
  }
  Faults faults;
};

TEST_F(ConnectionPoolHealthTest, AnIdleOneThatItsPeerClosesGoesAtOnce) {
  make_pool();
  RawSocket peer = idle_peer();
  peer.close();
  ASSERT_TRUE(run_until([&] { return pool->stats().closed_bad == 1; }));
  EXPECT_EQ(pool->stats().idle, 0u);
  EXPECT_NE(lend().id, asked[0].id);
}

TEST_F(ConnectionPoolHealthTest, AnIdleOneThatIsResetGoesAtOnce) {
  make_pool();
  RawSocket peer = idle_peer();
  peer.reset();
  ASSERT_TRUE(run_until([&] { return pool->stats().closed_bad == 1; }));
  EXPECT_EQ(pool->stats().idle, 0u);
}

TEST_F(ConnectionPoolHealthTest, AnIdleOneThatSpeaksUnaskedGoesAtOnce) {
  make_pool();
  RawSocket peer = idle_peer();
  peer.send_all("surprise");
  ASSERT_TRUE(run_until([&] { return pool->stats().closed_bad == 1; }));
  EXPECT_EQ(pool->stats().idle, 0u);
  EXPECT_TRUE(sees_end(peer));
}

TEST_F(ConnectionPoolHealthTest, AnAnswerThatWasNotConsumedIsNoAnswerToTheNext) {
  make_pool();
  Asked& one = lend();
  RawSocket peer = listener.accept();
  peer.send_all("late");
  ASSERT_TRUE(run_until([&] { return !one.lease->unconsumed().empty(); }));
  one.lease.release();
  EXPECT_EQ(pool->stats().idle, 0u);
  EXPECT_NE(lend().id, one.id);
}

TEST_F(ConnectionPoolHealthTest, NorAreDescriptorsThatWereNotTakenForTheNext) {
  const UnixDir dir;
  Callbacks passes;
  passes.on_open = [](Connection& c) {
    std::vector<UniqueFd> one;
    one.emplace_back(::dup(0));
    send_descriptors(c, "x", std::move(one));
  };
  Server server(loop(), std::move(passes));
  server.listen(dir.address("s"));
  options.client.connection.limits.receive_descriptors = 1;
  make_pool(dir.address("s"));
  Asked& one = lend();
  Recorder holder;
  holder.live.insert(one.lease.get());
  one.lease->set_handler(holder);
  ASSERT_TRUE(run_until([&] { return holder.received == "x"; }));
  one.lease.release();
  EXPECT_EQ(pool->stats().idle, 0u);
}

TEST_F(ConnectionPoolHealthTest, NeitherIsOneThatStaysWhenTheLeaseEndsInsideOnData) {
  make_pool();
  Asked& one = lend();
  struct Impatient : ConnectionHandler {
    explicit Impatient(ConnectionLease& l) : lease(l) {}
    void on_data(Connection&, ReceiveBuffer& in) override {
      in.consume(3);
      lease.release();
    }
    ConnectionLease& lease;
  } impatient(one.lease);
  one.lease->set_handler(impatient);
  Asked& next = ask();
  RawSocket peer = listener.accept();
  peer.send_all("onetwo");
  wait_for(next);
  EXPECT_NE(next.id, one.id);
}

TEST_F(ConnectionPoolHealthTest, WhatWasConsumedInFullInsideOnDataIsGivenBackWell) {
  options.max_connections = 1;
  make_pool();
  Asked& one = lend();
  struct Patient : ConnectionHandler {
    explicit Patient(ConnectionLease& l) : lease(l) {}
    void on_data(Connection&, ReceiveBuffer& in) override {
      in.consume_all();
      lease.release();
    }
    ConnectionLease& lease;
  } patient(one.lease);
  one.lease->set_handler(patient);
  Asked& next = ask();
  RawSocket peer = listener.accept();
  peer.send_all("one");
  wait_for(next);
  EXPECT_EQ(next.id, one.id);
}

TEST_F(ConnectionPoolHealthTest, OneThatIsHalfClosedOrPausedIsNotLentAgain) {
  make_pool();
  for (int how = 0; how < 3; ++how) {
    Asked& one = lend();
    RawSocket peer = listener.accept();
    Recorder recorder_of_end;
    if (how == 0) one.lease->end();
    if (how == 1) one.lease->pause_reading();
    if (how == 2) {
      recorder_of_end.when_peer_end = [](Connection&) {};
      recorder_of_end.live.insert(one.lease.get());
      one.lease->set_handler(recorder_of_end);
      peer.end();
      ASSERT_TRUE(run_until([&] { return recorder_of_end.peer_ended == 1; }));
    }
    one.lease.release();
    EXPECT_EQ(pool->stats().idle, 0u) << how;
    peer.close();
    turns();
    asked.clear();
  }
}

TEST_F(ConnectionPoolHealthTest, OneThatIsPipedGoesOnToItsEndAndIsNotLentAgain) {
  make_pool();
  Asked& one = lend();
  RawSocket first = listener.accept();
  Asked& two = lend();
  RawSocket second = listener.accept();
  pipe(*one.lease, *two.lease);
  one.lease.release();
  two.lease.discard();
  EXPECT_EQ(pool->stats().idle + pool->stats().lent, 0u);
  first.send_all("through");
  EXPECT_EQ(receive(second, 7), "through");
  first.close();
  EXPECT_TRUE(sees_end(second));
  second.close();
  turns(20);
}

TEST_F(ConnectionPoolHealthTest, AfterItsIdleTimeItGoesAndTheOnesUsedLaterStay) {
  options.idle_timeout = 1s;
  make_pool();
  Asked& one = lend();
  Asked& two = lend();
  one.lease.release();
  pass(faults, 500ms);
  two.lease.release();
  turns();
  pass(faults, 499ms);
  EXPECT_EQ(pool->stats().idle, 1u);
  EXPECT_EQ(pool->stats().closed_old, 1u);
  EXPECT_EQ(lend().id, two.id);
}

TEST_F(ConnectionPoolHealthTest, NoMoreThanMaxIdleAreKept) {
  options.max_idle = 2;
  make_pool();
  for (int i = 0; i < 5; ++i) lend();
  for (Asked& one : asked) one.lease.release();
  turns();
  EXPECT_EQ(pool->stats().idle, 2u);
  EXPECT_EQ(pool->stats().closed_old, 3u);
  EXPECT_EQ(lend().id, asked[4].id) << "those used longest ago have gone";
}

TEST_F(ConnectionPoolHealthTest, WithoutAnyIdleEachRequestHasANewOne) {
  options.max_idle = 0;
  make_pool();
  const std::uint64_t first = lend().id;
  asked[0].lease.release();
  turns();
  EXPECT_EQ(pool->stats().idle, 0u);
  EXPECT_NE(lend().id, first);
}

TEST_F(ConnectionPoolHealthTest, AfterItsLifetimeItIsNotLentAgain) {
  options.max_lifetime = 10s;
  make_pool();
  const std::uint64_t first = lend().id;
  pass(faults, 5s);
  asked[0].lease.release();
  EXPECT_EQ(lend().id, first);
  pass(faults, 5s);
  EXPECT_TRUE(asked[1].lease) << "it is not taken away from who has it";
  asked[1].lease.release();
  EXPECT_EQ(pool->stats().idle, 0u);
  EXPECT_NE(lend().id, first);
  EXPECT_EQ(pool->stats().closed_old, 1u);
}

TEST_F(ConnectionPoolHealthTest, AfterItsUsesItIsNotLentAgain) {
  options.max_uses = 2;
  make_pool();
  const std::uint64_t first = lend().id;
  asked[0].lease.release();
  EXPECT_EQ(lend().id, first);
  asked[1].lease.release();
  EXPECT_NE(lend().id, first);
}

TEST_F(ConnectionPoolHealthTest, ANewOneIsPreparedBeforeAnybodyGetsIt) {
  make_pool();
  std::optional<ConnectionLease> preparing;
  pool->prepare_new([&](ConnectionLease lease) { preparing = std::move(lease); });
  Asked& one = ask();
  ASSERT_TRUE(run_until([&] { return preparing.has_value(); }));
  turns(20);
  EXPECT_FALSE(one.done);
  const std::uint64_t id = (*preparing)->id();
  RawSocket peer = listener.accept();
  peer.send_all("greeting");  // which is no surprise now
  ASSERT_TRUE(run_until([&] { return !(*preparing)->unconsumed().empty(); }));
  struct Eat : ConnectionHandler {
    void on_data(Connection&, ReceiveBuffer& in) override { in.consume_all(); }
  } eat;
  (*preparing)->set_handler(eat);
  turns();
  preparing->release();
  wait_for(one);
  EXPECT_EQ(one.id, id);
  one.lease.release();
  EXPECT_EQ(lend().id, id) << "it is prepared once";
}

TEST_F(ConnectionPoolHealthTest, APreparationThatFailsIsAnEndpointThatRefuses) {
  make_pool();
  pool->prepare_new([](ConnectionLease lease) { lease.discard(); });
  Asked& one = ask();
  wait_for(one);
  EXPECT_EQ(one.why, error::pool_check_failed);
  const auto before = faults.count(Call::connect);
  Asked& two = ask();
  turns(20);
  EXPECT_EQ(faults.count(Call::connect), before) << "not at once";
  EXPECT_FALSE(two.done);
}

TEST_F(ConnectionPoolHealthTest, APreparationThatThrowsHasFailed) {
  loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  make_pool();
  pool->prepare_new([](ConnectionLease) { throw 1; });
  Asked& one = ask();
  wait_for(one);
  EXPECT_EQ(one.why, error::pool_check_failed);
  EXPECT_EQ(pool->stats().idle, 0u) << "nobody has prepared it";
}

TEST_F(ConnectionPoolHealthTest, ALeaseThatAnExceptionDestroysIsNotLentAgain) {
  loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  make_pool();
  bool called = false;
  const LeaseRequest request = pool->acquire([&](std::error_code, ConnectionLease lease) {
    called = true;
    lease->send("half a requ");
    throw 1;
  });
  ASSERT_TRUE(run_until([&] { return called; }));
  EXPECT_EQ(pool->stats().idle, 0u);
  EXPECT_EQ(pool->stats().lent, 0u);
}

TEST_F(ConnectionPoolHealthTest, WithoutACheckTimeoutAPreparationTakesItsTime) {
  options.check_timeout = 0ms;
  options.idle_timeout = 1s;
  make_pool();
  lend().lease.release();
  std::optional<ConnectionLease> preparing;
  pool->prepare_new([&](ConnectionLease lease) { preparing = std::move(lease); });
  Asked& one = lend();
  Asked& two = ask();
  ASSERT_TRUE(run_until([&] { return preparing.has_value(); }));
  two.request.cancel();
  one.lease.release();  // idle, until it is swept
  pass(faults, 2h);
  EXPECT_EQ(pool->stats().closed_old, 1u);
  EXPECT_TRUE(*preparing);
  preparing.reset();
}

TEST_F(ConnectionPoolHealthTest, APreparationIsGivenUpAfterItsTime) {
  options.check_timeout = 1s;
  make_pool();
  std::optional<ConnectionLease> preparing;
  pool->prepare_new([&](ConnectionLease lease) { preparing = std::move(lease); });
  Asked& one = ask();
  ASSERT_TRUE(run_until([&] { return preparing.has_value(); }));
  pass(faults, 998ms);
  EXPECT_TRUE(*preparing);
  pass(faults, 1ms);
  EXPECT_FALSE(*preparing);
  wait_for(one);
  EXPECT_EQ(one.why, std::errc::timed_out);
}

TEST_F(ConnectionPoolHealthTest, OneThatRestedLongIsCheckedAndLentWhenItIsWell) {
  options.check_after = 10s;
  make_pool();
  int checks = 0;
  std::optional<ConnectionLease> checking;
  pool->check_idle([&](ConnectionLease lease) {
    ++checks;
    checking = std::move(lease);
  });
  const std::uint64_t first = lend().id;
  asked[0].lease.release();
  pass(faults, 5s);
  EXPECT_EQ(lend().id, first);
  EXPECT_EQ(checks, 0) << "it has not rested for long";
  asked[1].lease.release();
  pass(faults, 10s);
  Asked& one = ask();
  turns();
  EXPECT_EQ(checks, 1);
  EXPECT_FALSE(one.done);
  checking->release();
  wait_for(one);
  EXPECT_EQ(one.id, first);
}

TEST_F(ConnectionPoolHealthTest, OneThatIsNotWellGoesAndANewOneIsMade) {
  options.check_after = 1s;
  make_pool();
  pool->check_idle([&](ConnectionLease lease) { lease.discard(); });
  const std::uint64_t first = lend().id;
  asked[0].lease.release();
  pass(faults, 2s);
  EXPECT_NE(lend().id, first);
  EXPECT_EQ(pool->stats().closed_bad, 1u);
  EXPECT_EQ(pool->stats().failed, 0u) << "the endpoint is not to blame";
}

TEST_F(ConnectionPoolHealthTest, ForOneRequestOneIsCheckedAtATime) {
  options.check_after = 1s;
  make_pool();
  std::deque<ConnectionLease> checking;
  pool->check_idle([&](ConnectionLease lease) { checking.push_back(std::move(lease)); });
  for (int i = 0; i < 3; ++i) lend();
  for (Asked& one : asked) one.lease.release();
  pass(faults, 2s);
  Asked& waits = ask();
  turns(20);
  EXPECT_EQ(checking.size(), 1u);
  checking[0].discard();
  turns(20);
  EXPECT_EQ(checking.size(), 2u);
  checking[1].release();
  wait_for(waits);
}

TEST_F(ConnectionPoolHealthTest, AServerThatSpeaksFirstIsHeardByTheFirstWhoGetsIt) {
  make_pool();
  Asked& one = ask();
  turns(1);  // it connects; the answer is still to be looked at
  RawSocket peer = listener.accept();
  peer.send_all("hi");
  wait_for(one);
  ASSERT_FALSE(one.why);
  ASSERT_TRUE(run_until([&] { return one.lease->unconsumed().size() == 2; }));
}

}  // namespace
}  // namespace millrace::test
