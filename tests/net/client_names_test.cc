// Connecting to a host by its name: both families are looked up at the same time, IPv6 has a little
// advance, what arrives late joins the race, and a name is looked up anew for each attempt.
#include <millrace/client.h>
#include <millrace/connection.h>
#include <millrace/error.h>
#include <millrace/resolver.h>

#include "support/dns_server.h"
#include "support/loop_test.h"
#include "support/sockets.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

const std::string kName = "server.test";

// One port on both loopbacks, so that a name and a port can lead to either.
struct BothListeners {
  BothListeners() {
    for (int i = 0; i < 100 && !v6; ++i) {
      v4 = RawSocket::listen();
      try {
        v6 = RawSocket::listen(16, SocketAddress::loopback_v6(v4.address().port()));
      } catch (const std::runtime_error&) {
        // Somebody else has it: another one.
      }
    }
  }
  std::uint16_t port() const { return v4.address().port(); }
  std::string target() const { return kName + ":" + std::to_string(port()); }
  RawSocket v4;
  RawSocket v6;
};

struct ClientNamesTest : LoopTest {
  void SetUp() override {
    LoopTest::SetUp();
    both.emplace();
    dns.emplace(loop(), DnsServer::Reply([this](const DnsQuestion& q) {
                  (q.type == kTypeA ? asked_a : asked_aaaa) = q;
                  const auto& answer = q.type == kTypeA ? answer_a : answer_aaaa;
                  return answer ? answer(q) : std::string();
                }));
    resolver.emplace(loop(), ResolverOptions{.servers = {dns->address()}});
    options.resolver = &*resolver;
    // Nothing of what these tests are about may happen because time passes on the machine.
    faults.stop_clock();
  }
  void TearDown() override {
    client.reset();
    resolver.reset();
    dns.reset();
    both.reset();
    LoopTest::TearDown();
  }
  using Answer = std::function<std::string(const DnsQuestion&)>;
  static Answer gives(std::vector<std::string> hosts) {
    return [hosts](const DnsQuestion& q) {
      std::vector<DnsRecord> records;
      for (const auto& host : hosts) records.push_back(address_record(host));
      return q.answer(records);
    };
  }
  static Answer says(int code) {
    return [code](const DnsQuestion& q) { return q.failure(code); };
  }
  void connect(const std::string& target) {
    client = std::make_unique<Client>(loop(), recorder, options);
    tried_before = faults.count(Call::connect);
    client->connect(target);
    EXPECT_EQ(client->state(), Client::State::connecting);
    EXPECT_EQ(recorder.opened + recorder.connect_failed, 0) << "from inside connect()";
  }
  void connect() { connect(both->target()); }
  // Until the server was asked for both, and what it had to say has arrived.
  void wait_for_questions() {
    ASSERT_TRUE(run_until([&] { return asked_a && asked_aaaa; }));
    settle();
  }
  void settle() {
    for (int i = 0; i < 20; ++i) loop().run_once(1ms);
  }
  void pass(std::chrono::milliseconds time) {
    faults.advance_clock(time + 1ms);
    settle();
  }
  std::string peer() { return client->connection() ? client->connection()->peer().host() : "none"; }
  std::error_code failure() {
    EXPECT_TRUE(run_until([&] { return recorder.connect_failed > 0; }));
    return recorder.failures.empty() ? std::error_code() : recorder.failures.back();
  }

  Faults faults;
  std::optional<BothListeners> both;
  std::optional<DnsServer> dns;
  std::optional<Resolver> resolver;
  std::optional<DnsQuestion> asked_a, asked_aaaa;
  Answer answer_a = gives({"127.0.0.1"});  // none: silence
  Answer answer_aaaa = gives({"::1"});
  ClientOptions options;
  std::unique_ptr<Client> client;
  std::uint64_t tried_before = 0;
};

TEST_F(ClientNamesTest, ANameWithBothFamiliesIsReachedOverIpv6) {
  connect();
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(peer(), "::1");
  EXPECT_EQ(client->connection()->peer().port(), both->port());
  EXPECT_TRUE(asked_a) << "both are asked for at the same time";
}

