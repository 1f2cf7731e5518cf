// What goes wrong with single datagrams, and that the socket goes on.
#include <millrace/udp_socket.h>

#include "support/datagram_test.h"

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

using Texts = std::vector<std::string>;

struct UdpErrorsTest : DatagramTest {
  bool fails(std::size_t n) {
    return run_until([&] { return errors.size() >= n; });
  }
};

TEST_F(UdpErrorsTest, OfAnUnconnectedSocketTheErrorNamesTheDestination) {
  RawDatagrams peer;
  const SocketAddress nobody = closed_udp_port();
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  EXPECT_TRUE(socket.send_to(nobody, "hello?"));
  ASSERT_TRUE(fails(1));
  EXPECT_EQ(errors[0].code, std::errc::connection_refused);
  EXPECT_EQ(errors[0].destination, nobody);
  EXPECT_EQ(errors[0].reporter.host(), "127.0.0.1");
  EXPECT_EQ(socket.stats().errors, 1u);
  EXPECT_TRUE(socket.send_to(peer.address(), "hello"));
  EXPECT_EQ(peer_receives(peer, 1), Texts{"hello"});
  EXPECT_LT(run_for(20ms), 10u) << "it spins";
}

TEST_F(UdpErrorsTest, OverIpv6Too) {
  const SocketAddress nobody = RawDatagrams(SocketAddress::loopback_v6(0)).address();
  UdpSocket socket(loop(), keep());
  socket.bind("[::1]:0");
  EXPECT_TRUE(socket.send_to(nobody, "hello?"));
  ASSERT_TRUE(fails(1));
  EXPECT_EQ(errors[0].code, std::errc::connection_refused);
  EXPECT_EQ(errors[0].destination, nobody);
}

// An error of one destination must not take another one's datagram with it: the kernel fails the
// next send, whomever it is for.
TEST_F(UdpErrorsTest, AnErrorOfOneDestinationLosesNoDatagramOfAnother) {
  RawDatagrams peer;
  const SocketAddress nobody = closed_udp_port();
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  Texts sent;
  for (int i = 0; i < 100; ++i) {
    sent.push_back(std::to_string(i));
    EXPECT_TRUE(socket.send_to(nobody, "lost"));
    EXPECT_TRUE(socket.send_to(peer.address(), sent.back()));
  }
  EXPECT_EQ(peer_receives(peer, 100), sent);
  EXPECT_EQ(socket.stats().sent, 200u);
  EXPECT_EQ(socket.stats().send_failures, 0u);
  ASSERT_TRUE(fails(1));
  for (const DatagramError& error : errors) EXPECT_EQ(error.destination, nobody);
}

// libuv's test-udp-sendmmsg-error.
TEST_F(UdpErrorsTest, SixSendsToAClosedPortLeaveTheConnectedSocketUsable) {
  auto peer = std::make_unique<RawDatagrams>();
  const SocketAddress address = peer->address();
  UdpSocket socket(loop(), keep());
  socket.connect(address);
  peer.reset();
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(socket.send("anybody?"));
  ASSERT_TRUE(fails(1));
  run_for(5ms);
  for (const DatagramError& error : errors) {
    EXPECT_EQ(error.code, std::errc::connection_refused);
    EXPECT_EQ(error.destination, address);
  }
  EXPECT_EQ(socket.queued_datagrams(), 0u);
  EXPECT_EQ(socket.stats().sent, 6u);
  RawDatagrams again(address);
  EXPECT_TRUE(socket.send("now"));
  EXPECT_EQ(peer_receives(again, 1), Texts{"now"});
  again.send_to(socket.address(), "yes");
  EXPECT_TRUE(receives(1));
}

// libuv's test-udp-recv-cb-close-pollerr.
TEST_F(UdpErrorsTest, DestroyedInItsErrorCallbackItIsNotCalledAgain) {
  int calls = 0;
  std::unique_ptr<UdpSocket> socket;
  socket = std::make_unique<UdpSocket>(
      loop(), UdpCallbacks{.on_datagram = [](UdpSocket&, const Datagram&) { FAIL(); },
                           .on_error =
                               [&](UdpSocket&, const DatagramError&) {
                                 ++calls;
                                 socket.reset();
                               }});
  socket->connect(closed_udp_port());
  for (int i = 0; i < 3; ++i) {
    socket->send("x");
    socket->flush();
  }
  ASSERT_TRUE(run_until([&] { return calls > 0; }));
  run_for(5ms);
  EXPECT_EQ(calls, 1);
}

