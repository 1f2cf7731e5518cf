// The fixture of what looks up names: results as text, from servers of the test's own.
#pragma once

#include <millrace/error.h>
#include <millrace/resolver.h>

#include "support/dns_server.h"
#include "support/loop_test.h"

#include <cstdlib>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include <unistd.h>

namespace millrace::test {

// A file in the directory for temporary files, there as long as this is.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text) {
    UniqueFd(::mkstemp(path_.data()));
    write(text);
  }
  ~TemporaryFile() { ::unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }
  void write(const std::string& text) { std::ofstream(path_) << text; }

 private:
  std::string path_ = ::testing::TempDir() + "millrace-XXXXXX";
};

struct LookedUp {
  int calls = 0;
  std::error_code why;
  std::vector<std::string> addresses;  // with ports
};

class ResolverFixture : public LoopTest {
 protected:
  using Families = Resolver::Families;

  // What servers have to say should come at once, so that what a test waits for is the product.
  static ResolverOptions asking(std::vector<SocketAddress> servers) {
    ResolverOptions options;
    options.servers = std::move(servers);
    options.timeout = 10s;
    options.try_timeout = 5s;
    options.hosts_file = "/dev/null";
    return options;
  }
  // Answers every question for an IPv4 address with 192.0.2.1, and others with nothing.
  static DnsServer::Reply plain() {
    return [](const DnsQuestion& q) { return q.answer({address_record("192.0.2.1")}); };
  }

  static Resolver::Done into(LookedUp& result) {
    return [&result](std::error_code why, std::span<const SocketAddress> addresses) {
      ++result.calls;
      result.why = why;
      result.addresses.clear();
      for (const SocketAddress& a : addresses) result.addresses.push_back(a.to_string());
    };
  }

  LookedUp look_up(Resolver& resolver, std::string_view host, Families families = Families::any) {
    LookedUp result;
    const Lookup lookup = resolver.resolve(host, 80, families, into(result));
    EXPECT_EQ(result.calls, 0) << "called from inside resolve()";
    EXPECT_TRUE(run_until([&] { return result.calls > 0; })) << host << ": no result";
    EXPECT_FALSE(lookup.active());
    EXPECT_EQ(static_cast<bool>(result.why), result.addresses.empty());
    return result;
  }
};

}  // namespace millrace::test
