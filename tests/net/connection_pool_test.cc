// ConnectionPool: lending, taking back, its limits, and an endpoint that is away. Its health and
// its end have files of their own.
#include <millrace/connection_pool.h>
#include <millrace/error.h>

#include "support/pool_test.h"

#include <algorithm>
#include <vector>

namespace millrace::test {
namespace {

struct ConnectionPoolTest : PoolTest {};

TEST_F(ConnectionPoolTest, ConnectsOnlyWhenSomebodyAsks) {
  const Faults faults;
  make_pool();
  turns();
  EXPECT_EQ(faults.count(Call::connect), 0u);
  Asked& one = lend();
  EXPECT_EQ(faults.count(Call::connect), 1u);
  EXPECT_EQ(one.lease->peer(), listener.address());
  EXPECT_EQ(pool->stats().made, 1u);
  EXPECT_EQ(pool->stats().lent, 1u);
}

TEST_F(ConnectionPoolTest, AConnectionThatWasGivenBackIsLentAgain) {
  make_pool();
  const std::uint64_t first = lend().id;
  asked.back().lease.release();
  EXPECT_EQ(pool->stats().idle, 1u);
  EXPECT_EQ(lend().id, first);
  EXPECT_EQ(pool->stats().made, 1u);
  EXPECT_EQ(pool->stats().leases, 2u);
}

TEST_F(ConnectionPoolTest, TheEndOfALeaseGivesItsConnectionBackAndMovingItDoesNot) {
  make_pool();
  Asked& one = lend();
  {
    ConnectionLease mine = std::move(one.lease);
    EXPECT_FALSE(one.lease);
    EXPECT_EQ(mine->id(), one.id);
    ConnectionLease other;
    other = std::move(mine);
    EXPECT_FALSE(mine);
    EXPECT_EQ(pool->stats().lent, 1u);
  }
  EXPECT_EQ(pool->stats().lent, 0u);
  EXPECT_EQ(pool->stats().idle, 1u);
}

TEST_F(ConnectionPoolTest, WhatIsSentAndReceivedIsItsUsersAndNothingAfterTheLease) {
  make_pool();
  Asked& one = lend();
  one.lease->set_handler(recorder);
  recorder.opened = 1;  // its on_open was the pool's
  recorder.live.insert(one.lease.get());
  one.lease->send("question");
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, 8), "question");
  peer.send_all("answer");
  ASSERT_TRUE(run_until([&] { return recorder.received == "answer"; }));
  one.lease.release();
  recorder.live.clear();
  peer.close();
  ASSERT_TRUE(run_until([&] { return pool->stats().closed_bad == 1; }));
  turns();
  EXPECT_EQ(recorder.closed, 0) << "it was given back";
  recorder.opened = 0;
}

TEST_F(ConnectionPoolTest, WhatArrivesBeforeThereIsAHandlerIsKeptForIt) {
  make_pool();
  Asked& one = lend();
  RawSocket peer = listener.accept();
  peer.send_all("welcome");
  ASSERT_TRUE(run_until([&] { return one.lease->unconsumed().size() == 7; }));
  Recorder late;
  late.live.insert(one.lease.get());
  one.lease->set_handler(late);
  ASSERT_TRUE(run_until([&] { return late.received == "welcome"; }));
}

TEST_F(ConnectionPoolTest, NeverMoreThanMaxConnectionsAndWhoeverWaitsGetsTheNextThatIsFree) {
  options.max_connections = 2;
  make_pool();
  Asked& one = ask();
  Asked& two = ask();
  Asked& three = ask();
  wait_for(one);
  wait_for(two);
  turns(20);
  EXPECT_FALSE(three.done);
  EXPECT_EQ(pool->stats().made, 2u);
  EXPECT_EQ(pool->stats().waiting, 1u);
  two.lease.release();
  EXPECT_FALSE(three.done) << "from inside release()";
  wait_for(three);
  EXPECT_EQ(three.id, two.id);
}

