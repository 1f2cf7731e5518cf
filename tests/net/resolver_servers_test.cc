// What DNS servers do wrong, and what comes of it: always one result, never a loop that stands.
#include "support/allocations.h"
#include "support/faults.h"
#include "support/resolver_test.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

using namespace std::string_literals;
using Strings = std::vector<std::string>;

const Strings kFound{"192.0.2.1:80"};

struct ResolverServersTest : ResolverFixture {
  // Of a name for which the only server has this reply.
  LookedUp result_of(const DnsServer::Reply& reply, Families families = Families::ipv4) {
    DnsServer server(loop(), reply);
    Resolver resolver(loop(), options_for(server));
    return look_up(resolver, "a.example", families);
  }
  // Who gets no sense out of a server has to wait for the time limit: it is short here.
  static ResolverOptions options_for(const DnsServer& server) {
    ResolverOptions options = asking({server.address()});
    options.try_timeout = 20ms;
    options.tries = 2;
    return options;
  }
};

TEST_F(ResolverServersTest, FailuresAreToldApart) {
  const auto failing = [](int code) {
    return [code](const DnsQuestion& q) { return q.failure(code); };
  };
  for (const Families families : {Families::ipv4, Families::ipv6, Families::any}) {
    EXPECT_EQ(result_of(failing(kNoSuchName), families).why, error::name_not_found);
    EXPECT_EQ(result_of(failing(kNoError), families).why, error::name_has_no_address);
    EXPECT_EQ(result_of(failing(kServerFailed), families).why, error::name_server_failed);
    EXPECT_EQ(result_of(failing(kNotImplemented), families).why, error::name_server_failed);
    EXPECT_EQ(result_of(failing(kFormatError), families).why, error::name_server_failed);
    EXPECT_EQ(result_of(failing(kRefused), families).why, error::name_refused);
  }
}

TEST_F(ResolverServersTest, FailuresOverTcpAreToldApartToo) {
  for (const auto& [code, why] :
       {std::pair(kRefused, error::name_refused), std::pair(kNoSuchName, error::name_not_found),
        std::pair(kServerFailed, error::name_server_failed)}) {
    EXPECT_EQ(result_of([code = code](const DnsQuestion& q) {
                return q.tcp ? q.failure(code) : q.truncated();
              }).why,
              why);
  }
}

TEST_F(ResolverServersTest, OneFamilyThatFailsDoesNotHideTheOther) {
  const auto only_a = [](const DnsQuestion& q) {
    return q.type == kTypeA ? q.answer({address_record("192.0.2.1")}) : q.failure(kServerFailed);
  };
  EXPECT_EQ(result_of(only_a, Families::any).addresses, kFound);
  const auto silent_about_aaaa = [](const DnsQuestion& q) {
    return q.type == kTypeA ? q.answer({address_record("192.0.2.1")}) : ""s;
  };
  EXPECT_EQ(result_of(silent_about_aaaa, Families::any).addresses, kFound);
}

TEST_F(ResolverServersTest, ASilentServerEndsInATimeoutAndHoldsUpNobody) {
  const SilentPort silent;
  ResolverOptions options = asking({silent.address()});
  options.timeout = 50ms;
  Resolver resolver(loop(), options);
  int ticks = 0;
  const Timer tick = loop().every(1ms, [&] { ++ticks; });
  EXPECT_EQ(look_up(resolver, "a.example").why, error::name_timeout);
  EXPECT_GT(ticks, 5);
}

TEST_F(ResolverServersTest, EachTryHasItsTimeAndTheirNumberEndsTheLookup) {
  DnsServer server(loop(), [](const DnsQuestion&) { return ""s; });
  ResolverOptions options = options_for(server);
  options.timeout = 0ms;
  options.tries = 3;
  Resolver resolver(loop(), options);
  const std::uint64_t before = loop().stats().timers_fired;
  EXPECT_EQ(look_up(resolver, "a.example", Families::ipv4).why, error::name_timeout);
  EXPECT_EQ(server.asked().size(), 3u);
  EXPECT_LE(loop().stats().timers_fired - before, 12u) << "deadlines are asked for over and over";
}

