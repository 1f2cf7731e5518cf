// What socket options do, on real sockets. How they are set: socket_options_test.cc.
#include <millrace/client.h>

#include "support/sockets.h"
#include "support/tcp_facts.h"
#include "support/timeouts_test.h"

#include <cerrno>
#include <cstring>

#include <netinet/in.h>
#include <sys/socket.h>

namespace millrace::test {
namespace {

struct SocketOptionEffectsTest : OnePeerTest {
  static ServerOptions with(const SocketOptions& socket) {
    ServerOptions options;
    options.connection.timeouts.write_stall = 0ms;
    options.listen.socket = socket;
    return options;
  }
  void send_now(std::string_view bytes) {
    connection().send(bytes);
    connection().flush();
  }
  void expect_noticed_as_vanished() {
    ASSERT_TRUE(run_until([&] { return recorder.closed == 1; }, 60s));
    EXPECT_EQ(recorder.reasons[0], std::errc::timed_out);
  }
  static constexpr const char* kNotAllowed = "dropping segments needs privileges here";
};

// A peer that acknowledges nothing shows what waits for an acknowledgement.
TEST_F(SocketOptionEffectsTest, WithoutNoDelayASmallWriteWaitsForTheAckOfTheOneBefore) {
  start(with({.no_delay = false}));
  if (!peer.vanish()) GTEST_SKIP() << kNotAllowed;
  send_now("first");
  send_now("second");
  EXPECT_EQ(connection().kernel_queues().send_unsent_bytes, 6u);
  EXPECT_FALSE(connection().set_socket_options({.no_delay = true}));
  EXPECT_EQ(connection().kernel_queues().send_unsent_bytes, 0u) << "it leaves at once";
}

TEST_F(SocketOptionEffectsTest, WithNoDelayASmallWriteWaitsForNothing) {
  start();
  if (!peer.vanish()) GTEST_SKIP() << kNotAllowed;
  send_now("first");
  send_now("second");
  EXPECT_EQ(connection().kernel_queues().send_unsent_bytes, 0u);
  EXPECT_EQ(connection().kernel_queues().send_bytes, 11u);
}

TEST_F(SocketOptionEffectsTest, KeepaliveSetOnALiveConnectionFindsAPeerThatVanished) {
  start(with({}));
  if (!peer.vanish()) GTEST_SKIP() << kNotAllowed;
  EXPECT_FALSE(connection().set_socket_options(
      {.keepalive_idle = 1s, .keepalive_interval = 1s, .keepalive_probes = 1}));
  expect_noticed_as_vanished();
}

TEST_F(SocketOptionEffectsTest, WithKeepaliveTheUserTimeoutTakesThePlaceOfTheNumberOfProbes) {
  // A hundred probes would take longer than this test waits.
  start(with({.keepalive_idle = 1s,
              .keepalive_interval = 1s,
              .keepalive_probes = 100,
              .user_timeout = 1500ms}));
  if (!peer.vanish()) GTEST_SKIP() << kNotAllowed;
  expect_noticed_as_vanished();
}

TEST_F(SocketOptionEffectsTest, TheSendBufferBoundsWhatTheKernelTakes) {
  const auto taken = [&] {
    connection().send(pattern(8 << 20));
    run_for(5ms);
    EXPECT_GT(connection().queued_bytes(), 0u);
    return connection().kernel_queues().send_bytes;
  };
  start(with({.send_buffer_bytes = 10'000}), 4096);
  EXPECT_LE(taken(), 20'000u);
  peer = connect(4096);
  EXPECT_FALSE(connection().set_socket_options({.send_buffer_bytes = 200'000}));
  EXPECT_GT(taken(), 20'000u);
}

TEST_F(SocketOptionEffectsTest, TheReceiveBufferBoundsWhatThePeerCanSendAhead) {
  start(with({.receive_buffer_bytes = 10'000}));
  connection().pause_reading();
  const std::string much = pattern(8 << 20);
  std::size_t sent = 0;
  run_until([&] { return (sent += peer.send_some(std::string_view(much).substr(sent))) == 0; },
            50ms);
  EXPECT_LE(connection().kernel_queues().receive_bytes, 20'000u);
  EXPECT_GT(connection().kernel_queues().receive_bytes, 0u);
}

TEST_F(SocketOptionEffectsTest, NotsentLowatBoundsWhatWaitsUnsentInTheKernel) {
  constexpr int kLowat = 16 * 1024;
  constexpr std::size_t kLargestSegment = 64 * 1024;
  const auto unsent = [&] {
    connection().send(pattern(8 << 20));
    run_for(5ms);
    EXPECT_GT(connection().queued_bytes(), 0u);
    return connection().kernel_queues().send_unsent_bytes;
  };
  start(with({.send_buffer_bytes = 1 << 20, .notsent_lowat_bytes = kLowat}), 4096);
  EXPECT_LE(unsent(), kLowat + kLargestSegment);
  peer = connect(4096);
  EXPECT_FALSE(connection().set_socket_options({.notsent_lowat_bytes = 0}));
  EXPECT_GT(unsent(), kLowat + kLargestSegment);
}

TEST_F(SocketOptionEffectsTest, WithNotsentLowatEverythingStillArrivesInOrder) {
  start(with({.notsent_lowat_bytes = 4096}));
  const std::string much = pattern(4 << 20);
  connection().send(ByteView(much));
  EXPECT_TRUE(same_bytes(receive(peer, much.size()), much));
}

// What the first packet of whoever connected had in its header.
int received_tos(int accepted) {
  alignas(cmsghdr) char control[256];
  socklen_t size = sizeof control;
  if (::getsockopt(accepted, IPPROTO_IP, IP_PKTOPTIONS, control, &size) != 0) return -1;
  msghdr message{};
  message.msg_control = control;
  message.msg_controllen = size;
  for (cmsghdr* one = CMSG_FIRSTHDR(&message); one; one = CMSG_NXTHDR(&message, one)) {
    if (one->cmsg_level != IPPROTO_IP || one->cmsg_type != IP_TOS) continue;
    int tos = 0;
    std::memcpy(&tos, CMSG_DATA(one), sizeof tos);
    return tos & 0xff;
  }
  return -1;
}

TEST_F(SocketOptionEffectsTest, ThePeerReceivesTheTos) {
  RawSocket listener = RawSocket::listen();
  const int on = 1;
  ASSERT_EQ(::setsockopt(listener.fd(), IPPROTO_IP, IP_RECVTOS, &on, sizeof on), 0);
  ClientOptions options;
  options.socket.tos = 0x28;
  Client client(loop(), recorder, options);
  client.connect(listener.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  const RawSocket accepted = listener.accept();
  EXPECT_EQ(received_tos(accepted.fd()), 0x28);
}

TEST_F(SocketOptionEffectsTest, ReuseAddressDecidesWhetherAPortInTimeWaitCanBeHad) {
  recorder.when_open = [](Connection& c) { c.close(); };
  start();
  ASSERT_TRUE(sees_end(peer));
  const SocketAddress address = server->address();
  const SocketAddress from = peer.address();
  peer.close();
  ASSERT_TRUE(until_closed());
  server.reset();
  ASSERT_TRUE(run_until([&] { return tcp_state(address, from) == TcpState::time_wait; }));
  const auto ignore = [](UniqueFd, const SocketAddress&) {};
  ListenOptions options;
  options.reuse_address = false;
  try {
    const Listener listener(loop(), address, ignore, options);
    ADD_FAILURE() << "it listens";
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), std::errc::address_in_use);
  }
  options.reuse_address = true;
  EXPECT_EQ(Listener(loop(), address, ignore, options).address(), address);
}

TEST_F(SocketOptionEffectsTest, WithDeferAcceptASilentConnectionCostsNoWakeUp) {
  ServerOptions options;
  options.listen.defer_accept = 60s;
  listen(options);
  peer = RawSocket::connect_to(server->address());
  EXPECT_LE(run_for(20ms), 2u);
  EXPECT_EQ(recorder.opened, 0);
  peer.send_all("hello");
  ASSERT_TRUE(run_until([&] { return recorder.received == "hello"; }));
}

}  // namespace
}  // namespace millrace::test