TEST_F(ConnectionPoolTest, WhoCameFirstIsServedFirst) {
  options.max_connections = 1;
  make_pool();
  std::vector<Asked*> all;
  for (int i = 0; i < 10; ++i) all.push_back(&ask());
  for (Asked* one : all) {
    wait_for(*one);
    one->lease.release();
  }
  EXPECT_EQ(order, all);
  EXPECT_EQ(pool->stats().made, 1u);
}

TEST_F(ConnectionPoolTest, TheOneUsedLastIsLentFirst) {
  make_pool();
  Asked& one = lend();
  Asked& two = lend();
  Asked& three = lend();
  two.lease.release();
  three.lease.release();
  one.lease.release();
  EXPECT_EQ(lend().id, one.id);
  EXPECT_EQ(lend().id, three.id);
  EXPECT_EQ(lend().id, two.id);
}

TEST_F(ConnectionPoolTest, AConnectionThatItsUserClosesMakesRoomForANewOne) {
  options.max_connections = 1;
  make_pool();
  for (int how = 0; how < 3; ++how) {
    Asked& one = lend();
    Asked& next = ask();
    if (how == 0) one.lease->close();
    if (how == 1) one.lease->abort();
    if (how == 2) one.lease.discard();
    RawSocket peer = listener.accept();
    peer.close();
    one.lease.release();
    wait_for(next);
    EXPECT_FALSE(next.why);
    EXPECT_NE(next.id, one.id);
    next.lease.discard();
    listener.accept().close();
    turns();
  }
}

TEST_F(ConnectionPoolTest, ALeaseIsEmptyOnceItsConnectionHasEnded) {
  options.max_connections = 1;
  make_pool();
  Asked& one = lend();
  Asked& next = ask();
  listener.accept().reset();
  ASSERT_TRUE(run_until([&] { return !one.lease; }));
  wait_for(next);
  EXPECT_FALSE(next.why) << "its place is free";
  one.lease.release();
  EXPECT_EQ(pool->stats().lent, 1u);
}

TEST_F(ConnectionPoolTest, OneMoreThanMayWaitIsRefusedFromTheLoop) {
  options.max_connections = 1;
  options.max_waiting = 2;
  make_pool();
  lend();
  Asked& first = ask();
  Asked& second = ask();
  Asked& third = ask();
  wait_for(third);
  EXPECT_EQ(third.why, error::pool_full);
  EXPECT_FALSE(first.done);
  EXPECT_FALSE(second.done);
  EXPECT_EQ(pool->stats().refused, 1u);
}

TEST_F(ConnectionPoolTest, WhoWaitsTooLongIsToldSoInOrderAndTheOthersGoOn) {
  Faults faults;
  faults.stop_clock();
  options.max_connections = 1;
  options.acquire_timeout = 100ms;
  make_pool();
  Asked& holder = lend();
  Asked& early = ask();
  pass(faults, 50ms);
  Asked& late = ask();
  pass(faults, 50ms);
  EXPECT_TRUE(early.done);
  EXPECT_EQ(early.why, error::pool_timeout);
  EXPECT_FALSE(late.done);
  holder.lease.release();
  wait_for(late);
  EXPECT_FALSE(late.why);
  EXPECT_EQ(pool->stats().timed_out, 1u);
  pass(faults, 1h);
}

TEST_F(ConnectionPoolTest, ARequestThatIsDestroyedIsForgotten) {
  options.max_connections = 1;
  make_pool();
  Asked& holder = lend();
  Asked& gone = ask();
  Asked& stays = ask();
  EXPECT_TRUE(gone.request.active());
  gone.request = LeaseRequest();
  EXPECT_EQ(pool->stats().waiting, 1u);
  holder.lease.release();
  wait_for(stays);
  EXPECT_FALSE(gone.done);
  EXPECT_FALSE(stays.request.active());
}