TEST_F(ResolverServersTest, AQuestionThatWasLostIsAskedAgain) {
  int asked = 0;
  EXPECT_EQ(result_of([&](const DnsQuestion& q) {
              return ++asked < 2 ? ""s : q.answer({address_record("192.0.2.1")});
            }).addresses,
            kFound);
}

TEST_F(ResolverServersTest, ASlowAnswerIsGoodWithinTheTimeLimit) {
  std::vector<Timer> later;
  DnsServer* self = nullptr;
  DnsServer server(loop(), [&](const DnsQuestion& q) {
    later.push_back(
        loop().after(30ms, [&self, q] { self->send(q.answer({address_record("192.0.2.1")})); }));
    return ""s;
  });
  self = &server;
  Resolver resolver(loop(), asking({server.address()}));
  EXPECT_EQ(look_up(resolver, "a.example", Families::ipv4).addresses, kFound);
  EXPECT_EQ(server.asked().size(), 1u);
}

TEST_F(ResolverServersTest, AnAnswerAfterTheTimeLimitDisturbsNobody) {
  DnsServer server(loop(), [](const DnsQuestion&) { return ""s; });
  ResolverOptions options = asking({server.address()});
  options.timeout = 20ms;
  Resolver resolver(loop(), options);
  LookedUp other;
  EXPECT_EQ(look_up(resolver, "a.example", Families::ipv4).why, error::name_timeout);
  const Lookup next = resolver.resolve("b.example", 80, Families::ipv4, into(other));
  ASSERT_TRUE(run_until([&] { return server.asked().size() == 2; }));
  server.send(server.asked()[0].answer({address_record("192.0.2.9")}));
  server.send(server.asked()[1].answer({address_record("192.0.2.1")}));
  ASSERT_TRUE(run_until([&] { return other.calls == 1; }));
  EXPECT_EQ(other.addresses, kFound);
}

TEST_F(ResolverServersTest, TheSecondServerAnswersWhenTheFirstIsSilent) {
  const SilentPort silent;
  DnsServer server(loop(), plain());
  ResolverOptions options = options_for(server);
  options.servers = {silent.address(), server.address()};
  Resolver resolver(loop(), options);
  EXPECT_EQ(look_up(resolver, "a.example").addresses, kFound);
}

TEST_F(ResolverServersTest, TheSecondServerAnswersWhenTheFirstFails) {
  DnsServer server(loop(), plain());
  for (const int code : {kServerFailed, kRefused, kNotImplemented}) {
    DnsServer bad(loop(), [&](const DnsQuestion& q) { return q.failure(code); });
    Resolver resolver(loop(), asking({bad.address(), server.address()}));
    EXPECT_EQ(look_up(resolver, "a.example").addresses, kFound);
    EXPECT_GE(bad.asked().size(), 1u);
  }
}

TEST_F(ResolverServersTest, TheSecondServerAnswersWhenNobodyListensAtTheFirst) {
  SocketAddress nobody;
  {
    const DnsServer gone(loop(), plain());
    nobody = gone.address();
  }
  DnsServer server(loop(), plain());
  Resolver resolver(loop(), asking({nobody, server.address()}));
  EXPECT_EQ(look_up(resolver, "a.example").addresses, kFound);
}

TEST_F(ResolverServersTest, WithoutAServerThatListensItIsUnreachableWithoutWaiting) {
  SocketAddress nobody;
  {
    const DnsServer gone(loop(), plain());
    nobody = gone.address();
  }
  ResolverOptions options = asking({nobody});
  options.timeout = 1h;
  options.try_timeout = 1h;
  Resolver resolver(loop(), options);
  for (const Families families : {Families::ipv4, Families::ipv6, Families::any}) {
    EXPECT_EQ(look_up(resolver, "a.example", families).why, error::name_servers_unreachable);
  }
}

TEST_F(ResolverServersTest, WhenTheSystemFailsTheServersAreUnreachable) {
  DnsServer server(loop(), plain());
  for (const Call call : {Call::socket, Call::connect, Call::sendmsg, Call::recv}) {
    Faults faults;
    faults.on(call, Fault::fail(call == Call::socket ? EMFILE : ENETUNREACH), {.times = 1000});
    Resolver resolver(loop(), options_for(server));
    EXPECT_EQ(look_up(resolver, "a.example").why, error::name_servers_unreachable) << name_of(call);
  }
}