TEST_F(ClientNamesTest, ANameWithoutIpv6AddressesIsReachedOverIpv4AtOnce) {
  answer_aaaa = gives({});
  connect();
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(peer(), "127.0.0.1");
}

TEST_F(ClientNamesTest, Ipv6AddressesAreTriedWithoutWaitingForIpv4Ones) {
  answer_a = nullptr;
  connect();
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(peer(), "::1");
}

TEST_F(ClientNamesTest, Ipv4AddressesWaitFiftyMillisecondsForIpv6Ones) {
  answer_aaaa = nullptr;
  connect();
  wait_for_questions();
  pass(48ms);
  EXPECT_EQ(recorder.opened, 0);
  pass(1ms);
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(peer(), "127.0.0.1");
}

TEST_F(ClientNamesTest, Ipv6AddressesThatComeInThatTimeAreTriedFirst) {
  answer_aaaa = nullptr;
  connect();
  wait_for_questions();
  pass(40ms);
  dns->send(asked_aaaa->answer({address_record("::1")}));
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(peer(), "::1");
}

TEST_F(ClientNamesTest, ThatThereAreNoneEndsTheWaitingAtOnce) {
  answer_aaaa = nullptr;
  connect();
  wait_for_questions();
  dns->send(asked_aaaa->answer({}));
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(peer(), "127.0.0.1");
}

TEST_F(ClientNamesTest, AddressesThatComeLaterJoinTheRace) {
  both->v4.close();
  const FullListener silent(SocketAddress::loopback(both->v6.address().port()));
  answer_aaaa = nullptr;
  connect(kName + ":" + std::to_string(both->v6.address().port()));
  wait_for_questions();
  pass(50ms);
  EXPECT_EQ(recorder.opened, 0);
  dns->send(asked_aaaa->answer({address_record("::1")}));
  settle();
  EXPECT_EQ(recorder.opened, 0) << "the silent one has its turn";
  pass(250ms);
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(peer(), "::1");
}

TEST_F(ClientNamesTest, WhenTheOnesThatAreThereAreRefusedThoseThatComeLaterAreTriedAtOnce) {
  const auto port = both->v6.address().port();
  both->v4.close();
  answer_aaaa = nullptr;
  connect(kName + ":" + std::to_string(port));
  wait_for_questions();
  pass(50ms);
  EXPECT_EQ(recorder.connect_failed, 0) << "the look-up goes on";
  dns->send(asked_aaaa->answer({address_record("::1")}));
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(peer(), "::1");
}

TEST_F(ClientNamesTest, AnIpv6AddressThatIsSilentLeavesTheTurnToIpv4) {
  const auto port = both->v4.address().port();
  both->v6.close();
  const FullListener silent(SocketAddress::loopback_v6(port));
  connect();
  wait_for_questions();
  EXPECT_EQ(recorder.opened, 0);
  pass(250ms);
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(peer(), "127.0.0.1");
}

TEST_F(ClientNamesTest, ANameThatThereIsNotFailsWithTheResolversError) {
  answer_a = answer_aaaa = says(kNoSuchName);
  connect();
  EXPECT_EQ(failure(), error::name_not_found);
  EXPECT_EQ(client->attempt_detail(),
            kName + " (IPv6): host name not found; " + kName + " (IPv4): host name not found");
}

TEST_F(ClientNamesTest, ANameWithoutAddressesSaysSo) {
  answer_a = answer_aaaa = gives({});
  connect();
  EXPECT_EQ(failure(), error::name_has_no_address);
}

TEST_F(ClientNamesTest, ThatOneFamilyIsMissingSaysLessThanThatTheOtherCouldNotBeLookedUp) {
  for (const bool v4_missing : {false, true}) {
    recorder.connect_failed = 0;
    recorder.failures.clear();
    answer_a = v4_missing ? gives({}) : says(kNoSuchName);
    answer_aaaa = v4_missing ? says(kNoSuchName) : gives({});
    connect();
    EXPECT_EQ(failure(), error::name_not_found);
  }
}

