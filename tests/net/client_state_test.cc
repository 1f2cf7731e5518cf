// What can be asked of a client, when it says that its state has changed, and what it counts as a
// failure.
#include <millrace/client.h>
#include <millrace/connection.h>
#include <millrace/error.h>

#include "support/client_test.h"
#include "support/loop_test.h"
#include "support/sockets.h"
#include "support/watch_calls.h"

#include <memory>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

using State = Client::State;

struct ClientStateTest : OneClientTest {
  void SetUp() override {
    OneClientTest::SetUp();
    options.reconnect = {.enabled = true, .first_delay = 100ms, .jitter = 0};
  }
  void start(const SocketAddress& address) {
    client = std::make_unique<Client>(loop(), recorder, options);
    client->on_state_changed([this](State state) {
      EXPECT_EQ(state, client->state());
      told.push_back(state);
    });
    client->connect(address);
  }
  void pass(std::chrono::milliseconds time) {
    faults.advance_clock(time);
    loop().run_once(0ms);
    loop().run_once(0ms);
  }
  // The connection ends; how long the client then waits.
  std::chrono::milliseconds wait_after_loss() {
    const int before = recorder.closed;
    listener.accept().close();
    while (recorder.closed == before) loop().run_once(0ms);
    return client->next_attempt_in().value_or(-1ms);
  }
  void open(int n) {
    while (recorder.opened < n) pass(10ms);
  }

  Faults faults;
  std::vector<State> told;
};

TEST_F(ClientStateTest, EachChangeThatTheLoopMakesIsToldOnceAndThoseOfOurOwnCallsAreNot) {
  start(listener.address());
  loop().run_once(0ms);
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(told, std::vector{State::connected});
  wait_after_loss();
  pass(100ms);
  ASSERT_TRUE(run_until([&] { return recorder.opened == 2; }));
  EXPECT_EQ(told,
            (std::vector{State::connected, State::waiting, State::connecting, State::connected}));
  client->close();
  RawSocket peer = listener.accept();
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(run_until([&] { return recorder.closed == 2; }));
  EXPECT_EQ(told.back(), State::idle);
  EXPECT_EQ(told.size(), 5u);
}

TEST_F(ClientStateTest, AFailureIsToldByTheConnectionsCallbackFirst) {
  options.reconnect.enabled = false;
  client = std::make_unique<Client>(
      loop(), Callbacks{.on_connect_failed = [&](std::error_code) { EXPECT_TRUE(told.empty()); }});
  client->on_state_changed([this](State state) { told.push_back(state); });
  client->connect(ClosedPort().address());
  ASSERT_TRUE(run_until([&] { return !told.empty(); }));
  EXPECT_EQ(told, std::vector{State::idle});
}

TEST_F(ClientStateTest, ACancelledAttemptEndsIdle) {
  start(listener.address());
  client->close();
  EXPECT_TRUE(told.empty());
  ASSERT_TRUE(run_until([&] { return recorder.connect_failed == 1; }));
  EXPECT_EQ(told, std::vector{State::idle});
  EXPECT_EQ(client->last_error(), std::errc::operation_canceled);
}

TEST_F(ClientStateTest, TheCallbackMayDestroyTheClient) {
  start(listener.address());
  client->on_state_changed([this](State) { client.reset(); });
  ASSERT_TRUE(run_until([&] { return recorder.closed == 1; }));
  EXPECT_EQ(recorder.reasons[0], error::owner_destroyed);
}

TEST_F(ClientStateTest, TheCallbackMayReplaceItselfOrGo) {
  start(listener.address());
  int first = 0, second = 0;
  client->on_state_changed([&](State) {
    ++first;
    client->on_state_changed([&](State) {
      ++second;
      client->on_state_changed({});
    });
  });
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  wait_after_loss();
  pass(100ms);
  ASSERT_TRUE(run_until([&] { return recorder.opened == 2; }));
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 1);
}

TEST_F(ClientStateTest, WhatTheCallbackThrowsGoesToTheHookAndNothingElseChanges) {
  int exceptions = 0;
  loop().set_exception_hook([&](std::exception_ptr, std::string_view kind) {
    EXPECT_EQ(kind, "on_state_changed");
    ++exceptions;
  });
  start(listener.address());
  client->on_state_changed([](State) { throw 1; });
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  wait_after_loss();
  EXPECT_EQ(exceptions, 2);
  EXPECT_EQ(client->state(), State::waiting);
}