TEST_F(ResolverServersTest, WhenASocketCannotBeWatchedTheTimeLimitHolds) {
  DnsServer server(loop(), plain());
  Faults faults;
  faults.on(Call::epoll_ctl, Fault::fail(ENOSPC), {.times = 1000});
  Resolver resolver(loop(), options_for(server));
  EXPECT_EQ(look_up(resolver, "a.example").why, error::name_timeout);
}

TEST_F(ResolverServersTest, WhicheverCallFailsThereIsOneResult) {
  DnsServer server(loop(), [](const DnsQuestion& q) {
    return q.tcp ? q.answer({address_record("192.0.2.1"), address_record("2001:db8::1")})
                 : q.truncated();
  });
  const ResolverOptions options = options_for(server);
  int failed = 0;
  for (const Call call :
       {Call::socket, Call::setsockopt, Call::connect, Call::sendmsg, Call::recv, Call::close}) {
    for (const int e : {EMFILE, ENOMEM, ECONNREFUSED, ENETUNREACH, EPIPE, EINTR}) {
      SCOPED_TRACE(std::string(name_of(call)) + ": " + std::strerror(e));
      // The n-th of them, until there are fewer.
      for (std::uint64_t n = 0;; ++n, ++failed) {
        Faults faults;
        faults.on(call, Fault::fail(e), {.skip = n});
        Resolver resolver(loop(), options);
        look_up(resolver, "a.example");
        if (faults.count(call) <= n) break;
        ASSERT_LT(n, 100u);
      }
    }
  }
  EXPECT_GT(failed, 50);
}

TEST_F(ResolverServersTest, WhereverMemoryEndsThereIsOneResultOrAnException) {
  DnsServer server(loop(), plain());
  Resolver resolver(loop(), options_for(server));
  EXPECT_EQ(look_up(resolver, "a.example").addresses, kFound);
  int thrown = 0;
  int failed = 0;
  for (const char* host : {"a.example", "192.0.2.1"}) {
    for (std::uint64_t n = 0;; ++n) {
      ASSERT_LT(n, 1000u);
      LookedUp result;
      Resolver::Done done = into(result);
      Lookup lookup;
      // Only the product is short of memory, not the server.
      std::optional<NoMemory> none(std::in_place, n, 1);
      try {
        lookup = resolver.resolve(host, 80, Families::any, std::move(done));
      } catch (const std::bad_alloc&) {
        ++thrown;
        continue;
      }
      const bool reached = none->reached();
      none.reset();
      ASSERT_TRUE(run_until([&] { return result.calls == 1; })) << n;
      failed += static_cast<bool>(result.why);
      if (!reached) {
        EXPECT_FALSE(result.why);
        break;
      }
    }
  }
  EXPECT_GT(thrown, 0);
  EXPECT_GT(failed, 0);
}

TEST_F(ResolverServersTest, InterruptedCallsAreRepeated) {
  DnsServer server(loop(), plain());
  Faults faults;
  for (const Call call : {Call::sendmsg, Call::recv}) {
    faults.on(call, Fault::fail(EINTR), {.times = 2});
  }
  Resolver resolver(loop(), asking({server.address()}));
  EXPECT_EQ(look_up(resolver, "a.example").addresses, kFound);
  EXPECT_EQ(server.asked().size(), 2u);
}

TEST_F(ResolverServersTest, AReadinessThatWasNoneIsHarmless) {
  DnsServer server(loop(), plain());
  Faults faults;
  faults.on(Call::recv, Fault::fail(EAGAIN), {.times = 3});
  Resolver resolver(loop(), asking({server.address()}));
  EXPECT_EQ(look_up(resolver, "a.example").addresses, kFound);
}

TEST_F(ResolverServersTest, ATruncatedAnswerIsAskedForByTcp) {
  DnsServer server(loop(), [](const DnsQuestion& q) {
    return q.tcp ? q.answer({address_record("192.0.2.1")}) : q.truncated();
  });
  Resolver resolver(loop(), asking({server.address()}));
  EXPECT_EQ(look_up(resolver, "a.example").addresses, kFound);
  EXPECT_EQ(std::count_if(server.asked().begin(), server.asked().end(),
                          [](const DnsQuestion& q) { return q.tcp; }),
            2);
}