TEST_F(UdpErrorsTest, WhatIsNotInTheQueueOfErrorsIsAskedOfTheSocket) {
  UdpSocket socket(loop(), keep());
  socket.connect(closed_udp_port());
  socket.pause_reading();
  Faults faults;
  faults.on(Call::recvmsg, Fault::fail(EAGAIN));
  socket.send("x");
  ASSERT_TRUE(fails(2)) << "the second is that of the queue";
  for (const DatagramError& error : errors) {
    EXPECT_EQ(error.code, std::errc::connection_refused);
    EXPECT_EQ(error.destination, socket.peer());
  }
}

TEST_F(UdpErrorsTest, WithoutOnErrorTheyAreCountedAndNothingSpins) {
  UdpSocket socket(loop(), {});
  socket.connect(closed_udp_port());
  socket.send("x");
  ASSERT_TRUE(run_until([&] { return socket.stats().errors == 1; }));
  EXPECT_LT(run_for(20ms), 10u);
}

TEST_F(UdpErrorsTest, AreReportedWhileReadingIsPaused) {
  UdpSocket socket(loop(), keep());
  socket.connect(closed_udp_port());
  socket.pause_reading();
  socket.send("x");
  ASSERT_TRUE(fails(1));
  EXPECT_LT(run_for(20ms), 10u);
}

TEST_F(UdpErrorsTest, ATurnReportsABoundedNumber) {
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  const SocketAddress nobody = closed_udp_port();
  for (int i = 0; i < 60; ++i) {
    socket.send_to(nobody, "x");
    socket.flush();
  }
  turn();
  EXPECT_LE(errors.size(), 32u);
  EXPECT_GT(errors.size(), 0u);
}

TEST_F(UdpErrorsTest, WhatTheKernelWillNotSendIsReportedAndTheNextOneLeaves) {
  RawDatagrams peer;
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  const SocketAddress no_port = SocketAddress::loopback(0);
  socket.send_to(no_port, "to port 0");
  socket.send_to(peer.address(), "fine");
  EXPECT_EQ(peer_receives(peer, 1), Texts{"fine"});
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].code, std::errc::invalid_argument);
  EXPECT_EQ(errors[0].destination, no_port);
  EXPECT_EQ(errors[0].reporter, SocketAddress());
  EXPECT_EQ(socket.stats().send_failures, 1u);
}

TEST_F(UdpErrorsTest, AFailureIsNotReportedFromInsideFlush) {
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  socket.send_to(SocketAddress::loopback(0), "x");
  socket.flush();
  EXPECT_TRUE(errors.empty());
  turn();
  EXPECT_EQ(errors.size(), 1u);
}

TEST_F(UdpErrorsTest, BroadcastIsRefusedUnlessItWasAskedFor) {
  UdpSocket careful(loop(), keep());
  careful.bind("0.0.0.0:0");
  careful.send_to(SocketAddress::parse("127.255.255.255:9"), "to all");
  ASSERT_TRUE(fails(1));
  EXPECT_EQ(errors[0].code, std::errc::permission_denied);
}

TEST_F(UdpErrorsTest, BroadcastReachesWhoListens) {
  RawDatagrams peer(SocketAddress::any(0));
  UdpSocket socket(loop(), keep(), {.broadcast = true});
  socket.bind("0.0.0.0:0");
  socket.send_to(SocketAddress::parse("127.255.255.255:" + std::to_string(peer.address().port())),
                 "to all");
  EXPECT_EQ(peer_receives(peer, 1), Texts{"to all"});
}

// libuv's test-udp-send-hang-loop.
TEST_F(UdpErrorsTest, AThousandSendsToNowhereDoNotKeepTheLoop) {
  UdpSocket socket(loop(), keep());
  socket.bind("0.0.0.0:0");
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(socket.send_to(SocketAddress::parse("192.0.2.1:9"), "x"));
  }
  ASSERT_TRUE(run_until([&] { return socket.queued_datagrams() == 0; }));
  EXPECT_EQ(socket.stats().sent + socket.stats().send_failures, 1000u);
}

TEST_F(UdpErrorsTest, WithoutMemoryToReceiveItIsReportedAndTriedAgainLater) {
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  const RawDatagrams peer;
  peer.send_to(socket.address(), "patience");
  Faults faults;
  faults.on(Call::recvmmsg, Fault::fail(ENOBUFS), {.times = 2});
  EXPECT_TRUE(receives(1));
  EXPECT_EQ(errors.size(), 2u);
  EXPECT_EQ(errors.at(0).code, std::errc::no_buffer_space);
  EXPECT_EQ(faults.count(Call::recvmmsg), 3u);
}

TEST_F(UdpErrorsTest, AnInterruptedReceiveIsRepeated) {
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  const RawDatagrams peer;
  peer.send_to(socket.address(), "again");
  Faults faults;
  faults.on(Call::recvmmsg, Fault::fail(EINTR), {.times = 3});
  EXPECT_TRUE(receives(1));
  EXPECT_TRUE(errors.empty());
}

}  // namespace
}  // namespace millrace::test