TEST_F(ClientStateTest, WhileItWaitsItSaysHowLongAndAfterHowManyFailures) {
  faults.stop_clock();
  faults.on(Call::connect, Fault::fail(ECONNREFUSED), {.times = 2});
  start(listener.address());
  EXPECT_EQ(client->next_attempt_in(), std::nullopt);
  EXPECT_EQ(client->failed_attempts(), 0u);
  while (recorder.connect_failed < 1) loop().run_once(0ms);
  EXPECT_EQ(client->next_attempt_in(), 100ms);
  EXPECT_EQ(client->failed_attempts(), 1u);
  EXPECT_EQ(client->last_error(), std::errc::connection_refused);
  pass(30ms);
  EXPECT_EQ(client->next_attempt_in(), 70ms);
  pass(71ms);  // a timer may be late by a tick
  while (recorder.connect_failed < 2) loop().run_once(0ms);
  EXPECT_EQ(client->next_attempt_in(), 200ms);
  EXPECT_EQ(client->failed_attempts(), 2u);
  pass(201ms);
  while (recorder.opened < 1) loop().run_once(0ms);
  EXPECT_EQ(client->next_attempt_in(), std::nullopt);
  EXPECT_FALSE(client->last_error());
  const ClientStats stats = client->stats();
  EXPECT_EQ(stats.attempts, 3u);
  EXPECT_EQ(stats.failures, 2u);
  EXPECT_EQ(stats.connections, 1u);
}

TEST_F(ClientStateTest, TheReasonOfALostConnectionIsTheLastError) {
  start(listener.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  listener.accept().reset();
  ASSERT_TRUE(run_until([&] { return recorder.closed == 1; }));
  EXPECT_EQ(client->last_error(), std::errc::connection_reset);
}

TEST_F(ClientStateTest, AConnectionThatDoesNotLastCountsAsAFailedAttempt) {
  start(listener.address());
  for (const auto expected : {100ms, 200ms, 400ms}) {
    open(recorder.opened + 1);
    EXPECT_EQ(wait_after_loss(), expected);
  }
  EXPECT_EQ(client->failed_attempts(), 3u);
}

TEST_F(ClientStateTest, AConnectionThatWasStableStartsTheWaitsAnew) {
  start(listener.address());
  open(1);
  wait_after_loss();
  open(2);
  EXPECT_EQ(wait_after_loss(), 200ms);
  open(3);
  pass(4990ms);
  EXPECT_EQ(wait_after_loss(), 400ms) << "not for long enough";
  open(4);
  pass(5000ms);
  EXPECT_EQ(wait_after_loss(), 100ms);
  EXPECT_EQ(client->failed_attempts(), 0u);
}

TEST_F(ClientStateTest, TheProtocolMaySayThatAConnectionWasOfUse) {
  start(listener.address());
  open(1);
  wait_after_loss();
  open(2);
  client->restart_backoff();
  EXPECT_EQ(client->failed_attempts(), 0u);
  EXPECT_EQ(wait_after_loss(), 100ms);
}

TEST_F(ClientStateTest, GivesUpWhenItsTimeIsOver) {
  faults.stop_clock();
  options.reconnect.give_up_after = 1s;
  faults.on(Call::connect, Fault::fail(ECONNREFUSED), {.times = 100});
  start(listener.address());
  // At 0, 100, 300 and 700 ms; the next one would be at 1500.
  for (int i = 0; i < 2000; ++i) pass(1ms);
  EXPECT_EQ(faults.count(Call::connect), 4u);
  EXPECT_EQ(told.back(), State::idle);
  EXPECT_EQ(recorder.connect_failed, 4);
}

TEST_F(ClientStateTest, AStableConnectionGivesItAllItsTimeAgain) {
  options.reconnect.give_up_after = 1s;
  start(listener.address());
  open(1);
  pass(1h);
  EXPECT_EQ(wait_after_loss(), 100ms);
  EXPECT_EQ(client->state(), State::waiting);
}

}  // namespace
}  // namespace millrace::test