TEST_F(ResolverServersTest, AHugeAnswerArrivesWholeByTcp) {
  std::vector<DnsRecord> records;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    records.push_back(address_record(SocketAddress::ipv4(0x7f000001 + i, 0)));
  }
  LookedUp result =
      result_of([&](const DnsQuestion& q) { return q.tcp ? q.answer(records) : q.truncated(); });
  EXPECT_EQ(result.addresses.size(), 1000u);
  std::sort(result.addresses.begin(), result.addresses.end());
  EXPECT_EQ(std::unique(result.addresses.begin(), result.addresses.end()), result.addresses.end());
}

TEST_F(ResolverServersTest, AServerThatEndsTheTcpConnectionIsNoServer) {
  DnsServer server(loop(), [](const DnsQuestion& q) { return q.truncated(); });
  server.answers_tcp = false;
  Resolver resolver(loop(), options_for(server));
  const std::error_code why = look_up(resolver, "a.example", Families::ipv4).why;
  EXPECT_EQ(why, error::name_servers_unreachable);
}

TEST_F(ResolverServersTest, AnAnswerThatIsTruncatedByTcpTooEnds) {
  // What is there counts: it says that there are no addresses.
  EXPECT_EQ(result_of([](const DnsQuestion& q) { return q.truncated(); }).why,
            error::name_has_no_address);
}

TEST_F(ResolverServersTest, AnAnswerToSomethingElseIsNotTaken) {
  const auto other_id = [](const DnsQuestion& q) {
    std::string reply = q.answer({address_record("192.0.2.66")});
    reply[0] = static_cast<char>(reply[0] ^ 1);
    return reply;
  };
  EXPECT_EQ(result_of(other_id).why, error::name_timeout);
  const auto other_name = [](const DnsQuestion& q) {
    std::string reply = q.answer({address_record("192.0.2.66")});
    reply[13] = 'b';
    return reply;
  };
  EXPECT_EQ(result_of(other_name).why, error::name_timeout);
  const auto other_type = [](const DnsQuestion& q) {
    std::string message = q.message;
    message[message.size() - 3] = static_cast<char>(kTypeAaaa);
    return DnsQuestion(message, false).answer({address_record("2001:db8::66")});
  };
  EXPECT_EQ(result_of(other_type).why, error::name_timeout);
}

TEST_F(ResolverServersTest, TheRightAnswerIsTakenAmongManyWrongOnes) {
  DnsServer server(loop(), DnsServer::Replies([](const DnsQuestion& q) {
                     std::vector<std::string> replies;
                     for (int i = 0; i < 200; ++i) {
                       std::string forged = q.answer({address_record("192.0.2.66")});
                       forged[0] = static_cast<char>(forged[0] ^ (1 + i % 100));
                       replies.push_back(forged);
                       replies.push_back(""s);
                     }
                     replies.push_back(q.answer({address_record("192.0.2.1")}));
                     return replies;
                   }));
  Resolver resolver(loop(), asking({server.address()}));
  EXPECT_EQ(look_up(resolver, "a.example", Families::ipv4).addresses, kFound);
}

TEST_F(ResolverServersTest, GarbageEndsInAnError) {
  const Strings garbage = {std::string(11, 'x'), std::string(12, '\0'), std::string(600, '\xff'),
                           std::string(4000, '\xc0'), "HTTP/1.1 400 Bad Request\r\n\r\n"};
  for (const std::string& bytes : garbage) {
    const std::error_code why = result_of([&](const DnsQuestion&) { return bytes; }).why;
    EXPECT_TRUE(why == error::name_timeout || why == error::name_malformed_answer) << why.message();
  }
}

TEST_F(ResolverServersTest, AnEmptyDatagramIsNothing) {
  DnsServer* self = nullptr;
  DnsServer server(loop(), [&](const DnsQuestion& q) {
    self->send("");
    return q.answer({address_record("192.0.2.1")});
  });
  self = &server;
  Resolver resolver(loop(), asking({server.address()}));
  EXPECT_EQ(look_up(resolver, "a.example", Families::ipv4).addresses, kFound);
  EXPECT_EQ(server.asked().size(), 1u);
}

