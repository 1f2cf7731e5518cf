// TCP Fast Open, in a network of its own where it is allowed.
#include <millrace/client.h>
#include <millrace/server.h>

#include "support/loop_test.h"
#include "support/sockets.h"
#include "support/tcp_facts.h"

#include <cerrno>
#include <fstream>
#include <functional>
#include <optional>
#include <string>

#include <netinet/in.h>
#include <netinet/tcp.h>

namespace millrace::test {
namespace {

// Bits of net.ipv4.tcp_fastopen.
constexpr int kForNobody = 0;
constexpr int kForBoth = 3;

// A server that answers and clients that speak first, in a thread and a network of their own.
struct FastOpenWorld {
  explicit FastOpenWorld(int allowed) {
    std::ofstream("/proc/sys/net/ipv4/tcp_fastopen") << allowed;
    int now = -1;
    std::ifstream("/proc/sys/net/ipv4/tcp_fastopen") >> now;
    possible = now == allowed;
    options.fast_open = true;
    ServerOptions of_server;
    of_server.listen.fast_open_queue = 16;
    server.emplace(loop,
                   Callbacks{.on_data = [](Connection& c, ReceiveBuffer& in) { send_back(c, in); }},
                   of_server);
    server->listen("127.0.0.1:0");
  }
  bool run_until(const std::function<bool()>& done) {
    const TimePoint end = Clock::now() + 10s;
    while (!done() && Clock::now() < end) loop.run_once(1ms);
    return done();
  }
  // One request; whether it went along with the SYN.
  bool ask() {
    bool in_syn = false;
    std::string answer;
    Client client(loop,
                  {.on_open = [](Connection& c) { c.send("question"); },
                   .on_data =
                       [&](Connection& c, ReceiveBuffer& in) {
                         answer += in.view().text();
                         in.consume_all();
                         in_syn = tcp_facts(c.native_handle()).data_in_syn;
                       }},
                  options);
    client.connect(server->address());
    EXPECT_TRUE(run_until([&] { return answer == "question"; }));
    return in_syn;
  }

  EventLoop loop;
  ClientOptions options;
  std::optional<Server> server;
  bool possible = false;
};

struct FastOpenTest : ::testing::Test {
  void in_world(int allowed, const std::function<void(FastOpenWorld&)>& run) {
    bool possible = false;
    const bool made = in_own_network([&] {
      FastOpenWorld world(allowed);
      possible = world.possible;
      if (possible) run(world);
    });
    if (!made || !possible) skip_ = true;
  }
  bool skip_ = false;
  static constexpr const char* kNotAllowed = "needs the privilege to make a network";
};

TEST_F(FastOpenTest, FromTheSecondTimeOnTheRequestGoesAlongWithTheSyn) {
  in_world(kForBoth, [](FastOpenWorld& world) {
    EXPECT_FALSE(world.ask()) << "the first one gets the cookie";
    EXPECT_TRUE(world.ask());
    EXPECT_TRUE(world.ask());
  });
  if (skip_) GTEST_SKIP() << kNotAllowed;
}

TEST_F(FastOpenTest, WhereTheSystemDoesNotAllowItOneConnectsAsUsual) {
  in_world(kForNobody, [](FastOpenWorld& world) {
    EXPECT_FALSE(world.ask());
    EXPECT_FALSE(world.ask());
  });
  if (skip_) GTEST_SKIP() << kNotAllowed;
}

TEST_F(FastOpenTest, ARequestLargerThanASynArrivesWhole) {
  in_world(kForBoth, [](FastOpenWorld& world) {
    world.ask();
    const std::string large(1'000'000, 'x');
    std::size_t answered = 0;
    Client client(world.loop,
                  {.on_open = [&](Connection& c) { c.send(ByteView(large)); },
                   .on_data =
                       [&](Connection&, ReceiveBuffer& in) {
                         answered += in.size();
                         in.consume_all();
                       }},
                  world.options);
    client.connect(world.server->address());
    EXPECT_TRUE(world.run_until([&] { return answered == large.size(); }));
  });
  if (skip_) GTEST_SKIP() << kNotAllowed;
}

TEST_F(FastOpenTest, ARefusalIsToldByOnClose) {
  in_world(kForBoth, [](FastOpenWorld& world) {
    world.ask();
    const SocketAddress address = world.server->address();
    world.server.reset();
    std::error_code failed;
    std::error_code closed;
    Client client(world.loop,
                  {.on_open = [](Connection& c) { c.send("question"); },
                   .on_close = [&](Connection&, std::error_code why) { closed = why; },
                   .on_connect_failed = [&](std::error_code why) { failed = why; }},
                  world.options);
    client.connect(address);
    EXPECT_TRUE(world.run_until([&] { return closed || failed; }));
    EXPECT_EQ(closed, std::errc::connection_refused);
  });
  if (skip_) GTEST_SKIP() << kNotAllowed;
}

struct FastOpenQueueTest : LoopTest {};
struct FastOpenSendTest : LoopTest {};

TEST_F(FastOpenSendTest, BytesThatMustWaitForTheConnectionAfterAllWaitInTheQueue) {
  RawSocket listener = RawSocket::listen();
  Faults faults;
  recorder.when_open = [&](Connection& c) {
    // What send(2) says when the cookie is gone between connect(2) and the first bytes.
    faults.on(Call::send, Fault::fail(EINPROGRESS));
    c.send("question");
  };
  Client client(loop(), recorder);
  client.connect(listener.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  RawSocket accepted = listener.accept();
  EXPECT_EQ(receive(accepted, 8), "question");
  recorder.when_open = {};
}

TEST_F(FastOpenQueueTest, HasTheLengthAskedForAndIsNotThereByDefault) {
  ListenOptions options;
  const auto ignore = [](UniqueFd, const SocketAddress&) {};
  const Listener plain(loop(), SocketAddress::loopback(0), ignore, options);
  options.fast_open_queue = 16;
  const Listener fast(loop(), SocketAddress::loopback(0), ignore, options);
  const auto queue = [](const Listener& of) {
    return socket_option(listening_descriptor(of.address()), IPPROTO_TCP, TCP_FASTOPEN);
  };
  EXPECT_EQ(queue(plain), 0);
  EXPECT_EQ(queue(fast), 16);
}

}  // namespace
}  // namespace millrace::test
