// Against a DNS server that others wrote.
#include "support/dnsmasq.h"
#include "support/resolver_test.h"

#include <algorithm>
#include <optional>

namespace millrace::test {
namespace {

using Strings = std::vector<std::string>;

struct ResolverDnsmasqTest : ResolverFixture {
  void SetUp() override {
    ResolverFixture::SetUp();
    if (!Dnsmasq::installed()) GTEST_SKIP() << Dnsmasq::kMissing;
    std::vector<std::string> lines = {"local=/test/",
                                      "host-record=both.test,192.0.2.1,2001:db8::1",
                                      "host-record=four.test,192.0.2.4",
                                      "host-record=six.test,2001:db8::6",
                                      "cname=alias.test,four.test",
                                      "cname=alias2.test,alias.test",
                                      "host-record=www.corp.test,192.0.2.8",
                                      "txt-record=text.test,hello"};
    for (int i = 0; i < 100; ++i) {
      lines.push_back("host-record=many.test,198.51.100." + std::to_string(i));
    }
    dns_.emplace(lines);
  }
  void TearDown() override {
    dns_.reset();
    ResolverFixture::TearDown();
  }
  ResolverOptions options() const { return asking({dns_->address()}); }

 private:
  std::optional<Dnsmasq> dns_;
};

TEST_F(ResolverDnsmasqTest, GivesTheAddressesOfBothFamilies) {
  Resolver resolver(loop(), options());
  Strings both = look_up(resolver, "both.test").addresses;
  std::sort(both.begin(), both.end());
  EXPECT_EQ(both, (Strings{"192.0.2.1:80", "[2001:db8::1]:80"}));
  EXPECT_EQ(look_up(resolver, "four.test").addresses, Strings{"192.0.2.4:80"});
  EXPECT_EQ(look_up(resolver, "six.test").addresses, Strings{"[2001:db8::6]:80"});
}

TEST_F(ResolverDnsmasqTest, GivesThoseOfOneFamilyOrNone) {
  Resolver resolver(loop(), options());
  EXPECT_EQ(look_up(resolver, "both.test", Families::ipv4).addresses, Strings{"192.0.2.1:80"});
  EXPECT_EQ(look_up(resolver, "both.test", Families::ipv6).addresses, Strings{"[2001:db8::1]:80"});
  EXPECT_EQ(look_up(resolver, "six.test", Families::ipv4).why, error::name_has_no_address);
  EXPECT_EQ(look_up(resolver, "text.test").why, error::name_has_no_address);
}

TEST_F(ResolverDnsmasqTest, FollowsAliases) {
  Resolver resolver(loop(), options());
  EXPECT_EQ(look_up(resolver, "alias.test").addresses, Strings{"192.0.2.4:80"});
  EXPECT_EQ(look_up(resolver, "alias2.test").addresses, Strings{"192.0.2.4:80"});
}

TEST_F(ResolverDnsmasqTest, SaysThatThereIsNoSuchName) {
  Resolver resolver(loop(), options());
  EXPECT_EQ(look_up(resolver, "nobody.test").why, error::name_not_found);
}

TEST_F(ResolverDnsmasqTest, SaysThatTheServerRefuses) {
  Resolver resolver(loop(), options());  // which knows no other server to ask
  EXPECT_EQ(look_up(resolver, "example.org").why, error::name_refused);
}

TEST_F(ResolverDnsmasqTest, FindsShortNamesInSearchDomains) {
  ResolverOptions searching = options();
  searching.search_domains = {"nowhere.test", "corp.test"};
  Resolver resolver(loop(), searching);
  EXPECT_EQ(look_up(resolver, "www").addresses, Strings{"192.0.2.8:80"});
  EXPECT_EQ(look_up(resolver, "four.test").addresses, Strings{"192.0.2.4:80"});
  EXPECT_NE(look_up(resolver, "www.").why, std::error_code());
}

TEST_F(ResolverDnsmasqTest, TakesTheHostsFileFirst) {
  const TemporaryFile hosts("203.0.113.1 four.test\n");
  ResolverOptions with_file = options();
  with_file.hosts_file = hosts.path();
  Resolver resolver(loop(), with_file);
  EXPECT_EQ(look_up(resolver, "four.test").addresses, Strings{"203.0.113.1:80"});
  EXPECT_EQ(look_up(resolver, "alias.test").addresses, Strings{"192.0.2.4:80"});
}

TEST_F(ResolverDnsmasqTest, GetsAllOfAnAnswerThatNeedsTcp) {
  Resolver resolver(loop(), options());
  EXPECT_EQ(look_up(resolver, "many.test").addresses.size(), 100u);
}

}  // namespace
}  // namespace millrace::test
