// What waits for the kernel: bounds, policies, and how it leaves.
#include <millrace/udp_socket.h>

#include "support/datagram_test.h"

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

using Texts = std::vector<std::string>;

// The kernel has no room until release().
struct UdpQueueTest : DatagramTest {
  void block() { faults.on(Call::sendmmsg, Fault::fail(EAGAIN), {.times = 1}); }
  // Queues "0", "1" ... while the kernel has no room.
  void fill(UdpSocket& socket, int n) {
    block();
    for (int i = 0; i < n; ++i) EXPECT_TRUE(socket.send_to(peer.address(), std::to_string(i)));
    socket.flush();
    ASSERT_EQ(socket.queued_datagrams(), static_cast<std::size_t>(n));
  }

  Faults faults;
  RawDatagrams peer;
};

TEST_F(UdpQueueTest, WhatTheKernelHasNoRoomForWaitsForEpolloutAndLeavesInOrder) {
  UdpSocket socket(loop(), {});
  socket.bind(any_port);
  fill(socket, 10);
  EXPECT_EQ(peer.receive(), Texts());
  EXPECT_EQ(peer_receives(peer, 10), (Texts{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}));
  EXPECT_EQ(socket.queued_bytes(), 0u);
  EXPECT_LT(run_for(20ms), 10u) << "it still waits for EPOLLOUT";
}

