// The simulated kernel under the unchanged product: a loop, a server and clients run on it, time is
// virtual, and the same seed gives the same run.
#include "support/sim/sim_kernel.h"

#include <millrace/client.h>
#include <millrace/event_loop.h>
#include <millrace/server.h>

#include <chrono>
#include <string>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

std::uint64_t echo_run(std::uint64_t seed, std::string* received = nullptr) {
  SeededDecisions decisions(seed);
  SimOptions options;
  options.latency_least = 10us;
  options.latency_most = 5ms;
  options.call = 200ns;
  options.faults = SimFaults::harmless();
  SimKernel kernel(decisions, options);
  {
    EventLoop loop;
    Server server(loop, {.on_data = [](Connection& c, ReceiveBuffer& in) {
                    c.send(in.view());
                    in.consume_all();
                  }});
    server.listen("127.0.0.1:0");
    std::string got;
    Client client(loop, {.on_open = [](Connection& c) { c.send(std::string(100'000, 'x')); },
                         .on_data =
                             [&](Connection& c, ReceiveBuffer& in) {
                               got += in.view().text();
                               in.consume_all();
                               if (got.size() == 100'000) c.close();
                             }});
    client.connect(server.address());
    loop.run_for(10s);
    if (received) *received = got;
    EXPECT_EQ(server.connection_count(), 0u);
  }
  EXPECT_EQ(kernel.open_descriptors(), 0u);
  return kernel.fingerprint();
}

TEST(SimKernelTest, AnEchoRunsOnItUnchanged) {
  std::string received;
  echo_run(1, &received);
  EXPECT_EQ(received.size(), 100'000u);
}

TEST(SimKernelTest, TheSameSeedGivesTheSameRunAndAnotherOneAnother) {
  const std::uint64_t first = echo_run(7);
  EXPECT_EQ(echo_run(7), first);
  EXPECT_NE(echo_run(8), first);
}

TEST(SimKernelTest, ADayPassesInAMoment) {
  SeededDecisions decisions(1);
  SimKernel kernel(decisions);
  EventLoop loop;
  int ticks = 0;
  const Timer timer = loop.every(1s, [&] { ++ticks; });
  const TimePoint start = kernel.now();
  loop.run_for(24h);
  EXPECT_EQ(ticks, 24 * 3600);
  EXPECT_GE(kernel.now() - start, 24h);
  EXPECT_LT(loop.stats().iterations, 2u * 24 * 3600 + 10) << "it does not wake up for nothing";
}

TEST(SimKernelTest, AVanishedPeerIsNoticedByWhatWasSetToNoticeIt) {
  SeededDecisions decisions(1);
  SimKernel kernel(decisions, {.latency_least = 1ms, .latency_most = 1ms});
  EventLoop loop;
  ServerOptions options;
  options.listen.socket.keepalive_idle = 60s;
  std::error_code reason;
  TimePoint closed;
  Server server(loop,
                {.on_close =
                     [&](Connection&, std::error_code why) {
                       reason = why;
                       closed = loop.now();
                     }},
                options);
  server.listen("127.0.0.1:0");
  Client client(loop, {.on_open = [](Connection& c) { c.send("hello"); }});
  client.connect(server.address());
  loop.run_for(1s);
  ASSERT_EQ(server.connection_count(), 1u);
  const TimePoint vanished = loop.now();
  kernel.vanish(client.connection()->native_handle());
  loop.run_for(1h);
  EXPECT_EQ(reason, std::errc::timed_out);
  EXPECT_GE(closed - vanished, 80s);
  EXPECT_LE(closed - vanished, 91s);
}

}  // namespace
}  // namespace millrace::test
