#include "examples/programs.h"
#include "support/dnsmasq.h"

#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

TEST(Resolve, PrintsTheAddressesOfAllHostsAndWhichHasNone) {
  if (!Dnsmasq::installed()) GTEST_SKIP() << Dnsmasq::kMissing;
  const Dnsmasq dns(
      {"local=/test/", "host-record=a.test,192.0.2.1", "host-record=b.test,192.0.2.2,2001:db8::2"});
  Program program({bin("resolve"), "--server", dns.address().to_string(), "a.test", "nobody.test",
                   "b.test", "192.0.2.9"});
  std::vector<std::string> lines;
  for (std::string line = program.read_line(); !line.empty(); line = program.read_line()) {
    lines.push_back(line);
  }
  std::sort(lines.begin(), lines.end());
  EXPECT_EQ(lines, (std::vector<std::string>{"192.0.2.9 192.0.2.9", "a.test 192.0.2.1",
                                             "b.test 192.0.2.2", "b.test 2001:db8::2"}));
  EXPECT_EQ(program.read_error_line(), "resolve: nobody.test: host name not found");
  EXPECT_EQ(program.wait(), 1);
}

TEST(Resolve, EndsWellWhenAllHaveAddresses) {
  Program program({bin("resolve"), "localhost", "::1"});
  EXPECT_EQ(program.wait(), 0);
}

TEST(Resolve, AServerThatCannotBeIsOneLineAndStatusOne) {
  Program program({bin("resolve"), "--server", "nonsense", "a.test"});
  EXPECT_EQ(program.read_error_line().rfind("resolve: bad address 'nonsense'", 0), 0u);
  EXPECT_EQ(program.wait(), 1);
}

}  // namespace
}  // namespace millrace::test
