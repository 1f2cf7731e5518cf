// Several addresses: whose turn it is when, who wins, and what is said when nobody does.
#include <millrace/client.h>
#include <millrace/connection.h>
#include <millrace/error.h>

#include "support/loop_test.h"
#include "support/sockets.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <netinet/in.h>

namespace millrace::test {
namespace {

const SocketAddress kUnreachable = SocketAddress::parse("255.255.255.255:9");

// The clock stands still but for what a test moves it: a turn that comes without that was not one
// of time.
struct ClientAddressesTest : LoopTest {
  void SetUp() override {
    LoopTest::SetUp();
    listener = RawSocket::listen();
    other_listener = RawSocket::listen(16, SocketAddress::loopback_v6(0));
    faults.stop_clock();
  }
  void TearDown() override {
    client.reset();
    listener.close();
    other_listener.close();
    LoopTest::TearDown();
  }
  void connect(const std::vector<SocketAddress>& addresses, const ClientOptions& options = {}) {
    client = std::make_unique<Client>(loop(), recorder, options);
    tried_before = faults.count(Call::connect);
    client->connect(addresses);
    EXPECT_EQ(recorder.opened + recorder.connect_failed, 0) << "from inside connect()";
  }
  bool connected_to(const SocketAddress& address) {
    return run_until([&] { return recorder.opened + recorder.connect_failed > 0; }) &&
           client->connection() && client->connection()->peer() == address;
  }
  std::error_code failure() {
    EXPECT_TRUE(run_until([&] { return recorder.connect_failed > 0; }));
    return recorder.failures.empty() ? std::error_code() : recorder.failures.back();
  }
  // Until what is due then has happened: a timer may be late by a tick.
  void pass(std::chrono::milliseconds time) {
    faults.advance_clock(time + 1ms);
    // One turn for the timer, one for what it leads to.
    loop().run_once(0ms);
    loop().run_once(0ms);
  }
  std::uint64_t tried() { return faults.count(Call::connect) - tried_before; }
  static std::size_t sockets() {
    const auto open = open_descriptors();
    return static_cast<std::size_t>(std::count_if(open.begin(), open.end(), [](const auto& one) {
      return one.second.rfind("socket:", 0) == 0;
    }));
  }

