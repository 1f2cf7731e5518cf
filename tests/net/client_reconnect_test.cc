// Reconnecting: how long a client waits before each attempt, when it gives up, what ends it.
#include <millrace/client.h>
#include <millrace/connection.h>
#include <millrace/error.h>

#include "support/client_test.h"
#include "support/loop_test.h"
#include "support/sockets.h"
#include "support/watch_calls.h"

#include <algorithm>
#include <memory>
#include <set>
#include <vector>

namespace millrace::test {
namespace {

using State = Client::State;

struct ClientReconnectTest : OneClientTest {
  void SetUp() override {
    OneClientTest::SetUp();
    options.reconnect.enabled = true;
    options.reconnect.jitter = 0;
    options.reconnect.stable_after = 0ms;
  }
  void make_client() {
    client = std::make_unique<Client>(
        loop(),
        Callbacks{
            .on_open = [this](Connection& c) { recorder.on_open(c); },
            .on_close = [this](Connection& c, std::error_code why) { recorder.on_close(c, why); },
            .on_connect_failed =
                [this](std::error_code why) {
                  recorder.on_connect_failed(why);
                  failed_at.push_back(loop().services().now_ms());
                  states.push_back(client->state());
                }},
        options);
  }
  // Connects to where nobody listens; how long it waited before each of the `n` attempts after the
  // first, as bounds: it was not yet due after `shorter`, and had been made after `longer`.
  struct Wait {
    std::uint64_t shorter;
    std::uint64_t longer;
  };
  std::vector<Wait> waits_after_failures(std::size_t n) {
    make_client();
    client->connect(nobody.address());
    return next_waits(n);
  }
  std::vector<Wait> next_waits(std::size_t n) {
    const std::size_t first = failed_at.size();
    while (failed_at.size() == first) loop().run_once(0ms);
    const auto calls = watch_calls(loop(), faults, Call::connect, n);
    EXPECT_EQ(calls.size(), n);
    std::vector<Wait> waits;
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const std::uint64_t since = failed_at[first + i];
      waits.push_back({std::max(calls[i].before_ms, since) - since, calls[i].at_ms - since});
    }
    return waits;
  }
  static void expect_wait(const Wait& wait, std::uint64_t ms) {
    EXPECT_LE(wait.shorter, ms) << "late";
    EXPECT_GE(wait.longer, ms) << "early";
  }
  // Loses the connection that is open.
  void lose_connection() {
    const int before = recorder.closed;
    RawSocket accepted = listener.accept();
    accepted.close();
    while (recorder.closed == before) loop().run_once(0ms);
  }

