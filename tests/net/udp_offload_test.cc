// UDP_SEGMENT and UDP_GRO: invisible but for the number of calls.
#include <millrace/udp_socket.h>

#include "support/datagram_test.h"

#include <cerrno>
#include <random>
#include <string>
#include <vector>

#include <netinet/udp.h>

namespace millrace::test {
namespace {

using Texts = std::vector<std::string>;

struct UdpOffloadTest : DatagramTest {
  void SetUp() override {
    DatagramTest::SetUp();
    const RawDatagrams probe;
    int size = 0;
    socklen_t n = sizeof size;
    if (::getsockopt(probe.fd(), SOL_UDP, UDP_SEGMENT, &size, &n) != 0) {
      GTEST_SKIP() << "this kernel has no UDP_SEGMENT";
    }
  }
  // n different ones.
  static Texts texts_of(std::size_t n, std::size_t bytes) {
    Texts all;
    for (std::size_t i = 0; i < n; ++i) {
      std::string text = std::to_string(i) + std::string(bytes, static_cast<char>('a' + i % 26));
      text.resize(bytes);
      all.push_back(text);
    }
    return all;
  }
  static void send_all(UdpSocket& socket, const SocketAddress& to, const Texts& texts) {
    for (const std::string& text : texts) EXPECT_TRUE(socket.send_to(to, text));
  }
};

TEST_F(UdpOffloadTest, SuccessiveDatagramsOfOneSizeAndDestinationPassTheKernelAsOne) {
  RawDatagrams peer;
  UdpSocket socket(loop(), {});
  socket.bind(any_port);
  const Texts sent = texts_of(200, 100);
  const Faults faults;
  send_all(socket, peer.address(), sent);
  socket.flush();
  EXPECT_EQ(peer_receives(peer, 200), sent);
  EXPECT_EQ(faults.count(Call::sendmmsg), 1u) << "4 messages";
  EXPECT_EQ(socket.stats().sent, 200u);
  EXPECT_EQ(socket.stats().bytes_sent, 20'000u);
}

TEST_F(UdpOffloadTest, AnyMixtureOfSizesAndDestinationsArrivesAsItWasSent) {
  RawDatagrams peers[2] = {RawDatagrams(any_port, 4 << 20), RawDatagrams(any_port, 4 << 20)};
  UdpSocket socket(loop(), {});
  socket.bind(any_port);
  std::mt19937 random(7);
  Texts sent[2];
  Texts received[2];
  for (int i = 0; i < 3000; ++i) {
    const std::size_t to = random() % 8 == 0;
    const std::size_t size = random() % 4 == 0 ? random() % 300 : 100;
    std::string text = std::to_string(i) + " " + std::string(300, 'x');
    text.resize(size);
    EXPECT_TRUE(socket.send_to(peers[to].address(), text));
    sent[to].push_back(text);
    if (i % 50 != 0) continue;
    turn();
    for (const std::size_t p : {0u, 1u}) {
      for (std::string& each : peers[p].receive()) received[p].push_back(std::move(each));
    }
  }
  turn();
  for (const std::size_t p : {0u, 1u}) {
    for (std::string& each : peers[p].receive()) received[p].push_back(std::move(each));
    EXPECT_EQ(received[p], sent[p]);
  }
}

TEST_F(UdpOffloadTest, WithoutItEachIsAMessage) {
  RawDatagrams peer;
  UdpSocket socket(loop(), {}, {.segmentation_offload = false});
  socket.bind(any_port);
  const Texts sent = texts_of(64, 100);
  const Faults faults;
  send_all(socket, peer.address(), sent);
  socket.flush();
  EXPECT_EQ(peer_receives(peer, 64), sent);
  EXPECT_EQ(faults.count(Call::sendmmsg), 1u);
}

TEST_F(UdpOffloadTest, AKernelThatDoesNotHaveItIsAskedOnceAndDoesWithout) {
  Faults faults;
  faults.on(Call::getsockopt, Fault::fail(ENOPROTOOPT), {.times = 1});
  RawDatagrams peer;
  UdpSocket socket(loop(), {});
  socket.bind(any_port);
  UdpSocket second(loop(), {});
  second.bind(any_port);
  EXPECT_EQ(faults.count(Call::getsockopt), 1u);
  const Texts sent = texts_of(10, 100);
  faults.on(Call::sendmmsg, Fault::shorten(5), {.times = 1});  // of 10 messages
  send_all(socket, peer.address(), sent);
  socket.flush();
  EXPECT_EQ(peer_receives(peer, 10), sent);
  EXPECT_EQ(faults.count(Call::sendmmsg), 2u);
}

// A segment must fit the path's MTU, which a fragmented datagram need not.
TEST_F(UdpOffloadTest, WhatTheKernelDoesNotCutGoesOneByOneAndIsNotTriedAgain) {
  RawDatagrams peer;
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  Faults faults;
  faults.on(Call::sendmmsg, Fault::fail(EINVAL), {.times = 1});
  const Texts sent = texts_of(10, 100);
  send_all(socket, peer.address(), sent);
  socket.flush();
  EXPECT_EQ(peer_receives(peer, 10), sent);
  EXPECT_EQ(faults.count(Call::sendmmsg), 2u);
  // Now 100 is too large, and 99 is not: the fault tells how many messages there were.
  faults.on(Call::sendmmsg, Fault::shorten(5), {.times = 1});
  send_all(socket, peer.address(), sent);
  socket.flush();
  EXPECT_EQ(faults.count(Call::sendmmsg), 4u);
  faults.on(Call::sendmmsg, Fault::shorten(5), {.times = 1});
  const Texts shorter = texts_of(10, 99);
  send_all(socket, peer.address(), shorter);
  socket.flush();
  EXPECT_EQ(faults.count(Call::sendmmsg), 5u);
  EXPECT_EQ(peer_receives(peer, 20).size(), 20u);
  EXPECT_TRUE(errors.empty());
}

TEST_F(UdpOffloadTest, ALackOfMemoryDoesNotTurnItOff) {
  RawDatagrams peer;
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  Faults faults;
  const Texts sent = texts_of(10, 100);
  for (const int error : {ENOBUFS, ENOMEM}) {
    faults.on(Call::sendmmsg, Fault::fail(error), {.times = 1});
    send_all(socket, peer.address(), sent);
    socket.flush();
    EXPECT_EQ(peer_receives(peer, 10), sent);
    // One message: there is nothing to shorten.
    const auto before = faults.count(Call::sendmmsg);
    faults.on(Call::sendmmsg, Fault::shorten(5), {.times = 1});
    send_all(socket, peer.address(), sent);
    socket.flush();
    EXPECT_EQ(faults.count(Call::sendmmsg), before + 1);
    EXPECT_EQ(peer_receives(peer, 10), sent);
  }
  EXPECT_TRUE(errors.empty());
}

TEST_F(UdpOffloadTest, ADestinationThatCannotBeReachedDoesNotTurnItOff) {
  RawDatagrams peer;
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  send_all(socket, SocketAddress::loopback(0), texts_of(10, 100));
  turn();
  EXPECT_EQ(socket.stats().send_failures, 10u);
  Faults faults;
  faults.on(Call::sendmmsg, Fault::shorten(5), {.times = 1});
  send_all(socket, peer.address(), texts_of(10, 100));
  socket.flush();
  EXPECT_EQ(faults.count(Call::sendmmsg), 1u);
}

TEST_F(UdpOffloadTest, ADeviceThatCannotIsNotAskedAgain) {
  RawDatagrams peer;
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  Faults faults;
  faults.on(Call::sendmmsg, Fault::fail(EIO), {.times = 1});
  send_all(socket, peer.address(), texts_of(10, 100));
  socket.flush();
  faults.on(Call::sendmmsg, Fault::shorten(5), {.times = 1});
  send_all(socket, peer.address(), texts_of(10, 10));
  socket.flush();
  EXPECT_EQ(faults.count(Call::sendmmsg), 4u);
  EXPECT_EQ(peer_receives(peer, 20).size(), 20u);
}

TEST_F(UdpOffloadTest, ReceivedTogetherTheyAreDeliveredOneByOne) {
  UdpSocket receiver(loop(), keep(), {.local_address = true, .receive_offload = true});
  receiver.bind(any_port);
  UdpSocket sender(loop(), {});
  sender.bind(any_port);
  Texts sent = texts_of(64, 100);
  sent.back().resize(40);
  const Faults faults;
  send_all(sender, receiver.address(), sent);
  ASSERT_TRUE(receives(64));
  EXPECT_EQ(texts(), sent);
  EXPECT_EQ(faults.count(Call::recvmmsg), 1u);
  EXPECT_EQ(faults.count(Call::sendmmsg), 1u);
  for (const Mail& mail : inbox) {
    EXPECT_EQ(mail.from, sender.address());
    EXPECT_EQ(mail.local, receiver.address());
    EXPECT_EQ(mail.size_bytes, mail.bytes.size());
  }
  EXPECT_EQ(receiver.stats().received, 64u);
}

TEST_F(UdpOffloadTest, PausedAmongThoseReceivedTogetherItLosesNothing) {
  UdpSocket receiver(loop(),
                     {.on_datagram =
                          [&](UdpSocket& s, const Datagram& d) {
                            keep_mail(d);
                            if (inbox.size() == 3) s.pause_reading();
                          }},
                     {.receive_offload = true});
  receiver.bind(any_port);
  UdpSocket sender(loop(), {});
  sender.bind(any_port);
  const Texts sent = texts_of(10, 100);
  send_all(sender, receiver.address(), sent);
  ASSERT_TRUE(receives(3));
  run_for(5ms);
  EXPECT_EQ(inbox.size(), 3u);
  receiver.resume_reading();
  ASSERT_TRUE(receives(10));
  EXPECT_EQ(texts(), sent);
}

TEST_F(UdpOffloadTest, EmptyAndSingleDatagramsPassWithReceiveOffloadToo) {
  UdpSocket receiver(loop(), keep(), {.receive_offload = true});
  receiver.bind(any_port);
  const RawDatagrams peer;
  const Texts sent = {"", "x", "", std::string(65'507, 'y')};
  for (const std::string& text : sent) peer.send_to(receiver.address(), text);
  ASSERT_TRUE(receives(4));
  EXPECT_EQ(texts(), sent);
}

}  // namespace
}  // namespace millrace::test
