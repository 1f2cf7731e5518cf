// What can be asked of a connection.
#include "support/one_peer_test.h"

#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace millrace::test {
namespace {

struct ConnectionStatsTest : OnePeerTest {};

TEST_F(ConnectionStatsTest, CountsTheBytesOfBothDirections) {
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    c.send(in.view());
    c.send("!");
    in.consume_all();
  };
  start();
  peer.send_all("hello");
  EXPECT_EQ(receive(peer, 6), "hello!");
  peer.send_all("again");
  EXPECT_EQ(receive(peer, 6), "again!");
  EXPECT_EQ(connection().stats().bytes_received, 10u);
  EXPECT_EQ(connection().stats().bytes_sent, 12u);
  EXPECT_EQ(connection().stats().queued_bytes, 0u);
}

TEST_F(ConnectionStatsTest, BytesCountAsSentWhenTheKernelHasTakenThem) {
  start_with_small_buffers();
  connection().send(pattern(300'000));
  run_for(5ms);
  const ConnectionStats stats = connection().stats();
  EXPECT_GT(stats.bytes_sent, 0u);
  EXPECT_GT(stats.queued_bytes, 0u);
  EXPECT_EQ(stats.bytes_sent + stats.queued_bytes, 300'000u);
  EXPECT_EQ(stats.queued_bytes, connection().queued_bytes());
}

TEST_F(ConnectionStatsTest, AfterADisorderlyEndWhatWasNotDeliveredIsCounted) {
  std::size_t got = 0;
  ConnectionStats last;
  std::size_t unacknowledged = 0;
  recorder.when_close = [&](Connection& c, std::error_code) {
    last = c.stats();
    unacknowledged = c.kernel_queues().send_bytes;
  };
  start_with_small_buffers();
  connection().send(pattern(300'000));
  run_for(5ms);
  EXPECT_EQ(connection().stats().undelivered_bytes, connection().queued_bytes());
  got += peer.receive_some().size();
  run_for(5ms);
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_GT(last.queued_bytes, 0u);
  EXPECT_GT(unacknowledged, 0u);
  EXPECT_EQ(last.undelivered_bytes, last.queued_bytes + unacknowledged);
  // What was acknowledged was received by the peer's kernel, which drops it with the reset.
  EXPECT_LE(got + last.undelivered_bytes, 300'000u);
}

TEST_F(ConnectionStatsTest, AfterAPeersResetTheUnacknowledgedCountAsUndelivered) {
  ConnectionStats last;
  recorder.when_close = [&](Connection& c, std::error_code) { last = c.stats(); };
  ServerOptions options;
  options.listen.socket.send_buffer_bytes = 1 << 20;
  start(options, 4096);
  connection().send(pattern(200'000));
  run_for(5ms);
  ASSERT_EQ(connection().queued_bytes(), 0u);
  peer.reset();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
  EXPECT_EQ(last.queued_bytes, 0u);
  EXPECT_GT(last.undelivered_bytes, 100'000u);
}

TEST_F(ConnectionStatsTest, AnOrderlyEndHasDeliveredAllAndAsksTheKernelNothing) {
  Faults faults;
  ConnectionStats last;
  std::uint64_t asked = 1;
  recorder.when_close = [&](Connection& c, std::error_code) {
    asked = calls_during(faults, Call::ioctl, [&] { last = c.stats(); });
  };
  start();
  connection().send("goodbye");
  connection().close();
  EXPECT_EQ(receive(peer, 7), "goodbye");
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(last.undelivered_bytes, 0u);
  EXPECT_EQ(last.bytes_sent, 7u);
  EXPECT_EQ(asked, 0u);
  // The peer ends first: then the kernel is not asked at all.
  peer = connect();
  connection().send("goodbye");
  peer.end();
  EXPECT_EQ(calls_during(faults, Call::ioctl, [&] { ASSERT_TRUE(until_closed(2)); }), 0u);
  EXPECT_EQ(asked, 0u);
  EXPECT_EQ(last.undelivered_bytes, 0u);
}

TEST_F(ConnectionStatsTest, TheEndOfTheStreamIsNoUndeliveredByte) {
  ConnectionStats last;
  recorder.when_close = [&](Connection& c, std::error_code) { last = c.stats(); };
  ServerOptions options;
  options.listen.socket.send_buffer_bytes = 1 << 20;
  start(options, 4096);
  connection().send(pattern(100'000));
  connection().close();
  run_for(5ms);
  const std::size_t with_fin = connection().kernel_queues().send_bytes;
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(last.undelivered_bytes + 1, with_fin);
}

TEST_F(ConnectionStatsTest, DiscardedBytesCountAsReceived) {
  start();
  connection().close();
  EXPECT_TRUE(sees_end(peer));
  peer.send_all("discarded");
  EXPECT_TRUE(run_until([&] { return connection().stats().bytes_received == 9; }));
}

TEST_F(ConnectionStatsTest, AgeAndIdleFollowTheClock) {
  start();
  Faults faults;
  faults.advance_clock(100s);
  loop().run_once(0ms);
  EXPECT_GE(connection().stats().age, 100s);
  EXPECT_LT(connection().stats().age, 150s);
  EXPECT_GE(connection().stats().idle, 100s);
  peer.send_all("x");
  ASSERT_TRUE(run_until([&] { return recorder.received == "x"; }));
  EXPECT_LT(connection().stats().idle, 50s);
  faults.advance_clock(100s);
  loop().run_once(0ms);
  EXPECT_GE(connection().stats().idle, 100s);
  connection().send("y");
  loop().run_once(0ms);
  EXPECT_LT(connection().stats().idle, 50s);
  EXPECT_GE(connection().stats().age, 200s);
  EXPECT_LT(connection().stats().age, 250s);
}

TEST_F(ConnectionStatsTest, KernelQueuesTellWhoDoesNotRead) {
  ServerOptions options;
  options.listen.socket.send_buffer_bytes = 256 * 1024;
  start(options, 4096);
  EXPECT_EQ(connection().kernel_queues().send_bytes, 0u);
  EXPECT_EQ(connection().kernel_queues().receive_bytes, 0u);
  connection().send(pattern(100'000));
  run_for(5ms);
  // The peer's window is full.
  const KernelQueues stuck = connection().kernel_queues();
  EXPECT_GT(stuck.send_bytes, 50'000u);
  EXPECT_GT(stuck.send_unsent_bytes, 50'000u);
  EXPECT_LE(stuck.send_unsent_bytes, stuck.send_bytes);
  // We do not read.
  connection().pause_reading();
  peer.send_all("seven b");
  EXPECT_TRUE(run_until([&] { return connection().kernel_queues().receive_bytes == 7; }));
  EXPECT_EQ(receive(peer, 100'000).size(), 100'000u);
  EXPECT_TRUE(run_until([&] { return connection().kernel_queues().send_bytes == 0; }));
}

TEST_F(ConnectionStatsTest, TcpInfoIsThatOfTheSocket) {
  start();
  connection().send("hello");
  EXPECT_EQ(receive(peer, 5), "hello");
  const std::optional<TcpInfo> info = connection().tcp_info();
  ASSERT_TRUE(info);
  EXPECT_GT(info->rtt.count(), 0);
  EXPECT_LT(info->rtt, 10s);
  EXPECT_GT(info->congestion_window_segments, 0u);
  EXPECT_GT(info->send_segment_bytes, 500u);
  EXPECT_GT(info->peer_window_bytes, 0u);
  EXPECT_EQ(info->retransmits, 0u);
}

TEST_F(ConnectionStatsTest, KnowsBothAddresses) {
  start();
  EXPECT_EQ(connection().peer(), peer.address());
  EXPECT_EQ(connection().local(), server->address());
}

TEST_F(ConnectionStatsTest, KnowsBothAddressesOfVersionSix) {
  server = std::make_unique<Server>(loop(), recorder);
  server->listen(SocketAddress::loopback_v6(0));
  peer = connect();
  EXPECT_EQ(connection().peer(), peer.address());
  EXPECT_EQ(connection().peer().family(), SocketAddress::Family::ipv6);
  EXPECT_EQ(connection().local(), server->address());
}

TEST_F(ConnectionStatsTest, IdsAreUniqueThoughMemoryAndDescriptorsAreUsedAgain) {
  std::set<std::uint64_t> ids;
  std::set<Connection*> addresses;
  listen();
  for (int i = 0; i < 200; ++i) {
    peer = connect();
    addresses.insert(&connection());
    EXPECT_TRUE(ids.insert(connection().id()).second);
    EXPECT_NE(connection().id(), 0u);
    EXPECT_EQ(connection().id(), connection().ref().id());
    connection().abort();
    ASSERT_TRUE(until_closed(i + 1));
  }
  EXPECT_LT(addresses.size(), 200u) << "this test reuses no slot";
}

TEST_F(ConnectionStatsTest, TheNativeHandleIsTheSocket) {
  start();
  int no_delay = 0;
  socklen_t size = sizeof no_delay;
  ASSERT_EQ(::getsockopt(connection().native_handle(), IPPROTO_TCP, TCP_NODELAY, &no_delay, &size),
            0);
  EXPECT_EQ(no_delay, 1) << "the default of SocketOptions";
  EXPECT_EQ(&connection().loop(), &loop());
}

TEST_F(ConnectionStatsTest, WhatTheKernelRefusesToTellIsMissing) {
  start();
  Faults faults;
  faults.on(Call::getsockopt, Fault::fail(ENOPROTOOPT));
  EXPECT_FALSE(connection().tcp_info());
  EXPECT_TRUE(connection().tcp_info()) << "asked again";
}

}  // namespace
}  // namespace millrace::test