  Faults faults;
  ClosedPort nobody;
  std::vector<std::uint64_t> failed_at;
  std::vector<State> states;  // in on_connect_failed
};

TEST_F(ClientReconnectTest, IsOffUnlessAskedFor) {
  options.reconnect = {};
  make_client();
  client->connect(nobody.address());
  ASSERT_TRUE(run_until([&] { return recorder.connect_failed == 1; }));
  EXPECT_EQ(states, std::vector{State::idle});
  EXPECT_TRUE(watch_calls(loop(), faults, Call::connect, 1, 10ms, 1000).empty());
}

TEST_F(ClientReconnectTest, TheWaitDoublesAfterEachFailureUpToItsLimit) {
  options.reconnect.first_delay = 100ms;
  options.reconnect.longest_delay = 5s;
  const auto waits = waits_after_failures(10);
  ASSERT_EQ(waits.size(), 10u);
  std::uint64_t expected = 100;
  for (const Wait& wait : waits) {
    expect_wait(wait, expected);
    expected = std::min<std::uint64_t>(2 * expected, 5000);
  }
}

TEST_F(ClientReconnectTest, TheDefaultsAreATenthOfASecondUpToHalfAMinute) {
  const auto waits = waits_after_failures(11);
  ASSERT_EQ(waits.size(), 11u);
  expect_wait(waits[0], 100);
  expect_wait(waits[8], 25'600);
  expect_wait(waits[9], 30'000);
  expect_wait(waits[10], 30'000);
}

TEST_F(ClientReconnectTest, TheFactorMayBeAnother) {
  options.reconnect.first_delay = 10ms;
  options.reconnect.factor = 3;
  const auto waits = waits_after_failures(4);
  ASSERT_EQ(waits.size(), 4u);
  expect_wait(waits[0], 10);
  expect_wait(waits[1], 30);
  expect_wait(waits[2], 90);
  expect_wait(waits[3], 270);
}

TEST_F(ClientReconnectTest, WithFactorOneEveryWaitIsTheSame) {
  options.reconnect.first_delay = 20ms;
  options.reconnect.factor = 1;
  for (const Wait& wait : waits_after_failures(5)) expect_wait(wait, 20);
}

TEST_F(ClientReconnectTest, AFirstDelayAboveTheLongestIsCutDownToIt) {
  options.reconnect.first_delay = 1h;
  options.reconnect.longest_delay = 50ms;
  for (const Wait& wait : waits_after_failures(2)) expect_wait(wait, 50);
}

TEST_F(ClientReconnectTest, JitterShortensEachWaitByUpToItsShareAndDiffers) {
  options.reconnect.jitter = 0.25;
  options.reconnect.first_delay = 1000ms;
  options.reconnect.longest_delay = 1000ms;
  const auto waits = waits_after_failures(30);
  std::set<std::uint64_t> seen;
  for (const Wait& wait : waits) {
    EXPECT_GE(wait.longer, 750u);
    EXPECT_LE(wait.shorter, 1000u);
    seen.insert(wait.longer);
  }
  EXPECT_GT(seen.size(), 5u) << "it is not random";
}

TEST_F(ClientReconnectTest, ClientsThatFailTogetherDoNotComeBackTogether) {
  options.reconnect.jitter = 0.5;
  options.reconnect.first_delay = 1000ms;
  std::vector<std::unique_ptr<Client>> herd;
  for (int i = 0; i < 30; ++i) {
    herd.push_back(std::make_unique<Client>(loop(), recorder, options));
    herd.back()->connect(nobody.address());
  }
  while (recorder.connect_failed < 30) loop().run_once(0ms);
  const auto calls = watch_calls(loop(), faults, Call::connect, 10, 1ms, 1100);
  EXPECT_EQ(calls.size(), 10u) << "in ten different milliseconds at least";
}

TEST_F(ClientReconnectTest, OneTimerIsAliveHoweverManyAttemptsFail) {
  options.reconnect.first_delay = 1ms;
  options.connect_timeout = 0ms;
  const auto before = loop().stats().timers_fired;
  waits_after_failures(10);
  EXPECT_EQ(loop().stats().timers_fired - before, 10u);
  EXPECT_EQ(faults.count(Call::connect), 11u);
}

TEST_F(ClientReconnectTest, GivesUpAfterMaxAttemptsInARow) {
  options.reconnect.first_delay = 1ms;
  options.reconnect.max_attempts = 3;
  make_client();
  client->connect(nobody.address());
  EXPECT_EQ(watch_calls(loop(), faults, Call::connect, 5, 1ms, 1000).size(), 2u);
  EXPECT_EQ(recorder.connect_failed, 3);
  EXPECT_EQ(states, (std::vector{State::waiting, State::waiting, State::idle}))
      << "the callback sees what comes next";
  client->connect(listener.address());
  EXPECT_TRUE(run_until([&] { return recorder.opened == 1; }));
}

TEST_F(ClientReconnectTest, ConnectsAgainAfterTheConnectionWasLost) {
  options.reconnect.first_delay = 100ms;
  make_client();
  client->connect(listener.address());
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(run_until([&] { return recorder.opened == i; }));
    lose_connection();
    EXPECT_EQ(client->state(), State::waiting);
    const auto closed = loop().services().now_ms();
    const auto calls = watch_calls(loop(), faults, Call::connect, 1);
    ASSERT_EQ(calls.size(), 1u);
    EXPECT_GE(calls[0].at_ms - closed, 100u);
    EXPECT_LE(std::max(calls[0].before_ms, closed) - closed, 100u);
  }
  ASSERT_TRUE(run_until([&] { return recorder.opened == 4; }));
  EXPECT_EQ(recorder.connect_failed, 0);
}

TEST_F(ClientReconnectTest, AlsoWhenOurSideHasAbortedIt) {
  options.reconnect.first_delay = 1ms;
  make_client();
  client->connect(listener.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  client->connection()->abort();
  EXPECT_TRUE(run_until([&] { return recorder.opened == 2; }));
}

TEST_F(ClientReconnectTest, ASuccessStartsTheWaitsAnew) {
  options.reconnect.first_delay = 100ms;
  options.reconnect.max_attempts = 6;
  make_client();
  const SocketAddress address = listener.address();
  client->connect(address);
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  RawSocket held = listener.accept();
  // The next five attempts are refused ...
  faults.on(Call::connect, Fault::fail(ECONNREFUSED), {.times = 5});
  held.end();
  while (recorder.closed == 0) loop().run_once(0ms);
  ASSERT_EQ(watch_calls(loop(), faults, Call::connect, 6).size(), 6u);
  ASSERT_TRUE(run_until([&] { return recorder.opened == 2; }));
  // ... and after one that was not, the waits are short again, and it has all its attempts again.
  faults.on(Call::connect, Fault::fail(ECONNREFUSED), {.times = 5});
  lose_connection();
  const auto closed = loop().services().now_ms();
  const auto calls = watch_calls(loop(), faults, Call::connect, 6);
  ASSERT_EQ(calls.size(), 6u);
  EXPECT_LE(std::max(calls[0].before_ms, closed) - closed, 100u);
  ASSERT_TRUE(run_until([&] { return recorder.opened == 3; }));
}

TEST_F(ClientReconnectTest, AServerThatClosesAtOnceIsAsGoodAsOneThatRefuses) {
  options.reconnect.first_delay = 100ms;
  options.reconnect.max_attempts = 3;
  options.reconnect.stable_after = 5s;
  make_client();
  client->connect(listener.address());
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(run_until([&] { return recorder.opened == i; }));
    RawSocket accepted = listener.accept();
    accepted.send_all("too busy\n");  // a farewell makes it no better
    accepted.close();
    while (recorder.closed < i) loop().run_once(0ms);
    if (i == 3) break;
    const auto closed = loop().services().now_ms();
    const auto calls = watch_calls(loop(), faults, Call::connect, 1);
    ASSERT_EQ(calls.size(), 1u);
    EXPECT_GE(calls[0].at_ms - closed, i * 100u);
  }
  EXPECT_EQ(client->state(), State::idle);
}

TEST_F(ClientReconnectTest, AReportThatThrowsDoesNotEndIt) {
  int exceptions = 0;
  loop().set_exception_hook([&](std::exception_ptr, std::string_view) { ++exceptions; });
  options.reconnect.first_delay = 1ms;
  client = std::make_unique<Client>(
      loop(), Callbacks{.on_connect_failed = [](std::error_code) { throw 1; }}, options);
  client->connect(nobody.address());
  ASSERT_TRUE(run_until([&] { return exceptions == 3; }));
}

TEST_F(ClientReconnectTest, CloseInsideOnConnectFailedStopsIt) {
  options.reconnect.first_delay = 1ms;
  client = std::make_unique<Client>(loop(),
                                    Callbacks{.on_connect_failed =
                                                  [this](std::error_code) {
                                                    EXPECT_EQ(client->state(), State::waiting);
                                                    client->close();
                                                    EXPECT_EQ(client->state(), State::idle);
                                                  }},
                                    options);
  client->connect(nobody.address());
  EXPECT_TRUE(watch_calls(loop(), faults, Call::connect, 1, 1ms, 1000).empty());
}

TEST_F(ClientReconnectTest, CloseDuringALaterAttemptCancelsThatOneAndTheRest) {
  const FullListener silent;
  options.reconnect.first_delay = 1ms;
  make_client();
  faults.on(Call::connect, Fault::fail(ECONNREFUSED));
  client->connect(silent.address());
  ASSERT_EQ(watch_calls(loop(), faults, Call::connect, 1).size(), 1u);
  ASSERT_EQ(client->state(), State::connecting);
  client->close();
  EXPECT_TRUE(watch_calls(loop(), faults, Call::connect, 1, 1ms, 1000).empty());
  ASSERT_EQ(recorder.failures.size(), 2u);
  EXPECT_EQ(recorder.failures[1], std::errc::operation_canceled);
  EXPECT_EQ(client->state(), State::idle);
}

TEST_F(ClientReconnectTest, CloseOfItsConnectionStopsItToo) {
  options.reconnect.first_delay = 1ms;
  make_client();
  client->connect(listener.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  client->close();
  lose_connection();
  EXPECT_EQ(client->state(), State::idle);
  EXPECT_TRUE(watch_calls(loop(), faults, Call::connect, 1, 1ms, 1000).empty());
}

TEST_F(ClientReconnectTest, ConnectWhileItWaitsIsTheCallersMistake) {
  make_client();
  client->connect(nobody.address());
  ASSERT_TRUE(run_until([&] { return client->state() == State::waiting; }));
  EXPECT_THROW(client->connect(listener.address()), std::logic_error);
  EXPECT_EQ(client->state(), State::waiting);
}

TEST_F(ClientReconnectTest, EachAttemptHasItsOwnTimeLimit) {
  const FullListener silent;
  options.connect_timeout = 50ms;
  options.reconnect.first_delay = 10ms;
  options.reconnect.factor = 1;
  make_client();
  client->connect(silent.address());
  ASSERT_EQ(watch_calls(loop(), faults, Call::connect, 3).size(), 3u);
  EXPECT_EQ(recorder.failures, std::vector(3, system_error_code(ETIMEDOUT)));
}

TEST_F(ClientReconnectTest, WaitingDoesNotKeepTheLoopBusy) {
  options.reconnect.first_delay = 1h;
  options.reconnect.longest_delay = 1h;
  make_client();
  client->connect(nobody.address());
  ASSERT_TRUE(run_until([&] { return client->state() == State::waiting; }));
  EXPECT_LE(run_for(50ms), 5u);
}

TEST_F(ClientReconnectTest, AttemptsThatFailWhenTheConnectionOpensAreCountedToo) {
  for (int i = 0; i < 20; ++i) faults.on(Call::epoll_ctl, Fault::fail(ENOSPC), {.skip = 2});
  options.reconnect.max_attempts = 3;
  options.reconnect.first_delay = 10ms;
  make_client();
  client->connect(listener.address());
  EXPECT_EQ(watch_calls(loop(), faults, Call::connect, 8, 1ms, 1000).size(), 2u);
  EXPECT_EQ(client->state(), State::idle);
}

TEST_F(ClientReconnectTest, TheLongestDelayThereIsMeansNever) {
  options.reconnect.first_delay = options.reconnect.longest_delay =
      std::chrono::milliseconds::max();
  make_client();
  client->connect(nobody.address());
  EXPECT_TRUE(watch_calls(loop(), faults, Call::connect, 1, 1h, 1000).size() <= 1);
  EXPECT_EQ(client->state(), State::waiting);
}

using ClientReconnectDeathTest = ClientReconnectTest;

TEST_F(ClientReconnectDeathTest, AJitterThatIsNoShareIsTheCallersMistake) {
  for (const double jitter : {-0.1, 1.1}) {
    options.reconnect.jitter = jitter;
    EXPECT_DEATH(make_client(), "jitter is a share between 0 and 1");
  }
}

TEST_F(ClientReconnectDeathTest, AFactorThatWouldShortenTheWaitsIsTheCallersMistake) {
  options.reconnect.factor = 0.5;
  EXPECT_DEATH(make_client(), "factor is at least 1");
}

TEST_F(ClientReconnectDeathTest, AWaitOfNothingIsTheCallersMistake) {
  options.reconnect.first_delay = 0ms;
  EXPECT_DEATH(make_client(), "at least 1 ms");
  options.reconnect.first_delay = 100ms;
  options.reconnect.longest_delay = -1ms;
  EXPECT_DEATH(make_client(), "at least 1 ms");
}

}  // namespace
}  // namespace millrace::test
