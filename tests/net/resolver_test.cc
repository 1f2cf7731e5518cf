#include "support/resolver_test.h"

#include "support/faults.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <stdexcept>

#include <sys/wait.h>

namespace millrace::test {
namespace {

using Strings = std::vector<std::string>;

struct ResolverTest : ResolverFixture {
  void SetUp() override {
    ResolverFixture::SetUp();
    server.emplace(loop(), plain());
  }
  void TearDown() override {
    server.reset();
    ResolverFixture::TearDown();
  }
  std::optional<DnsServer> server;
};

TEST_F(ResolverTest, NumbersAreAnsweredWithoutAskingAnybody) {
  Resolver resolver(loop(), asking({server->address()}));
  EXPECT_EQ(look_up(resolver, "192.0.2.7").addresses, Strings{"192.0.2.7:80"});
  EXPECT_EQ(look_up(resolver, "2001:db8::7").addresses, Strings{"[2001:db8::7]:80"});
  EXPECT_EQ(look_up(resolver, "fe80::7%lo").addresses, Strings{"[fe80::7%lo]:80"});
  EXPECT_TRUE(server->asked().empty());
}

TEST_F(ResolverTest, ANumberOfTheOtherFamilyHasNoAddress) {
  Resolver resolver(loop(), asking({server->address()}));
  EXPECT_EQ(look_up(resolver, "192.0.2.7", Families::ipv6).why, error::name_has_no_address);
  EXPECT_EQ(look_up(resolver, "::1", Families::ipv4).why, error::name_has_no_address);
  EXPECT_EQ(look_up(resolver, "::1", Families::ipv6).addresses, Strings{"[::1]:80"});
}

TEST_F(ResolverTest, LocalhostIsLoopbackWithoutAskingAnybody) {
  Resolver resolver(loop(), asking({server->address()}));
  for (const char* name : {"localhost", "LOCALHOST.", "db.localhost"}) {
    EXPECT_EQ(look_up(resolver, name).addresses, (Strings{"[::1]:80", "127.0.0.1:80"})) << name;
  }
  EXPECT_EQ(look_up(resolver, "localhost", Families::ipv4).addresses, Strings{"127.0.0.1:80"});
  EXPECT_EQ(look_up(resolver, "localhost", Families::ipv6).addresses, Strings{"[::1]:80"});
  EXPECT_TRUE(server->asked().empty());
}

TEST_F(ResolverTest, WhatIsNoNameIsAnErrorAndNobodyIsAsked) {
  using namespace std::string_view_literals;
  Resolver resolver(loop(), asking({server->address()}));
  const std::string label(63, 'a');
  const std::string longest = label + '.' + label + '.' + label + '.' + std::string(61, 'a');
  ASSERT_EQ(longest.size(), 253u);
  for (const std::string& name :
       {std::string(), std::string("."), std::string("a..b"), std::string("a b"),
        std::string("a\0b"sv), label + 'a', longest + 'a', longest + "aa", longest + "aaa",
        longest + ".a", std::string(65'536 + 4, 'a'), std::string("127.1")}) {
    EXPECT_EQ(look_up(resolver, name).why, error::name_invalid) << name;
  }
  EXPECT_TRUE(server->asked().empty());
}

TEST_F(ResolverTest, TheLongestNameIsAskedForWhole) {
  Resolver resolver(loop(), asking({server->address()}));
  const std::string label(63, 'a');
  const std::string longest = label + '.' + label + '.' + label + '.' + std::string(61, 'b');
  EXPECT_EQ(look_up(resolver, longest).addresses, Strings{"192.0.2.1:80"});
  EXPECT_EQ(server->asked().front().name, longest);
}

TEST_F(ResolverTest, BothFamiliesAreAskedForAtOnceOrOneAlone) {
  Resolver resolver(loop(), asking({server->address()}));
  look_up(resolver, "a.example");
  EXPECT_EQ(server->asked(kTypeA), 1);
  EXPECT_EQ(server->asked(kTypeAaaa), 1);
  look_up(resolver, "a.example", Families::ipv4);
  EXPECT_EQ(server->asked(kTypeA), 2);
  EXPECT_EQ(look_up(resolver, "a.example", Families::ipv6).why, error::name_has_no_address);
  EXPECT_EQ(server->asked(kTypeAaaa), 2);
  EXPECT_EQ(server->asked(kTypeA), 2);
}

TEST_F(ResolverTest, TheHostsFileComesFirstAndIsReadAgainWhenItChanges) {
  TemporaryFile hosts("192.0.2.50 a.example b.example\n2001:db8::50 a.example\n");
  ResolverOptions options = asking({server->address()});
  options.hosts_file = hosts.path();
  Resolver resolver(loop(), options);
  EXPECT_EQ(look_up(resolver, "A.example").addresses,
            (Strings{"192.0.2.50:80", "[2001:db8::50]:80"}));
  EXPECT_EQ(look_up(resolver, "a.example.", Families::ipv6).addresses,
            Strings{"[2001:db8::50]:80"});
  EXPECT_TRUE(server->asked().empty());
  hosts.write("192.0.2.51 b.example\n");
  EXPECT_EQ(look_up(resolver, "b.example").addresses, Strings{"192.0.2.51:80"});
  EXPECT_EQ(look_up(resolver, "a.example").addresses, Strings{"192.0.2.1:80"});
}

TEST_F(ResolverTest, AFamilyThatTheHostsFileLacksIsAskedFor) {
  const TemporaryFile hosts("2001:db8::50 a.example\n");
  ResolverOptions options = asking({server->address()});
  options.hosts_file = hosts.path();
  Resolver resolver(loop(), options);
  EXPECT_EQ(look_up(resolver, "a.example", Families::ipv4).addresses, Strings{"192.0.2.1:80"});
}

TEST_F(ResolverTest, SearchDomainsAreTriedBehindNamesWithFewDots) {
  DnsServer corp(loop(), [](const DnsQuestion& q) {
    return q.name == "www.b.test" ? q.answer({address_record("192.0.2.3")})
                                  : q.failure(kNoSuchName);
  });
  ResolverOptions options = asking({corp.address()});
  options.search_domains = {"a.test", "b.test"};
  Resolver resolver(loop(), options);
  EXPECT_EQ(look_up(resolver, "www", Families::ipv4).addresses, Strings{"192.0.2.3:80"});
  ASSERT_EQ(corp.asked().size(), 2u);
  EXPECT_EQ(corp.asked()[0].name, "www.a.test");
  EXPECT_EQ(corp.asked()[1].name, "www.b.test");
}

TEST_F(ResolverTest, ANameWithManyDotsIsTriedAsItIsFirst) {
  DnsServer corp(loop(), [](const DnsQuestion& q) { return q.failure(kNoSuchName); });
  ResolverOptions options = asking({corp.address()});
  options.search_domains = {"a.test"};
  options.ndots = 2;
  Resolver resolver(loop(), options);
  EXPECT_EQ(look_up(resolver, "x.y", Families::ipv4).why, error::name_not_found);
  EXPECT_EQ(look_up(resolver, "x.y.z", Families::ipv4).why, error::name_not_found);
  Strings names;
  for (const DnsQuestion& question : corp.asked()) names.push_back(question.name);
  EXPECT_EQ(names, (Strings{"x.y.a.test", "x.y", "x.y.z", "x.y.z.a.test"}));
}

TEST_F(ResolverTest, ANameThatEndsInADotIsNotTriedInSearchDomains) {
  DnsServer corp(loop(), [](const DnsQuestion& q) { return q.failure(kNoSuchName); });
  ResolverOptions options = asking({corp.address()});
  options.search_domains = {"a.test"};
  Resolver resolver(loop(), options);
  EXPECT_EQ(look_up(resolver, "www.", Families::ipv4).why, error::name_not_found);
  ASSERT_EQ(corp.asked().size(), 1u);
  EXPECT_EQ(corp.asked()[0].name, "www");
}

TEST_F(ResolverTest, WithServersOfItsOwnNothingOfTheSystemsFileIsUsed) {
  DnsServer none(loop(), [](const DnsQuestion& q) { return q.failure(kNoSuchName); });
  Resolver resolver(loop(), asking({none.address()}));
  EXPECT_EQ(look_up(resolver, "www", Families::ipv4).why, error::name_not_found);
  EXPECT_EQ(none.asked().size(), 1u);  // no search domain, not even that of this machine's name
}

TEST_F(ResolverTest, ManyLookupsAtOnceGetTheirOwnAnswers) {
  DnsServer many(loop(), [](const DnsQuestion& q) {
    const auto n = static_cast<std::uint32_t>(std::stoul(q.name.substr(1)));
    return q.answer({address_record(SocketAddress::ipv4(0x0a000000 + n, 0))});
  });
  Resolver resolver(loop(), asking({many.address()}));
  constexpr unsigned kMany = 100;
  std::vector<LookedUp> results(kMany);
  std::vector<Lookup> lookups;
  for (unsigned i = 0; i < kMany; ++i) {
    lookups.push_back(resolver.resolve("n" + std::to_string(i) + ".example", 80, Families::ipv4,
                                       into(results[i])));
  }
  ASSERT_TRUE(run_until([&] {
    return std::all_of(results.begin(), results.end(), [](auto& r) { return r.calls == 1; });
  }));
  for (unsigned i = 0; i < kMany; ++i) {
    EXPECT_EQ(results[i].addresses, Strings{"10.0.0." + std::to_string(i) + ":80"});
  }
}

TEST_F(ResolverTest, ACancelledLookupSaysNothing) {
  Resolver resolver(loop(), asking({server->address()}));
  LookedUp cancelled, destroyed, replaced;
  Lookup lookup = resolver.resolve("a.example", 80, Families::any, into(cancelled));
  EXPECT_TRUE(lookup.active());
  lookup.cancel();
  EXPECT_FALSE(lookup.active());
  lookup.cancel();
  static_cast<void>(resolver.resolve("a.example", 80, Families::any, into(destroyed)));
  Lookup other = resolver.resolve("192.0.2.1", 80, Families::any, into(replaced));
  LookedUp result;
  other = resolver.resolve("a.example", 80, Families::any, into(result));
  ASSERT_TRUE(run_until([&] { return result.calls == 1; }));
  EXPECT_EQ(cancelled.calls + destroyed.calls + replaced.calls, 0);
}

TEST_F(ResolverTest, ALookupMovesWithItsCallback) {
  Resolver resolver(loop(), asking({server->address()}));
  LookedUp result;
  Lookup first = resolver.resolve("a.example", 80, Families::any, into(result));
  Lookup second = std::move(first);
  EXPECT_FALSE(first.active());
  EXPECT_TRUE(second.active());
  first = std::move(second);
  ASSERT_TRUE(run_until([&] { return result.calls == 1; }));
  EXPECT_FALSE(first.active());
}

TEST_F(ResolverTest, CancellingTheLastLookupClosesTheSockets) {
  const SilentPort silent;
  Resolver resolver(loop(), asking({silent.address()}));
  const auto before = open_descriptors();
  LookedUp result;
  Lookup lookup = resolver.resolve("a.example", 80, Families::any, into(result));
  EXPECT_GT(open_descriptors().size(), before.size());
  lookup.cancel();
  EXPECT_EQ(open_descriptors(), before);
  loop().run_once(0ms);
  EXPECT_EQ(loop().next_timeout(), std::nullopt) << "a timer is left";
}

TEST_F(ResolverTest, WhatACallbackHoldsGoesWhenItIsCancelled) {
  const SilentPort silent;
  Resolver resolver(loop(), asking({silent.address()}));
  LookedUp other;
  const Lookup keeps_on = resolver.resolve("b.example", 80, Families::any, into(other));
  const auto held = std::make_shared<int>(0);
  Lookup lookup = resolver.resolve("a.example", 80, Families::any,
                                   [held](std::error_code, std::span<const SocketAddress>) {});
  EXPECT_EQ(held.use_count(), 2);
  lookup.cancel();
  EXPECT_EQ(held.use_count(), 1);
}

TEST_F(ResolverTest, TheCallbackMayCancelAndAskAgain) {
  Resolver resolver(loop(), asking({server->address()}));
  Lookup lookup;
  LookedUp second;
  lookup = resolver.resolve(
      "a.example", 80, Families::any, [&](std::error_code, std::span<const SocketAddress>) {
        EXPECT_FALSE(lookup.active());
        lookup.cancel();
        lookup = resolver.resolve("192.0.2.9", 80, Families::any, into(second));
      });
  ASSERT_TRUE(run_until([&] { return second.calls == 1; }));
}

TEST_F(ResolverTest, TheCallbackMayDestroyTheResolver) {
  for (const char* host : {"192.0.2.1", "a.example"}) {
    auto resolver = std::make_unique<Resolver>(loop(), asking({server->address()}));
    LookedUp other;
    int calls = 0;
    Lookup lookup = resolver->resolve(host, 80, Families::any,
                                      [&](std::error_code, std::span<const SocketAddress> found) {
                                        ++calls;
                                        resolver.reset();
                                        EXPECT_EQ(found.size(), 1u);
                                      });
    const Lookup silent = resolver->resolve("b.example", 80, Families::any, into(other));
    ASSERT_TRUE(run_until([&] { return calls == 1; }));
    EXPECT_FALSE(silent.active());
    EXPECT_EQ(other.calls, 0);
  }
}

TEST_F(ResolverTest, DestroyedWithLookupsUnderWayItEndsThemSilently) {
  LookedUp asked, ready;
  Lookup first, second;
  {
    Resolver resolver(loop(), asking({server->address()}));
    first = resolver.resolve("a.example", 80, Families::any, into(asked));
    second = resolver.resolve("192.0.2.1", 80, Families::any, into(ready));
  }
  EXPECT_FALSE(first.active());
  EXPECT_FALSE(second.active());
  first.cancel();
  run_for(20ms);
  EXPECT_EQ(asked.calls + ready.calls, 0);
}

TEST_F(ResolverTest, WhatACallbackThrowsGoesToTheHook) {
  Strings kinds;
  loop().set_exception_hook(
      [&](std::exception_ptr, std::string_view kind) { kinds.emplace_back(kind); });
  Resolver resolver(loop(), asking({server->address()}));
  const auto fail = [](std::error_code, std::span<const SocketAddress>) {
    throw std::runtime_error("no");
  };
  const Lookup a = resolver.resolve("a.example", 80, Families::any, fail);
  const Lookup b = resolver.resolve("192.0.2.1", 80, Families::any, fail);
  ASSERT_TRUE(run_until([&] { return kinds.size() == 2; }));
  EXPECT_EQ(kinds, (Strings{"resolver", "resolver"}));
  EXPECT_EQ(look_up(resolver, "c.example").addresses, Strings{"192.0.2.1:80"});
}

TEST_F(ResolverTest, OneLookupMoreThanTheLimitIsRefused) {
  const SilentPort silent;
  ResolverOptions options = asking({silent.address()});
  options.max_lookups = 2;
  Resolver resolver(loop(), options);
  LookedUp results[4];
  std::vector<Lookup> lookups;
  for (LookedUp& result : results) {
    lookups.push_back(resolver.resolve("a.example", 80, Families::any, into(result)));
  }
  ASSERT_TRUE(run_until([&] { return results[2].calls == 1 && results[3].calls == 1; }));
  EXPECT_EQ(results[2].why, error::too_many_lookups);
  EXPECT_EQ(results[3].why, error::too_many_lookups);
  EXPECT_TRUE(lookups[0].active());
  EXPECT_EQ(look_up(resolver, "192.0.2.1").addresses, Strings{"192.0.2.1:80"});
  lookups.clear();  // now nobody waits, and there is room again
  const Lookup again = resolver.resolve("a.example", 80, Families::any, into(results[0]));
  run_for(5ms);
  EXPECT_TRUE(again.active());
}

TEST_F(ResolverTest, OptionsThatCannotBeAreNamed) {
  const auto what = [&](const ResolverOptions& options) -> std::string {
    try {
      const Resolver resolver(loop(), options);
    } catch (const std::system_error& e) {
      return e.what();
    }
    return "nothing thrown";
  };
  EXPECT_EQ(what({.servers = {SocketAddress()}}).find("DNS server (none): it is no address"), 0u);
  EXPECT_EQ(what({.servers = {SocketAddress::loopback(0)}})
                .find("DNS server 127.0.0.1:0: it has no port"),
            0u);
  EXPECT_EQ(what({.servers = {SocketAddress::parse("[fe80::1%lo]:53")}})
                .find("DNS server [fe80::1%lo]:53: it has a scope"),
            0u);
  EXPECT_EQ(what({.search_domains = {"a..b"}}).find("search domain 'a..b'"), 0u);
  EXPECT_EQ(what({.hosts_file = "/nonexistent"}).find("hosts file /nonexistent: No such file"), 0u);
}

TEST_F(ResolverTest, TheLoopHasOneOfItsOwn) {
  Resolver& resolver = Resolver::of(loop());
  EXPECT_EQ(&resolver, &Resolver::of(loop()));
  EXPECT_EQ(look_up(resolver, "localhost", Families::ipv4).addresses, Strings{"127.0.0.1:80"});
}

TEST_F(ResolverTest, TheLoopsOwnGoesWithTheLoopLookupsAndAll) {
  const auto before = open_descriptors();
  Lookup lookup, ready;
  const auto held = std::make_shared<int>(0);
  const auto done = [held](std::error_code, std::span<const SocketAddress>) { ADD_FAILURE(); };
  {
    EventLoop other;
    lookup = Resolver::of(other).resolve("a.invalid", 80, Families::any, done);
    ready = Resolver::of(other).resolve("192.0.2.1", 80, Families::any, done);
  }
  EXPECT_FALSE(lookup.active());
  EXPECT_FALSE(ready.active());
  EXPECT_EQ(held.use_count(), 2);  // here and in `done`
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(ResolverTest, IpV6ServersAreAsked) {
  std::optional<DnsServer> six;
  try {
    six.emplace(loop(), SocketAddress::loopback_v6(0), plain());
  } catch (const std::runtime_error& e) {
    GTEST_SKIP() << e.what();
  }
  Resolver resolver(loop(), asking({six->address()}));
  EXPECT_EQ(look_up(resolver, "six.example").addresses, Strings{"192.0.2.1:80"});
  EXPECT_EQ(six->asked(kTypeA), 1);
}

// Nameservers of resolv.conf are asked at port 53, which takes privileges to listen on.
struct ResolvConfTest : ResolverFixture {
  void SetUp() override {
    ResolverFixture::SetUp();
    try {
      first.emplace(loop(), SocketAddress::parse("127.53.0.1:53"), saying("192.0.2.1"));
      second.emplace(loop(), SocketAddress::parse("127.53.0.2:53"), saying("192.0.2.2"));
    } catch (const std::runtime_error& e) {
      GTEST_SKIP() << e.what();
    }
  }
  void TearDown() override {
    first.reset();
    second.reset();
    ResolverFixture::TearDown();
  }
  static DnsServer::Reply saying(const std::string& host) {
    return [host](const DnsQuestion& q) {
      return q.name == "silent.example" ? std::string() : q.answer({address_record(host)});
    };
  }
  static ResolverOptions reading(const TemporaryFile& file) {
    ResolverOptions options = asking({});
    options.resolv_conf_file = file.path();
    return options;
  }
  std::optional<DnsServer> first, second;
};

TEST_F(ResolvConfTest, NamesTheServersAndSearchDomains) {
  const TemporaryFile file("nameserver 127.53.0.2\nsearch corp.example\noptions ndots:2\n");
  Resolver resolver(loop(), reading(file));
  EXPECT_EQ(look_up(resolver, "www", Families::ipv4).addresses, Strings{"192.0.2.2:80"});
  ASSERT_EQ(second->asked().size(), 1u);
  EXPECT_EQ(second->asked()[0].name, "www.corp.example");
  EXPECT_EQ(look_up(resolver, "a.b", Families::ipv4).addresses, Strings{"192.0.2.2:80"});
  EXPECT_EQ(second->asked()[1].name, "a.b.corp.example");
}

TEST_F(ResolvConfTest, WhenItHasChangedTheNextLookupUsesIt) {
  TemporaryFile file("nameserver 127.53.0.1\n");
  Resolver resolver(loop(), reading(file));
  EXPECT_EQ(look_up(resolver, "a.example").addresses, Strings{"192.0.2.1:80"});
  LookedUp old;
  const Lookup under_way = resolver.resolve("b.example", 80, Families::ipv4, into(old));
  file.write("# now another one\nnameserver 127.53.0.2\n");
  EXPECT_EQ(look_up(resolver, "a.example").addresses, Strings{"192.0.2.2:80"});
  ASSERT_TRUE(run_until([&] { return old.calls == 1; }));
  EXPECT_EQ(old.addresses, Strings{"192.0.2.1:80"});
}

TEST_F(ResolvConfTest, ChangesWithLookupsThatNeverEndLeaveNothing) {
  TemporaryFile file("nameserver 127.53.0.1\n");
  LookedUp results[5];
  std::vector<Lookup> lookups;
  Resolver resolver(loop(), reading(file));
  for (LookedUp& result : results) {
    lookups.push_back(resolver.resolve("silent.example", 80, Families::any, into(result)));
    file.write(std::string(lookups.size(), '\n') + "nameserver 127.53.0.1\n");
  }
  EXPECT_EQ(look_up(resolver, "a.example").addresses, Strings{"192.0.2.1:80"});
  const auto before = open_descriptors();
  lookups.clear();
  EXPECT_LT(open_descriptors().size(), before.size());
}

// In the child: exits with 0 when its lookup was answered.
[[noreturn]] void finish_in_child(EventLoop& loop, const LookedUp& result) {
  loop.reinit_after_fork();
  const auto end = Clock::now() + 5s;
  while (result.calls == 0 && Clock::now() < end) loop.run_once(10ms);
  ::_exit(result.calls == 1 && result.addresses == Strings{"192.0.2.1:80"} ? 0 : 1);
}

TEST_F(ResolverTest, AfterForkEachProcessAsksFromSocketsOfItsOwn) {
  // The server is in the test's hand: both processes wait for it.
  SilentPort port;
  Resolver resolver(loop(), asking({port.address()}));
  LookedUp result;
  const Lookup lookup = resolver.resolve("a.example", 80, Families::ipv4, into(result));
  const std::string asked_before = port.receive();
  ASSERT_FALSE(asked_before.empty());
  const auto sockets_of = [&] {
    std::vector<std::string> found;
    for (const auto& [fd, name] : open_descriptors()) {
      if (name.starts_with("socket:")) found.push_back(name);
    }
    return found;
  };
  const auto before = sockets_of();
  const pid_t child = ::fork();
  if (child == 0) {
    loop().reinit_after_fork();
    LookedUp own;
    const Lookup second = resolver.resolve("b.example", 80, Families::ipv4, into(own));
    const auto now = sockets_of();
    std::ptrdiff_t same = 0;
    for (const std::string& name : now) same += std::count(before.begin(), before.end(), name);
    // The test's own socket is shared, that of the resolver is not.
    ::_exit(same == std::ssize(before) - 1 && now.size() == before.size() && lookup.active() ? 0
                                                                                             : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(sockets_of(), before);
  EXPECT_TRUE(lookup.active());
}

TEST_F(ResolverTest, WhatAChildLooksUpFirstIsAskedOnceAndMayBeCancelled) {
  SilentPort port;
  Resolver resolver(loop(), asking({port.address()}));
  const pid_t child = ::fork();
  if (child == 0) {
    loop().reinit_after_fork();
    LookedUp own;
    Lookup first = resolver.resolve("first.example", 80, Families::ipv4, into(own));
    const std::string asked = port.receive() + port.receive();
    Lookup second = resolver.resolve("second.example", 80, Families::ipv4, into(own));
    first.cancel();
    loop().run_once(0ms);
    second.cancel();  // now all are answered
    const auto at = asked.find("first");
    ::_exit(at != asked.npos && asked.find("first", at + 1) == asked.npos && own.calls == 0 ? 0
                                                                                            : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(ResolverTest, AfterForkLookupsUnderWayAreAskedAnewInTheChild) {
  const SilentPort
      silent;  // which the parent asks; in the child the try after it reaches the server
  LookedUp result;
  Resolver resolver(loop(), asking({server->address()}));
  const Lookup lookup = resolver.resolve("a.example", 80, Families::ipv4, into(result));
  const pid_t child = ::fork();
  if (child == 0) finish_in_child(loop(), result);
  ASSERT_TRUE(run_until([&] { return result.calls == 1; }));
  EXPECT_EQ(result.addresses, Strings{"192.0.2.1:80"});
  int status = -1;
  ASSERT_TRUE(run_until([&] { return ::waitpid(child, &status, WNOHANG) == child; }));
  EXPECT_EQ(status, 0);
}

TEST_F(ResolverTest, AChildThatOnlyDestroysDoesNotDisturbTheParent) {
  auto resolver = std::make_unique<Resolver>(loop(), asking({server->address()}));
  LookedUp result;
  Lookup lookup = resolver->resolve("a.example", 80, Families::any, into(result));
  const pid_t child = ::fork();
  if (child == 0) {
    resolver.reset();
    ::_exit(lookup.active() ? 1 : 0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  ASSERT_TRUE(run_until([&] { return result.calls == 1; }));
  EXPECT_EQ(result.addresses, Strings{"192.0.2.1:80"});
}

}  // namespace
}  // namespace millrace::test