TEST_F(UdpQueueTest, AFullSendBufferOfTheKernelDrains) {
  UdpSocket socket(
      loop(), {.on_drained = [&](UdpSocket&) { ++drained; }},
      {.send_buffer_bytes = 4608, .segmentation_offload = false, .queue_datagrams = 100'000});
  socket.bind(any_port);
  std::size_t n = 0;
  // A route on which datagrams wait: they go to nobody, and the device takes them when it likes.
  for (; n < 2000; ++n) ASSERT_TRUE(socket.send_to(peer.address(), std::string(500, 'x')));
  ASSERT_TRUE(run_until([&] { return socket.queued_datagrams() == 0; }));
  EXPECT_EQ(socket.stats().sent, n);
}

TEST_F(UdpQueueTest, AFullQueueRefusesUntilHalfOfItIsFree) {
  UdpSocket socket(loop(), keep(), {.queue_datagrams = 4});
  socket.bind(any_port);
  fill(socket, 4);
  const DatagramResult result = socket.send_to(peer.address(), "more");
  EXPECT_EQ(result, DatagramResult::refused);
  EXPECT_EQ(result.error(), std::errc::resource_unavailable_try_again);
  EXPECT_EQ(drained, 0);
  EXPECT_EQ(peer_receives(peer, 4), (Texts{"0", "1", "2", "3"}));
  EXPECT_TRUE(run_until([&] { return drained == 1; }));
  EXPECT_EQ(socket.stats().refused, 1u);
  EXPECT_EQ(socket.stats().dropped, 0u);
  EXPECT_TRUE(socket.send_to(peer.address(), "more"));
  EXPECT_EQ(peer_receives(peer, 1), Texts{"more"});
  EXPECT_EQ(drained, 1);
}

TEST_F(UdpQueueTest, DropNewestCountsWhatItGivesUp) {
  UdpSocket socket(loop(), keep(),
                   {.queue_datagrams = 2, .overflow = DatagramOverflow::drop_newest});
  socket.bind(any_port);
  fill(socket, 2);
  const DatagramResult result = socket.send_to(peer.address(), "new");
  EXPECT_EQ(result, DatagramResult::dropped);
  EXPECT_EQ(result.error(), std::errc::no_buffer_space);
  EXPECT_EQ(peer_receives(peer, 2), (Texts{"0", "1"}));
  EXPECT_EQ(socket.stats().dropped, 1u);
  EXPECT_TRUE(run_until([&] { return drained == 1; }));
}

TEST_F(UdpQueueTest, DropOldestKeepsTheNewest) {
  UdpSocket socket(loop(), keep(),
                   {.queue_datagrams = 3, .overflow = DatagramOverflow::drop_oldest});
  socket.bind(any_port);
  fill(socket, 3);
  for (const char* text : {"a", "b"}) EXPECT_TRUE(socket.send_to(peer.address(), text));
  EXPECT_EQ(peer_receives(peer, 3), (Texts{"2", "a", "b"}));
  EXPECT_EQ(socket.stats().dropped, 2u);
  EXPECT_EQ(socket.stats().sent, 3u);
  EXPECT_TRUE(run_until([&] { return drained == 1; }));
}

TEST_F(UdpQueueTest, BytesAreBoundedToo) {
  UdpSocket socket(loop(), keep(), {.queue_bytes = 1000});
  socket.bind(any_port);
  block();
  EXPECT_TRUE(socket.send_to(peer.address(), std::string(600, 'a')));
  socket.flush();
  EXPECT_TRUE(socket.send_to(peer.address(), std::string(400, 'b')));
  EXPECT_EQ(socket.send_to(peer.address(), "c"), DatagramResult::refused);
  EXPECT_EQ(socket.send_to(peer.address(), std::string(1001, 'd')), DatagramResult::too_large);
  EXPECT_EQ(peer_receives(peer, 2).size(), 2u);
}

TEST_F(UdpQueueTest, SendingMoreInOnDrainedGoesOn) {
  int left = 50;
  const auto pump = [&](UdpSocket& s) {
    while (left > 0 && s.send_to(peer.address(), std::to_string(left))) --left;
    if (left > 0) block();
  };
  UdpSocket socket(loop(), {.on_drained = pump}, {.queue_datagrams = 4});
  socket.bind(any_port);
  block();
  pump(socket);
  EXPECT_EQ(peer_receives(peer, 50).size(), 50u);
  EXPECT_EQ(left, 0);
}

TEST_F(UdpQueueTest, ARefusalInOnDrainedIsFollowedByAnotherThoughFlushEmptiesTheQueueAtOnce) {
  UdpSocket socket(loop(),
                   {.on_drained =
                        [&](UdpSocket& s) {
                          if (++drained == 3) return;
                          while (s.send_to(peer.address(), "x")) {
                          }
                          s.flush();
                        }},
                   {.queue_datagrams = 4});
  socket.bind(any_port);
  fill(socket, 4);
  EXPECT_EQ(socket.send_to(peer.address(), "x"), DatagramResult::refused);
  ASSERT_TRUE(run_until([&] { return drained == 3; }));
  EXPECT_EQ(peer.receive().size(), 12u);
}

TEST_F(UdpQueueTest, WhatFlushInACallbackCouldNotSendIsReportedWithoutWaitingForAnything) {
  UdpCallbacks callbacks = keep();
  callbacks.on_drained = [&](UdpSocket& s) {
    if (++drained == 1) {  // the next comes when nothing else is to be done any more
      while (s.send_to(peer.address(), "x")) {
      }
      return;
    }
    EXPECT_TRUE(s.send_to(SocketAddress::parse("255.255.255.255:9"), "x"));  // EACCES
    s.flush();
    EXPECT_TRUE(errors.empty());
  };
  UdpSocket socket(loop(), std::move(callbacks), {.queue_datagrams = 4});
  socket.bind(any_port);
  fill(socket, 4);
  EXPECT_EQ(socket.send_to(peer.address(), "x"), DatagramResult::refused);
  ASSERT_TRUE(run_until([&] { return errors.size() == 1; }));
  EXPECT_EQ(drained, 2);
}

TEST_F(UdpQueueTest, ACallbackThatSendsUntilItIsToldToStopIsToldSo) {
  std::uint64_t sent = 0;
  UdpSocket socket(loop(), {.on_datagram = [&](UdpSocket& s, const Datagram& d) {
                     while (s.reply(d, "x") && sent < 1'000'000) ++sent;
                   }});
  socket.bind(any_port);
  peer.send_to(socket.address(), "endless");
  ASSERT_TRUE(run_until([&] { return sent > 0; }));
  EXPECT_LT(sent, 20'000u);
  EXPECT_EQ(socket.stats().refused, 1u);
}

TEST_F(UdpQueueTest, OnlyAPartThatTheKernelTookIsGone) {
  UdpSocket socket(loop(), {}, {.segmentation_offload = false});
  socket.bind(any_port);
  faults.on(Call::sendmmsg, Fault::shorten(3), {.times = 1});
  faults.on(Call::sendmmsg, Fault::fail(EAGAIN), {.times = 1});
  for (int i = 0; i < 5; ++i) socket.send_to(peer.address(), std::to_string(i));
  socket.flush();
  EXPECT_EQ(peer.receive(), (Texts{"0", "1", "2"}));
  EXPECT_EQ(socket.queued_datagrams(), 2u);
  EXPECT_EQ(peer_receives(peer, 2), (Texts{"3", "4"}));
}

TEST_F(UdpQueueTest, WhatWaitsWhenTheSocketIsClosedIsTriedOnceMoreAndThenCounted) {
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  fill(socket, 3);
  faults.on(Call::sendmmsg, Fault::fail(EAGAIN), {.times = 1});
  socket.close();
  EXPECT_EQ(socket.stats().dropped, 3u);
  EXPECT_EQ(socket.queued_datagrams(), 0u);
  socket.bind(any_port);
  fill(socket, 2);
  socket.close();
  EXPECT_EQ(peer.receive(), (Texts{"0", "1"}));
}

TEST_F(UdpQueueTest, HoweverMuchWaitsFlushAndCloseTryAllOfIt) {
  constexpr std::size_t kMany = 10'000;
  for (const bool closes : {false, true}) {
    UdpSocket socket(loop(), {}, {.segmentation_offload = false, .queue_datagrams = kMany});
    socket.bind(any_port);
    block();
    for (std::size_t i = 0; i < kMany; ++i) ASSERT_TRUE(socket.send_to(peer.address(), "x"));
    EXPECT_GT(socket.queued_datagrams(), kMany / 2);
    if (closes) {
      socket.close();
    } else {
      socket.flush();
    }
    EXPECT_EQ(socket.queued_datagrams(), 0u);
    EXPECT_EQ(socket.stats().sent, kMany);
    EXPECT_EQ(socket.stats().dropped, 0u);
  }
}

TEST_F(UdpQueueTest, DisconnectingGivesUpWhatStillWaitsForThePeer) {
  UdpSocket socket(loop(), keep());
  socket.connect(peer.address());
  faults.on(Call::sendmmsg, Fault::fail(EAGAIN), {.times = 2});
  socket.send("gone");
  socket.flush();
  EXPECT_FALSE(socket.disconnect());
  EXPECT_EQ(socket.stats().dropped, 1u);
  EXPECT_TRUE(socket.send_to(peer.address(), "anew"));
  EXPECT_EQ(peer_receives(peer, 1), Texts{"anew"});
}

TEST_F(UdpQueueTest, AnInterruptedSendIsRepeated) {
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  faults.on(Call::sendmmsg, Fault::fail(EINTR), {.times = 3});
  socket.send_to(peer.address(), "x");
  socket.flush();
  EXPECT_EQ(peer.receive(), Texts{"x"});
}

}  // namespace
}  // namespace millrace::test
