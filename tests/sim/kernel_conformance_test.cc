// What TCP sockets do, told once and held against two kernels: the real one and the simulated one.
// What the simulation is trusted with elsewhere is what passes here, and in the other
// *_conformance_test.cc, on both.
#include "kernel_conformance_test.h"

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace millrace::test {
namespace {

TEST_P(KernelConformanceTest, AnUnconnectedSocketHangsUp) {
  EXPECT_EQ(events(tcp()), EPOLLOUT | EPOLLHUP);
}

TEST_P(KernelConformanceTest, AListenerIsReadableWhileConnectionsWait) {
  const UniqueFd at = listener();
  EXPECT_EQ(events(at), 0u);
  const UniqueFd client = connecting(port_of(at));
  EXPECT_TRUE(has(at, EPOLLIN));
  const UniqueFd server = accept(at);
  EXPECT_EQ(events(at), 0u);
  EXPECT_EQ(said(::accept4(at.get(), nullptr, nullptr, 0)).error, EAGAIN);
}

TEST_P(KernelConformanceTest, AConnectionIsCompleteBeforeItIsAccepted) {
  const UniqueFd at = listener();
  const UniqueFd client = connecting(port_of(at));
  EXPECT_EQ(settled(client, EPOLLOUT), EPOLLOUT);
  EXPECT_EQ(pending_error(client), 0);
  EXPECT_SAYS(send(client, "early"), 5, 0);
  const UniqueFd server = accept(at);
  EXPECT_TRUE(has(server, EPOLLIN));
  EXPECT_EQ(receive(server), "early");
}

TEST_P(KernelConformanceTest, AClosedPortRefuses) {
  std::uint16_t port = 0;
  {
    const UniqueFd bound = tcp();
    ASSERT_EQ(bind_to(bound, 0), 0);
    port = port_of(bound);
  }
  const UniqueFd client = tcp();
  EXPECT_EQ(connect_to(client, port), -1);
  EXPECT_TRUE(errno == EINPROGRESS);
  constexpr std::uint32_t kEnded = EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLRDHUP;
  EXPECT_EQ(settled(client, kEnded | EPOLLERR), kEnded | EPOLLERR);
  EXPECT_EQ(pending_error(client), ECONNREFUSED);
  EXPECT_EQ(pending_error(client), 0);
  EXPECT_EQ(events(client), kEnded);
}

TEST_P(KernelConformanceTest, ConnectingAgainIsToldThatItIsDoneOnce) {
  const Pair pair = tcp_pair();
  EXPECT_EQ(connect_to(pair.client, 1), 0);
  EXPECT_EQ(said(connect_to(pair.client, 1)).error, EISCONN);
}

TEST_P(KernelConformanceTest, BytesArriveAndAreTaken) {
  const Pair pair = tcp_pair();
  EXPECT_EQ(settled(pair.client, EPOLLOUT), EPOLLOUT);
  EXPECT_EQ(receive(pair.server), "error EAGAIN");
  EXPECT_SAYS(send(pair.client, "hello"), 5, 0);
  EXPECT_EQ(settled(pair.server, EPOLLIN | EPOLLOUT), EPOLLIN | EPOLLOUT);
  EXPECT_EQ(receive(pair.server, 2), "he");
  EXPECT_EQ(events(pair.server), EPOLLIN | EPOLLOUT);
  EXPECT_EQ(receive(pair.server), "llo");
  EXPECT_EQ(events(pair.server), EPOLLOUT);
}

TEST_P(KernelConformanceTest, APeekTakesNothing) {
  const Pair pair = tcp_pair();
  send(pair.client, "x");
  ASSERT_TRUE(has(pair.server, EPOLLIN));
  char one = 0;
  EXPECT_EQ(::recv(pair.server.get(), &one, 1, MSG_PEEK), 1);
  EXPECT_EQ(one, 'x');
  EXPECT_EQ(receive(pair.server), "x");
}

TEST_P(KernelConformanceTest, AfterFinComesTheEndAndTheOtherDirectionLives) {
  const Pair pair = tcp_pair();
  send(pair.client, "last");
  ASSERT_EQ(::shutdown(pair.client.get(), SHUT_WR), 0);
  constexpr std::uint32_t kHalf = EPOLLIN | EPOLLOUT | EPOLLRDHUP;
  EXPECT_EQ(settled(pair.server, kHalf), kHalf);
  EXPECT_EQ(receive(pair.server), "last");
  EXPECT_EQ(receive(pair.server), "");
  EXPECT_EQ(receive(pair.server), "");
  EXPECT_EQ(events(pair.server), kHalf);
  EXPECT_SAYS(send(pair.server, "answer"), 6, 0);
  EXPECT_TRUE(has(pair.client, EPOLLIN));
  EXPECT_EQ(receive(pair.client), "answer");
  EXPECT_SAYS(send(pair.client, "more"), -1, EPIPE);
}

TEST_P(KernelConformanceTest, WhenBothHaveEndedItHangsUp) {
  const Pair pair = tcp_pair();
  ASSERT_EQ(::shutdown(pair.client.get(), SHUT_WR), 0);
  ASSERT_EQ(::shutdown(pair.server.get(), SHUT_WR), 0);
  constexpr std::uint32_t kOver = EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLRDHUP;
  EXPECT_EQ(settled(pair.client, kOver), kOver);
  EXPECT_EQ(settled(pair.server, kOver), kOver);
  EXPECT_EQ(receive(pair.client), "");
}

TEST_P(KernelConformanceTest, AHangUpComesTogetherWithUnreadData) {
  Pair pair = tcp_pair();
  ASSERT_EQ(::shutdown(pair.client.get(), SHUT_WR), 0);
  ASSERT_TRUE(has(pair.server, EPOLLRDHUP));
  send(pair.server, "answer");
  pair.server.reset();
  EXPECT_TRUE(has(pair.client, EPOLLIN | EPOLLHUP));
  EXPECT_EQ(receive(pair.client), "answer");
  EXPECT_EQ(receive(pair.client), "");
}

TEST_P(KernelConformanceTest, ClosingWithUnreadBytesResets) {
  Pair pair = tcp_pair();
  send(pair.client, "unread");
  ASSERT_TRUE(has(pair.server, EPOLLIN));
  pair.server.reset();
  constexpr std::uint32_t kReset = kAll | EPOLLERR | EPOLLHUP;
  EXPECT_EQ(settled(pair.client, kReset), kReset);
  EXPECT_EQ(receive(pair.client), "error ECONNRESET");
  EXPECT_EQ(receive(pair.client), "");
  EXPECT_SAYS(send(pair.client, "x"), -1, EPIPE);
  EXPECT_EQ(events(pair.client), kAll | EPOLLHUP);
}

TEST_P(KernelConformanceTest, ASendTakesTheErrorOfAReset) {
  Pair pair = tcp_pair();
  reset_on_close(pair.server);
  pair.server.reset();
  ASSERT_TRUE(has(pair.client, EPOLLERR));
  EXPECT_SAYS(send(pair.client, "x"), -1, ECONNRESET);
  EXPECT_SAYS(send(pair.client, "x"), -1, EPIPE);
  EXPECT_EQ(receive(pair.client), "");
}

TEST_P(KernelConformanceTest, DataBeforeAResetCanStillBeRead) {
  Pair pair = tcp_pair();
  send(pair.server, "data");
  ASSERT_TRUE(has(pair.client, EPOLLIN));
  reset_on_close(pair.server);
  pair.server.reset();
  ASSERT_TRUE(has(pair.client, EPOLLERR));
  EXPECT_EQ(receive(pair.client), "data");
  EXPECT_EQ(receive(pair.client), "error ECONNRESET");
  EXPECT_EQ(receive(pair.client), "");
}

TEST_P(KernelConformanceTest, AskingForTheErrorEatsIt) {
  Pair pair = tcp_pair();
  send(pair.server, "data");
  ASSERT_TRUE(has(pair.client, EPOLLIN));
  reset_on_close(pair.server);
  pair.server.reset();
  ASSERT_TRUE(has(pair.client, EPOLLERR));
  EXPECT_EQ(pending_error(pair.client), ECONNRESET);
  EXPECT_EQ(receive(pair.client), "data");
  EXPECT_EQ(receive(pair.client), "");
}

TEST_P(KernelConformanceTest, AResetAfterFinIsABrokenPipeAndTheInputStillEnds) {
  Pair pair = tcp_pair();
  pair.server.reset();
  ASSERT_TRUE(has(pair.client, EPOLLRDHUP));
  EXPECT_SAYS(send(pair.client, "first"), 5, 0);
  ASSERT_TRUE(has(pair.client, EPOLLERR | EPOLLHUP));
  EXPECT_EQ(receive(pair.client), "");
  EXPECT_SAYS(send(pair.client, "second"), -1, EPIPE);
}

TEST_P(KernelConformanceTest, AResetIsReportedThoughNothingIsAskedFor) {
  Pair pair = tcp_pair();
  reset_on_close(pair.server);
  pair.server.reset();
  ASSERT_TRUE(has(pair.client, EPOLLERR));
  EXPECT_EQ(events(pair.client, 0), EPOLLERR | EPOLLHUP);
  EXPECT_EQ(events(pair.client, 0), EPOLLERR | EPOLLHUP);
}

TEST_P(KernelConformanceTest, AFullBufferIsWritableAgainWhenThePeerHasRead) {
  const Pair pair = tcp_pair(4096);
  const std::size_t taken = fill(pair.client);
  EXPECT_GT(taken, 1000u);
  EXPECT_EQ(events(pair.client) & EPOLLOUT, 0u);
  EXPECT_GT(queued(pair.client, SIOCOUTQ), 0);
  std::size_t got = 0;
  for (int i = 0; i < 10'000 && got < taken; ++i) {
    if (!has(pair.server, EPOLLIN)) break;
    got += receive(pair.server, 4096).size();
  }
  EXPECT_EQ(got, taken);
  EXPECT_TRUE(has(pair.client, EPOLLOUT));
  EXPECT_SAYS(send(pair.client, "more"), 4, 0);
}

TEST_P(KernelConformanceTest, TheEndComesAfterWhatWasQueuedBeforeIt) {
  Pair pair = tcp_pair(4096);
  const std::size_t taken = fill(pair.client);
  pair.client.reset();
  std::size_t got = 0;
  for (int i = 0; i < 10'000; ++i) {
    if (!has(pair.server, EPOLLIN)) break;
    const std::string part = receive(pair.server, 4096);
    if (part.empty()) break;
    got += part.size();
  }
  EXPECT_EQ(got, taken);
}

TEST_P(KernelConformanceTest, QueuesCanBeMeasured) {
  const Pair pair = tcp_pair();
  send(pair.client, "12345");
  ASSERT_TRUE(has(pair.server, EPOLLIN));
  EXPECT_EQ(queued(pair.server, SIOCINQ), 5);
  EXPECT_TRUE(until([&] { return queued(pair.client, SIOCOUTQ) == 0; }, pair.client, EPOLLIN));
  EXPECT_EQ(queued(pair.server, SIOCOUTQ), 0);
}

TEST_P(KernelConformanceTest, WhatAResetLeftUnacknowledgedCanStillBeMeasured) {
  Pair pair = tcp_pair();
  reset_on_close(pair.server);
  fill(pair.client);
  pair.server.reset();
  ASSERT_TRUE(has(pair.client, EPOLLERR));
  EXPECT_GT(queued(pair.client, SIOCOUTQ), 0);
}

TEST_P(KernelConformanceTest, ClosingAListenerResetsWhatWaits) {
  UniqueFd at = listener();
  const UniqueFd client = connecting(port_of(at));
  ASSERT_TRUE(has(client, EPOLLOUT));
  at.reset();
  ASSERT_TRUE(has(client, EPOLLERR));
  EXPECT_EQ(receive(client), "error ECONNRESET");
}

TEST_P(KernelConformanceTest, WhatWasResetBeforeItIsAcceptedIsAcceptedAllTheSame) {
  const UniqueFd at = listener();
  {
    const UniqueFd client = connecting(port_of(at));
    ASSERT_TRUE(has(client, EPOLLOUT));
    send(client, "hi");
    reset_on_close(client);
  }
  const UniqueFd server = accept(at);
  sockaddr_in peer{};
  socklen_t size = sizeof peer;
  EXPECT_EQ(said(::getpeername(server.get(), reinterpret_cast<sockaddr*>(&peer), &size)).error,
            ENOTCONN);
  EXPECT_EQ(receive(server), "hi");
  EXPECT_EQ(receive(server), "error ECONNRESET");
}

TEST_P(KernelConformanceTest, ShutdownWantsAConnection) {
  EXPECT_EQ(said(::shutdown(tcp().get(), SHUT_WR)).error, ENOTCONN);
  Pair pair = tcp_pair();
  EXPECT_EQ(::shutdown(pair.client.get(), SHUT_WR), 0);
  EXPECT_EQ(::shutdown(pair.client.get(), SHUT_WR), 0);
  reset_on_close(pair.client);
  pair.client.reset();
  ASSERT_TRUE(has(pair.server, EPOLLERR));
  EXPECT_EQ(said(::shutdown(pair.server.get(), SHUT_WR)).error, ENOTCONN);
}

TEST_P(KernelConformanceTest, APortIsTakenOnce) {
  const UniqueFd at = listener();
  EXPECT_EQ(said(bind_to(tcp(), port_of(at))).error, EADDRINUSE);
}

TEST_P(KernelConformanceTest, AcceptedSocketsInherit) {
  const UniqueFd at = listener(16, 8192);
  const int on = 1;
  ASSERT_EQ(::setsockopt(at.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
  const UniqueFd client = connecting(port_of(at));
  const UniqueFd server = accept(at);
  const auto ask = [&](int level, int name) {
    int value = 0;
    socklen_t size = sizeof value;
    EXPECT_EQ(::getsockopt(server.get(), level, name, &value, &size), 0);
    return value;
  };
  EXPECT_EQ(ask(IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(ask(SOL_SOCKET, SO_SNDBUF), 16384);
}

TEST_P(KernelConformanceTest, DisconnectingResets) {
  const Pair pair = tcp_pair();
  const sockaddr nowhere{AF_UNSPEC, {}};
  ASSERT_EQ(::connect(pair.client.get(), &nowhere, sizeof nowhere), 0);
  ASSERT_TRUE(has(pair.server, EPOLLERR | EPOLLHUP));
  EXPECT_EQ(receive(pair.server), "error ECONNRESET");
}

TEST_P(KernelConformanceTest, ManyPartsLeaveInOneMessageButNotTooMany) {
  const Pair pair = tcp_pair();
  char letter = 'p';
  std::vector<iovec> parts(1025, iovec{&letter, 1});
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  EXPECT_EQ(said(::sendmsg(pair.client.get(), &message, MSG_NOSIGNAL)).error, EMSGSIZE);
  message.msg_iovlen = 1024;
  EXPECT_EQ(::sendmsg(pair.client.get(), &message, MSG_NOSIGNAL), 1024);
}

INSTANTIATE_TEST_SUITE_P(Kernels, KernelConformanceTest, ::testing::Bool(), kernel_name);

}  // namespace
}  // namespace millrace::test