TEST_F(ResolverServersTest, AnAnswerCutOffAnywhereEndsInAnErrorOrWhatIsWhole) {
  const std::string name = "a.example";
  for (std::size_t cut = 1; cut < 45; ++cut) {
    const LookedUp result = result_of([&](const DnsQuestion& q) {
      const std::string whole = q.answer({address_record("192.0.2.1")});
      return whole.substr(0, whole.size() - std::min(cut, whole.size() - 1));
    });
    EXPECT_TRUE(result.why == error::name_timeout || result.why == error::name_malformed_answer)
        << cut << ": " << result.why.message();
  }
}

TEST_F(ResolverServersTest, AChainOfAliasesLeadsToTheAddress) {
  EXPECT_EQ(result_of([](const DnsQuestion& q) {
              return q.answer({alias_record("a.example", "b.example"),
                               alias_record("b.example", "c.example"),
                               DnsRecord{kTypeA, "\xc0\x00\x02\x01"s, "c.example"}});
            }).addresses,
            kFound);
}

TEST_F(ResolverServersTest, ALoopOfAliasesHasNoAddress) {
  EXPECT_EQ(result_of([](const DnsQuestion& q) {
              return q.answer(
                  {alias_record("a.example", "b.example"), alias_record("b.example", "a.example")});
            }).why,
            error::name_has_no_address);
}

TEST_F(ResolverServersTest, AnAliasToNothingHasNoAddress) {
  EXPECT_EQ(result_of([](const DnsQuestion& q) {
              return q.answer({alias_record("a.example", "b.example")});
            }).why,
            error::name_has_no_address);
}

TEST_F(ResolverServersTest, ANameThatPointsToItselfIsMalformed) {
  const std::error_code why =
      result_of([](const DnsQuestion& q) {
        const std::string whole = q.head(kNoError, 1);
        const char at = static_cast<char>(whole.size());
        return whole + "\xc0" + at + "\0\x01\0\x01\0\0\0\x3c\0\x04"s + "\xc0\x00\x02\x01"s;
      }).why;
  EXPECT_EQ(why, error::name_malformed_answer);
}

TEST_F(ResolverServersTest, AnAddressOfAWrongLengthIsMalformed) {
  for (const std::size_t size : {0u, 1u, 3u, 5u, 16u}) {
    const LookedUp result = result_of([&](const DnsQuestion& q) {
      return q.answer({DnsRecord{kTypeA, std::string(size, '\x01')}});
    });
    EXPECT_TRUE(result.why == error::name_malformed_answer ||
                result.why == error::name_has_no_address)
        << size << ": " << result.why.message() << result.addresses.size();
  }
}

TEST_F(ResolverServersTest, ThereAreNoWakeUpsWhileNothingHappens) {
  const SilentPort silent;
  Resolver resolver(loop(), asking({silent.address()}));
  LookedUp result;
  const Lookup lookup = resolver.resolve("a.example", 80, Families::any, into(result));
  run_for(5ms);
  EXPECT_LE(run_for(100ms), 3u);
}

TEST_F(ResolverServersTest, SocketsAreClosedWhenAllIsAnswered) {
  DnsServer server(loop(), plain());
  Resolver resolver(loop(), asking({server.address()}));
  const auto before = open_descriptors();
  EXPECT_EQ(look_up(resolver, "a.example").addresses, kFound);
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(ResolverServersTest, CancellingEverySecondLookupLeavesTheOthersTheirAnswers) {
  DnsServer server(loop(), plain());
  Resolver resolver(loop(), asking({server.address()}));
  LookedUp results[20];
  std::vector<Lookup> lookups;
  for (LookedUp& result : results) {
    lookups.push_back(resolver.resolve("a.example", 80, Families::any, into(result)));
  }
  for (std::size_t i = 0; i < lookups.size(); i += 2) lookups[i].cancel();
  ASSERT_TRUE(run_until([&] {
    return std::count_if(results, results + 20, [](auto& r) { return r.calls == 1; }) == 10;
  }));
  for (std::size_t i = 0; i < lookups.size(); i += 2) EXPECT_EQ(results[i].calls, 0);
}

}  // namespace
}  // namespace millrace::test
