// Ten thousand connections at once. The peers are a process of their own: one process may not have
// descriptors for both sides.
#include <millrace/connection.h>
#include <millrace/server.h>
#include <millrace/slab.h>

#include "support/loop_test.h"
#include "support/process.h"

#include <fstream>
#include <sstream>
#include <string>

namespace millrace::test {
namespace {

constexpr std::size_t kMany = 10'000;

// Anonymous memory of this process in bytes.
std::size_t anonymous_bytes() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line)) {
    if (line.rfind("RssAnon:", 0) == 0) return std::stoul(line.substr(8)) * 1024;
  }
  return 0;
}

// Counts only: what a test notes down would be counted as the server's memory.
struct CountingEcho : ConnectionHandler {
  void on_open(Connection&) override { ++opened; }
  void on_data(Connection& c, ReceiveBuffer& in) override {
    c.send(in.view());
    in.consume_all();
    ++echoed;
  }
  void on_close(Connection&, std::error_code why) override {
    ++closed;
    failed += why ? 1 : 0;
  }
  std::size_t opened = 0;
  std::size_t echoed = 0;
  std::size_t closed = 0;
  std::size_t failed = 0;
};

struct ManyConnectionsTest : LoopTest {
  CountingEcho handler;

  // All of them connect, get their echo, and are closed by the server.
  void serve_many(Server& server) {
    handler = {};
    Program peers(
        {MILLRACE_MANY_PEERS, std::to_string(server.address().port()), std::to_string(kMany)});
    ASSERT_TRUE(run_until([&] { return handler.opened == kMany; }, 60s)) << handler.opened;
    EXPECT_EQ(server.connection_count(), kMany);
    EXPECT_EQ(peers.read_line(), "connected");
    ASSERT_TRUE(run_until([&] { return handler.echoed >= kMany; }, 60s)) << handler.echoed;
    EXPECT_EQ(peers.read_line(), "echoed");
    EXPECT_EQ(server.connection_count(), kMany) << "all open, all answered";
    EXPECT_EQ(loop().services().blocks().live_blocks(), 0u) << "an idle one owns no buffer";
    open_bytes = anonymous_bytes();
    server.for_each([](Connection& c) { c.close(); });
    ASSERT_TRUE(run_until([&] { return handler.closed == kMany; }, 60s)) << handler.closed;
    EXPECT_EQ(handler.failed, 0u);
    EXPECT_EQ(peers.read_line(), "ended");
    EXPECT_EQ(peers.wait(), 0);
    EXPECT_EQ(server.connection_count(), 0u);
  }
  std::size_t open_bytes = 0;  // of memory, while all of them were open
};

TEST_F(ManyConnectionsTest, TenThousandAtOnceAreServedTwiceInBoundedMemory) {
  ASSERT_GE(raise_descriptor_limit(kMany + 100), kMany + 100);
  Server server(loop(), handler);
  server.listen(SocketAddress::loopback(0));
  const std::size_t before = anonymous_bytes();
  serve_many(server);
  const std::size_t first = open_bytes;
  // Generous, so that it holds under the sanitizers too, whose shadow memory counts.
  EXPECT_LE((first - before) / kMany, 4096u) << "bytes per connection";
  serve_many(server);
#ifdef MILLRACE_HAS_ASAN
  constexpr std::size_t kMore = 4 << 20;  // its quarantine holds what was freed
#else
  constexpr std::size_t kMore = 1 << 20;
#endif
  EXPECT_LE(open_bytes, first + kMore) << "what the first ones had is used again";
  EXPECT_EQ(server.stats().accepted, 2 * kMany);
  EXPECT_EQ(server.stats().refused, 0u);
}

}  // namespace
}  // namespace millrace::test