TEST_F(ConnectionPoolTest, AConnectionThatNobodyWaitsForAnyMoreIsKept) {
  make_pool();
  ask().request.cancel();
  ASSERT_TRUE(run_until([&] { return true; }));
  Asked& one = ask();
  turns(1);
  one.request.cancel();
  ASSERT_TRUE(run_until([&] { return pool->stats().idle == 1; }));
  EXPECT_EQ(pool->stats().made, 1u);
  lend();
  EXPECT_EQ(pool->stats().made, 1u);
}

TEST_F(ConnectionPoolTest, AsManyAreMadeAtOnceAsRequestsWait) {
  make_pool();
  const Faults faults;
  for (int i = 0; i < 5; ++i) ask();
  turns(1);
  EXPECT_EQ(faults.count(Call::connect), 5u);
}

TEST_F(ConnectionPoolTest, WhenTheEndpointRefusesAllWhoWaitAreToldWhy) {
  make_pool(ClosedPort().address());
  for (int i = 0; i < 20; ++i) ask();
  for (Asked& one : asked) {
    wait_for(one);
    EXPECT_EQ(one.why, std::errc::connection_refused);
  }
  EXPECT_EQ(pool->last_error(), std::errc::connection_refused);
}

TEST_F(ConnectionPoolTest, AnEndpointThatIsAwayIsAskedByOneAtATimeHoweverManyAskAgainAndAgain) {
  Faults faults;
  faults.stop_clock();
  options.client.reconnect = {.first_delay = 100ms, .longest_delay = 400ms, .jitter = 0};
  make_pool(ClosedPort().address());
  const auto attempts_while = [&](std::chrono::milliseconds time) {
    const auto before = faults.count(Call::connect);
    for (auto passed = 0ms; passed < time; passed += 1ms) {
      while (pool->stats().waiting < 10) ask();  // whoever was told asks again
      pass(faults, 0ms);
    }
    return faults.count(Call::connect) - before;
  };
  Asked& first = ask();
  wait_for(first);
  EXPECT_EQ(attempts_while(90ms), 0u);
  // After 100 ms, 200 more, 400 more, and 400 each.
  EXPECT_EQ(attempts_while(20ms), 1u);
  EXPECT_EQ(attempts_while(180ms), 0u);
  EXPECT_EQ(attempts_while(1620ms), 5u);
}

TEST_F(ConnectionPoolTest, WhenItIsBackOneTriesAndThenAllAreServed) {
  Faults faults;
  faults.stop_clock();
  options.client.reconnect = {.first_delay = 100ms, .jitter = 0};
  make_pool();
  faults.on(Call::connect, Fault::fail(ECONNREFUSED), {.times = 3});
  for (int i = 0; i < 3; ++i) ask();
  for (Asked& one : asked) wait_for(one);
  EXPECT_EQ(faults.count(Call::connect), 3u) << "begun before any had failed";
  for (int i = 0; i < 3; ++i) ask();
  pass(faults, 98ms);
  EXPECT_EQ(faults.count(Call::connect), 3u);
  pass(faults, 1ms);
  for (std::size_t i = 3; i < 6; ++i) {
    wait_for(asked[i]);
    EXPECT_FALSE(asked[i].why);
  }
  EXPECT_EQ(faults.count(Call::connect), 6u);
  EXPECT_FALSE(pool->last_error());
}

TEST_F(ConnectionPoolTest, WhileOthersHaveConnectionsThatMayComeBackAFailureIsNotTheEnd) {
  Faults faults;
  make_pool();
  Asked& holder = lend();
  faults.on(Call::connect, Fault::fail(ECONNREFUSED), {.times = 100});
  Asked& waits = ask();
  ASSERT_TRUE(run_until([&] { return pool->stats().failed == 1; }));
  turns();
  EXPECT_FALSE(waits.done);
  holder.lease.release();
  wait_for(waits);
  EXPECT_EQ(waits.id, holder.id);
}