  Faults faults;
  RawSocket listener;
  RawSocket other_listener;
  std::uint64_t tried_before = 0;
  std::unique_ptr<Client> client;
};

TEST_F(ClientAddressesTest, TheNextIsTriedAtOnceWhenOneIsRefused) {
  const ClosedPort closed;
  const ClosedPort closed_too;
  connect({closed.address(), closed_too.address(), listener.address()});
  EXPECT_TRUE(connected_to(listener.address()));
  EXPECT_EQ(recorder.connect_failed, 0);
  EXPECT_EQ(client->attempt_detail(), closed.address().to_string() + ": Connection refused; " +
                                          closed_too.address().to_string() +
                                          ": Connection refused; " +
                                          listener.address().to_string() + ": connected");
}

TEST_F(ClientAddressesTest, TheNextIsTriedAtOnceWhenTheKernelRefusesOneItself) {
  connect({kUnreachable, listener.address()});
  EXPECT_TRUE(connected_to(listener.address()));
}

TEST_F(ClientAddressesTest, ASilentIpv6AddressLeavesTheTurnToIpv4AfterAQuarterOfASecond) {
  const FullListener silent(SocketAddress::loopback_v6(0));
  connect({silent.address(), listener.address()});
  const std::size_t before = sockets();
  pass(248ms);
  EXPECT_EQ(tried(), 1u);
  pass(1ms);
  EXPECT_EQ(tried(), 2u);
  EXPECT_TRUE(connected_to(listener.address()));
  EXPECT_EQ(sockets(), before) << "the loser is closed";
  EXPECT_EQ(recorder.connect_failed, 0);
  pass(1h);
  EXPECT_EQ(tried(), 2u);
}

TEST_F(ClientAddressesTest, AnAddressThatAnswersLeavesNothingForTheOthers) {
  connect({other_listener.address(), listener.address()});
  EXPECT_TRUE(connected_to(other_listener.address()));
  pass(1h);
  EXPECT_EQ(tried(), 1u);
}

TEST_F(ClientAddressesTest, TheTimeOfATurnMayBeAnother) {
  const FullListener silent;
  ClientOptions options;
  options.race.attempt_delay = 2s;
  connect({silent.address(), listener.address()}, options);
  pass(1998ms);
  EXPECT_EQ(tried(), 1u);
  pass(1ms);
  EXPECT_EQ(tried(), 2u);
}

TEST_F(ClientAddressesTest, OneThatFailsWhileAnotherIsSilentGivesTheNextItsTurnAtOnce) {
  const FullListener silent;
  const ClosedPort closed;
  connect({silent.address(), closed.address(), listener.address()});
  pass(250ms);
  EXPECT_TRUE(connected_to(listener.address()));
  EXPECT_EQ(tried(), 3u);
}

TEST_F(ClientAddressesTest, TheFirstMayStillWinWhileTheSecondIsTried) {
  FullListener slow;
  const FullListener silent;
  connect({slow.address(), silent.address()});
  pass(250ms);
  ASSERT_EQ(tried(), 2u);
  slow.make_room();  // the kernel sends its next SYN after a second
  EXPECT_TRUE(connected_to(slow.address()));
  EXPECT_NE(client->attempt_detail().find(silent.address().to_string() + ": Operation canceled"),
            std::string::npos);
}

TEST_F(ClientAddressesTest, FamiliesTakeTurnsAndTheFirstAddressSaysWhichBegins) {
  const auto v4 = [](const char* host) { return SocketAddress::parse(host).with_port(1); };
  const SocketAddress a = v4("127.0.0.2:0"), b = v4("127.0.0.3:0"), c = v4("127.0.0.4:0");
  const ClosedPort six(SocketAddress::loopback_v6(0));
  faults.on(Call::connect, Fault::fail(ECONNREFUSED), {.times = 10});
  connect({a, b, c, six.address()});
  EXPECT_EQ(failure(), std::errc::connection_refused);
  const std::string no = ": Connection refused";
  EXPECT_EQ(client->attempt_detail(), a.to_string() + no + "; " + six.address().to_string() + no +
                                          "; " + b.to_string() + no + "; " + c.to_string() + no);
}

TEST_F(ClientAddressesTest, AnAddressThatComesTwiceIsTriedOnce) {
  const ClosedPort closed;
  connect({closed.address(), closed.address()});
  EXPECT_EQ(failure(), std::errc::connection_refused);
  EXPECT_EQ(tried(), 1u);
}

TEST_F(ClientAddressesTest, OfAThousandAddressesNoMoreThanSixtyFourAreTried) {
  std::vector<SocketAddress> many;
  for (std::uint32_t i = 0; i < 1000; ++i) many.push_back(SocketAddress::ipv4(0x7F000100 + i, 1));
  faults.on(Call::connect, Fault::fail(ECONNREFUSED), {.times = 1000});
  connect(many);
  EXPECT_EQ(failure(), std::errc::connection_refused);
  EXPECT_EQ(tried(), 64u);
}

// Whatever the order: that one refused says more than that one was silent, that more than that
// one cannot be reached.
TEST_F(ClientAddressesTest, WhenAllFailTheMostTellingErrorIsTheResultOnce) {
  const ClosedPort closed;
  const FullListener silent;
  ClientOptions options;
  options.race.address_timeout = 100ms;
  struct Case {
    std::vector<SocketAddress> addresses;
    std::errc expected;
  };
  for (const Case& one : {Case{{kUnreachable, closed.address()}, std::errc::connection_refused},
                          Case{{closed.address(), kUnreachable}, std::errc::connection_refused},
                          Case{{kUnreachable, silent.address()}, std::errc::timed_out},
                          Case{{silent.address(), closed.address()}, std::errc::connection_refused},
                          Case{{kUnreachable}, std::errc::network_unreachable}}) {
    recorder.connect_failed = 0;
    connect(one.addresses, options);
    pass(250ms);
    pass(100ms);
    EXPECT_EQ(failure(), one.expected);
    EXPECT_EQ(client->last_error(), one.expected);
    EXPECT_EQ(client->state(), Client::State::idle);
    pass(1h);
    EXPECT_EQ(recorder.connect_failed, 1);
  }
}

TEST_F(ClientAddressesTest, EachAddressMayHaveATimeLimitOfItsOwn) {
  const FullListener silent;
  ClientOptions options;
  options.race.address_timeout = 100ms;
  connect({silent.address(), listener.address()}, options);
  pass(98ms);
  EXPECT_EQ(tried(), 1u);
  pass(1ms);
  EXPECT_TRUE(connected_to(listener.address())) << "without waiting for its turn";
}

TEST_F(ClientAddressesTest, TheTimeLimitOfTheWholeEndsAllOfThem) {
  const FullListener silent;
  const FullListener silent_too;
  ClientOptions options;
  options.connect_timeout = 1s;
  const std::size_t before = sockets();
  connect({silent.address(), silent_too.address()}, options);
  pass(250ms);
  pass(747ms);
  EXPECT_EQ(recorder.connect_failed, 0);
  pass(1ms);
  EXPECT_EQ(failure(), std::errc::timed_out);
  EXPECT_EQ(sockets(), before);
  const std::string late = ": Connection timed out";
  EXPECT_EQ(client->attempt_detail(),
            silent.address().to_string() + late + "; " + silent_too.address().to_string() + late);
}

TEST_F(ClientAddressesTest, WhatWasRefusedBeforeTheTimeLimitOfTheWholeSaysMore) {
  const ClosedPort closed;
  const FullListener silent;
  ClientOptions options;
  options.connect_timeout = 1s;
  connect({closed.address(), silent.address()}, options);
  while (tried() < 2) loop().run_once(0ms);
  pass(1s);
  EXPECT_EQ(failure(), std::errc::connection_refused);
}

TEST_F(ClientAddressesTest, AddressesOfAnotherFamilyThanTheLocalOneAreLeftOut) {
  ClientOptions options;
  options.local = SocketAddress::parse("127.0.0.2:0");
  connect({other_listener.address(), listener.address()}, options);
  EXPECT_TRUE(connected_to(listener.address()));
  EXPECT_EQ(client->connection()->local().host(), "127.0.0.2");
  EXPECT_EQ(tried(), 1u);
}

TEST_F(ClientAddressesTest, WithoutAnAddressOfTheLocalOnesFamilyItSaysSoFromTheLoop) {
  ClientOptions options;
  options.local = SocketAddress::parse("127.0.0.2:0");
  connect({other_listener.address()}, options);
  EXPECT_EQ(client->state(), Client::State::connecting);
  EXPECT_EQ(failure(), std::errc::address_family_not_supported);
  EXPECT_EQ(client->attempt_detail(),
            other_listener.address().to_string() + ": Address family not supported by protocol");
}

TEST_F(ClientAddressesTest, NoAddressAtAllIsThrownAtOnce) {
  client = std::make_unique<Client>(loop(), recorder);
  EXPECT_THROW(client->connect(std::vector<SocketAddress>()), std::system_error);
  EXPECT_EQ(client->state(), Client::State::idle);
}

TEST_F(ClientAddressesTest, CloseAndDestructionEndAllAttempts) {
  const FullListener silent;
  const FullListener silent_too;
  const std::size_t before = sockets();
  for (const bool destroy : {false, true}) {
    recorder.connect_failed = 0;
    connect({silent.address(), silent_too.address(), listener.address()});
    pass(250ms);
    EXPECT_EQ(sockets(), before + 2);
    if (destroy) {
      client.reset();
    } else {
      client->close();
    }
    EXPECT_EQ(sockets(), before);
    pass(1h);
    EXPECT_EQ(recorder.connect_failed, destroy ? 0 : 1);
    EXPECT_EQ(recorder.opened, 0);
  }
}

TEST_F(ClientAddressesTest, AnAddressThatFindsNoDescriptorLeavesItsTurnToTheNext) {
  faults.on(Call::socket, Fault::fail(EMFILE));
  connect({listener.address(), other_listener.address()});
  EXPECT_TRUE(connected_to(other_listener.address()));
}

TEST_F(ClientAddressesTest, AReconnectTriesAllOfThemAgain) {
  ClientOptions options;
  options.reconnect.enabled = true;
  const ClosedPort closed;
  connect({closed.address(), listener.address()}, options);
  ASSERT_TRUE(connected_to(listener.address()));
  listener.accept().close();
  ASSERT_TRUE(run_until([&] { return recorder.closed == 1; }));
  pass(100ms);
  ASSERT_TRUE(run_until([&] { return recorder.opened == 2; }));
  EXPECT_EQ(tried(), 4u);
}

using ClientAddressesDeathTest = ClientAddressesTest;

TEST_F(ClientAddressesDeathTest, TurnsOutsideTheLimitsAreTheCallersMistake) {
  for (const auto turn : {9ms, 2001ms}) {
    ClientOptions options;
    options.race.attempt_delay = turn;
    EXPECT_DEATH(Client(loop(), recorder, options), "between 10 ms and 2 s");
  }
}

}  // namespace
}  // namespace millrace::test