TEST_F(ClientNamesTest, WhenItsAddressesFailTheirErrorIsTheResult) {
  answer_aaaa = says(kNoSuchName);
  const ClosedPort closed;
  connect(kName + ":" + std::to_string(closed.address().port()));
  EXPECT_EQ(failure(), std::errc::connection_refused);
}

TEST_F(ClientNamesTest, TheTimeLimitOfTheWholeIncludesTheLookUp) {
  answer_a = answer_aaaa = nullptr;
  options.connect_timeout = 1s;
  connect();
  wait_for_questions();
  pass(990ms);
  EXPECT_EQ(recorder.connect_failed, 0);
  pass(10ms);
  EXPECT_EQ(failure(), std::errc::timed_out);
}

TEST_F(ClientNamesTest, OnlyTheFamilyOfTheLocalAddressIsLookedUp) {
  options.local = SocketAddress::parse("127.0.0.2:0");
  connect();
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(peer(), "127.0.0.1");
  EXPECT_EQ(client->connection()->local().host(), "127.0.0.2");
  EXPECT_FALSE(asked_aaaa);
}

TEST_F(ClientNamesTest, CloseAndDestructionDuringTheLookUpEndIt) {
  answer_a = answer_aaaa = nullptr;
  for (const bool destroy : {false, true}) {
    asked_a.reset();
    asked_aaaa.reset();
    recorder.connect_failed = 0;
    connect();
    wait_for_questions();
    const DnsQuestion late = *asked_a;
    if (destroy) {
      client.reset();
    } else {
      client->close();
    }
    dns->send(late.answer({address_record("127.0.0.1")}));
    settle();
    EXPECT_EQ(recorder.connect_failed, destroy ? 0 : 1);
    EXPECT_EQ(recorder.opened, 0);
  }
}

TEST_F(ClientNamesTest, EachAttemptLooksTheNameUpAnew) {
  options.reconnect = {.enabled = true, .first_delay = 100ms, .jitter = 0};
  answer_aaaa = gives({});
  answer_a = gives({"127.0.0.9"});  // the server has moved
  connect();
  EXPECT_EQ(failure(), std::errc::connection_refused);
  answer_a = gives({"127.0.0.1"});
  settle();
  pass(100ms);
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(peer(), "127.0.0.1");
  EXPECT_EQ(dns->asked(kTypeA), 2);
}

TEST_F(ClientNamesTest, ANameFromTheHostsFileNeedsNoServer) {
  resolver.emplace(loop(), ResolverOptions{});
  options.resolver = &*resolver;
  connect("localhost.:" + std::to_string(both->port()));
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_TRUE(dns->asked().empty());
}

TEST_F(ClientNamesTest, WhatIsNeitherAnAddressNorANameIsThrownAtOnceAndNamed) {
  client = std::make_unique<Client>(loop(), recorder, options);
  for (const std::string bad :
       {"server.test", "server.test:", "server.test:http", "ser ver:80", "server..test:80",
        "10.0.0.256:80", "127.1:80", ":80", "server.test:65536"}) {
    try {
      client->connect(bad);
      ADD_FAILURE() << bad;
    } catch (const std::system_error& e) {
      EXPECT_NE(std::string(e.what()).find("'" + bad + "'"), std::string::npos) << e.what();
    }
    EXPECT_EQ(client->state(), Client::State::idle);
  }
  EXPECT_THROW(client->connect(std::string(64, 'x') + ".test:80"), std::system_error);
}

TEST_F(ClientNamesTest, WhatIsSentDuringTheLookUpArrives) {
  connect();
  EXPECT_EQ(client->send("early"), SendResult::sent);
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  RawSocket accepted = both->v6.accept();
  EXPECT_EQ(receive(accepted, 5), "early");
}

}  // namespace
}  // namespace millrace::test