TEST_F(ConnectionPoolTest, WhoThenWaitsTooLongIsToldWhatFailed) {
  Faults faults;
  faults.stop_clock();
  options.acquire_timeout = 1s;
  make_pool();
  const Asked& holder = lend();
  faults.on(Call::connect, Fault::fail(ECONNREFUSED), {.times = 100});
  Asked& waits = ask();
  for (int i = 0; i < 20 && !waits.done; ++i) pass(faults, 100ms);
  EXPECT_EQ(waits.why, std::errc::connection_refused);
  EXPECT_TRUE(holder.lease);
}

TEST_F(ConnectionPoolTest, WhatACallbackThrowsGoesToTheHookAndTheNextIsServed) {
  int exceptions = 0;
  loop().set_exception_hook([&](std::exception_ptr, std::string_view) { ++exceptions; });
  make_pool();
  const LeaseRequest thrower =
      pool->acquire([](std::error_code, ConnectionLease) { throw std::runtime_error("no"); });
  lend();
  EXPECT_EQ(exceptions, 1);
  EXPECT_EQ(pool->stats().lent, 1u);
}

TEST_F(ConnectionPoolTest, ACallbackThatKeepsNoLeaseGivesItBack) {
  make_pool();
  int served = 0;
  std::deque<LeaseRequest> requests;
  for (int i = 0; i < 300; ++i) {
    requests.push_back(pool->acquire([&](std::error_code why, ConnectionLease) {
      EXPECT_FALSE(why);
      ++served;
    }));
  }
  ASSERT_TRUE(run_until([&] { return served == 300; }));
  EXPECT_LE(pool->stats().made, 16u);
  EXPECT_EQ(pool->stats().lent, 0u);
}

TEST_F(ConnectionPoolTest, ACallbackMayAskForTheNext) {
  options.max_connections = 1;
  make_pool();
  Asked first, second;
  first.request = pool->acquire([&](std::error_code, ConnectionLease lease) {
    first.lease = std::move(lease);
    second.request = pool->acquire([&](std::error_code, ConnectionLease other) {
      second.done = true;
      second.lease = std::move(other);
    });
    first.lease.release();
  });
  ASSERT_TRUE(run_until([&] { return second.done; }));
  EXPECT_TRUE(second.lease);
}

TEST_F(ConnectionPoolTest, ContextsStayWithTheirConnection) {
  make_pool();
  lend().lease->emplace_context<int>(42);
  asked.back().lease.release();
  EXPECT_EQ(*lend().lease->context<int>(), 42);
}

TEST_F(ConnectionPoolTest, TextsThatNameNoEndpointAreThrownAtOnce) {
  for (const char* bad : {"", "nowhere", "a b:80", "10.0.0.256:80"}) {
    EXPECT_THROW(ConnectionPool(loop(), bad), std::system_error) << bad;
  }
}

TEST_F(ConnectionPoolTest, OptionsThatMakeNoSenseAreToldWhenItIsMade) {
  options.client.socket.tos = 3;
  for (const char* target : {"127.0.0.1:7000", "db.example:7000"}) {
    try {
      pool = std::make_unique<ConnectionPool>(loop(), target, options);
      ADD_FAILURE() << target;
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), std::errc::invalid_argument);
      EXPECT_NE(std::string(e.what()).find("tos 3"), std::string::npos) << e.what();
    }
  }
}

using ConnectionPoolDeathTest = ConnectionPoolTest;

TEST_F(ConnectionPoolDeathTest, MisuseEndsTheProgram) {
  make_pool();
  EXPECT_DEATH(ConnectionLease()->close(), "without a connection");
  EXPECT_DEATH(static_cast<void>(pool->acquire({})), "needs a callback");
  options.max_connections = 0;
  EXPECT_DEATH(make_pool(), "max_connections");
}

}  // namespace
}  // namespace millrace::test
