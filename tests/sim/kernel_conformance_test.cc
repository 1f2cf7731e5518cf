// What sockets, epoll and their friends do, told once and held against two kernels: the real one
// and the simulated one. What the simulation is trusted with elsewhere is what passes here on both.
#include <millrace/unique_fd.h>

#include "support/sim/sim_kernel.h"

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

namespace millrace::test {
namespace {

constexpr std::uint32_t kAll = EPOLLIN | EPOLLOUT | EPOLLRDHUP;
constexpr int kPatienceMs = 2000;

// What a call said: its result, or the error.
struct Said {
  ssize_t result;
  int error;
};
Said said(ssize_t result) {
  return {result, result < 0 ? errno : 0};
}

struct Pair {
  UniqueFd client;
  UniqueFd server;
};

class KernelConformanceTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) kernel_.emplace(decisions_);
  }

  static UniqueFd tcp() {
    UniqueFd made(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    EXPECT_TRUE(made);
    return made;
  }
  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return to;
  }
  static int bind_to(const UniqueFd& fd, std::uint16_t port) {
    const sockaddr_in to = loopback(port);
    return ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
  static int connect_to(const UniqueFd& fd, std::uint16_t port) {
    const sockaddr_in to = loopback(port);
    return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
  static std::uint16_t port_of(const UniqueFd& fd) {
    sockaddr_in own{};
    socklen_t size = sizeof own;
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&own), &size), 0);
    return ntohs(own.sin_port);
  }
  static UniqueFd listener(int backlog = 16, int buffers = 0) {
    UniqueFd made = tcp();
    if (buffers > 0) set_buffers(made, buffers);
    EXPECT_EQ(bind_to(made, 0), 0);
    EXPECT_EQ(::listen(made.get(), backlog), 0);
    return made;
  }
  static void set_buffers(const UniqueFd& fd, int bytes) {
    EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
    EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
  }
  static UniqueFd accept(const UniqueFd& from) {
    EXPECT_TRUE(has(from, EPOLLIN));
    UniqueFd made(::accept4(from.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    EXPECT_TRUE(made);
    return made;
  }
  static UniqueFd connecting(std::uint16_t port, int buffers = 0) {
    UniqueFd made = tcp();
    if (buffers > 0) set_buffers(made, buffers);
    EXPECT_EQ(connect_to(made, port), -1);
    EXPECT_EQ(errno, EINPROGRESS);
    return made;
  }
  static Pair tcp_pair(int buffers = 0) {
    const UniqueFd at = listener(16, buffers);
    UniqueFd client = connecting(port_of(at), buffers);
    UniqueFd server = accept(at);
    EXPECT_TRUE(has(client, EPOLLOUT));
    return {std::move(client), std::move(server)};
  }

  // What epoll says of the descriptor now, of what was asked for and of what it says unasked.
  static std::uint32_t events(const UniqueFd& fd, std::uint32_t asked = kAll, int wait_ms = 0) {
    const UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    event.events = asked;
    EXPECT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd.get(), &event), 0);
    epoll_event found{};
    return ::epoll_wait(epoll.get(), &found, 1, wait_ms) == 1 ? found.events : 0;
  }
  // Waits until epoll says `wanted` (all of it); the network has time.
  static bool has(const UniqueFd& fd, std::uint32_t wanted) {
    return until([&] { return (events(fd) & wanted) == wanted; }, fd, wanted);
  }
  // Waits for exactly this. The result is what it was in the end, for messages.
  static std::uint32_t settled(const UniqueFd& fd, std::uint32_t wanted) {
    until([&] { return events(fd) == wanted; }, fd, wanted);
    return events(fd);
  }
  static bool until(const std::function<bool()>& done, const UniqueFd& fd, std::uint32_t wanted) {
    for (int i = 0; i < 2000; ++i) {
      if (done()) return true;
      events(fd, wanted & ~events(fd), 1);  // time passes
    }
    return done();
  }

  static Said send(const UniqueFd& fd, std::string_view bytes) {
    return said(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
  }
  static std::string receive(const UniqueFd& fd, std::size_t n = 100) {
    std::string bytes(n, '\0');
    const ssize_t got = ::recv(fd.get(), bytes.data(), n, 0);
    if (got < 0) return std::string("error ") + ::strerrorname_np(errno);
    return bytes.substr(0, static_cast<std::size_t>(got));
  }
  static void reset_on_close(const UniqueFd& fd) {
    const linger now{1, 0};
    EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
  }
  static int pending_error(const UniqueFd& fd) {
    int error = -1;
    socklen_t size = sizeof error;
    EXPECT_EQ(::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size), 0);
    return error;
  }
  static int queued(const UniqueFd& fd, unsigned long request) {
    int bytes = -1;
    EXPECT_EQ(::ioctl(fd.get(), request, &bytes), 0);
    return bytes;
  }
  static std::size_t fill(const UniqueFd& fd) {
    const std::string block(1000, 'f');
    std::size_t taken = 0;
    for (;;) {
      const Said one = send(fd, block);
      if (one.result < 0) {
        EXPECT_EQ(one.error, EAGAIN);
        return taken;
      }
      taken += static_cast<std::size_t>(one.result);
    }
  }

  SeededDecisions decisions_{1};
  std::optional<SimKernel> kernel_;
};

#define EXPECT_SAYS(call, wanted_result, wanted_error) \
  do {                                                 \
    const Said answer = (call);                        \
    EXPECT_EQ(answer.result, wanted_result);           \
    EXPECT_EQ(answer.error, wanted_error);             \
  } while (false)

// TCP.

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

// Unix sockets.

class UnixConformanceTest : public KernelConformanceTest {
 protected:
  struct Name {
    sockaddr_un native = {};
    socklen_t size;
  };
  static Name name() {
    static int number = 0;
    Name made;
    made.native.sun_family = AF_UNIX;
    const std::string text =
        "millrace-conformance-" + std::to_string(::getpid()) + "-" + std::to_string(++number);
    std::memcpy(made.native.sun_path + 1, text.data(), text.size());  // abstract
    made.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
    return made;
  }
  static UniqueFd local() {
    return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  }
  static UniqueFd listen_at(const Name& at, int backlog = 16) {
    UniqueFd made = local();
    EXPECT_EQ(::bind(made.get(), reinterpret_cast<const sockaddr*>(&at.native), at.size), 0);
    EXPECT_EQ(::listen(made.get(), backlog), 0);
    return made;
  }
  static int connect_at(const UniqueFd& fd, const Name& at) {
    return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&at.native), at.size);
  }
  static Pair unix_pair() {
    const Name at = name();
    const UniqueFd listening = listen_at(at);
    UniqueFd client = local();
    EXPECT_EQ(connect_at(client, at), 0);
    return {std::move(client), accept(listening)};
  }
};

TEST_P(UnixConformanceTest, NobodyListeningRefuses) {
  EXPECT_EQ(said(connect_at(local(), name())).error, ECONNREFUSED);
}

TEST_P(UnixConformanceTest, AFullBacklogSaysTryAgain) {
  const Name at = name();
  const UniqueFd listening = listen_at(at, 0);
  const UniqueFd first = local();
  EXPECT_EQ(connect_at(first, at), 0);
  const UniqueFd second = local();
  EXPECT_EQ(said(connect_at(second, at)).error, EAGAIN);
  const UniqueFd accepted = accept(listening);
  EXPECT_EQ(connect_at(second, at), 0);
}

TEST_P(UnixConformanceTest, BytesThenEnd) {
  Pair pair = unix_pair();
  EXPECT_SAYS(send(pair.client, "hello"), 5, 0);
  EXPECT_EQ(events(pair.server), EPOLLIN | EPOLLOUT);
  pair.client.reset();
  EXPECT_EQ(events(pair.server), EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLRDHUP);
  EXPECT_EQ(receive(pair.server), "hello");
  EXPECT_EQ(receive(pair.server), "");
  EXPECT_SAYS(send(pair.server, "x"), -1, EPIPE);
}

TEST_P(UnixConformanceTest, HalfCloseLeavesTheOtherDirection) {
  const Pair pair = unix_pair();
  ASSERT_EQ(::shutdown(pair.client.get(), SHUT_WR), 0);
  EXPECT_EQ(events(pair.server), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
  EXPECT_EQ(receive(pair.server), "");
  EXPECT_SAYS(send(pair.server, "x"), 1, 0);
  EXPECT_EQ(receive(pair.client), "x");
}

TEST_P(UnixConformanceTest, ClosingWithUnreadBytesResets) {
  Pair pair = unix_pair();
  send(pair.client, "unread");
  pair.server.reset();
  EXPECT_EQ(events(pair.client) & (EPOLLERR | EPOLLHUP), EPOLLERR | EPOLLHUP);
  EXPECT_EQ(receive(pair.client), "error ECONNRESET");
  EXPECT_EQ(receive(pair.client), "");
}

TEST_P(UnixConformanceTest, AFullQueueBlocksUntilThePeerReads) {
  const Pair pair = unix_pair();
  set_buffers(pair.client, 4096);
  const std::size_t taken = fill(pair.client);
  EXPECT_GT(taken, 0u);
  std::size_t got = 0;
  while (got < taken) {
    const std::string part = receive(pair.server, 4096);
    if (part.empty() || part.starts_with("error")) break;
    got += part.size();
  }
  EXPECT_EQ(got, taken);
  EXPECT_TRUE(has(pair.client, EPOLLOUT));
}

// epoll and the descriptors that only it needs.

class EpollConformanceTest : public KernelConformanceTest {
 protected:
  void SetUp() override {
    KernelConformanceTest::SetUp();
    epoll = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  }
  void TearDown() override { epoll.reset(); }
  Said control(int op, int fd, std::uint32_t mask = EPOLLIN) {
    epoll_event event{};
    event.events = mask;
    event.data.fd = fd;
    return said(::epoll_ctl(epoll.get(), op, fd, &event));
  }
  std::vector<int> wait(int max = 16, int ms = 0) {
    std::vector<epoll_event> found(static_cast<std::size_t>(max));
    const int n = ::epoll_wait(epoll.get(), found.data(), max, ms);
    std::vector<int> fds;
    for (int i = 0; i < n; ++i) fds.push_back(found[static_cast<std::size_t>(i)].data.fd);
    return fds;
  }
  static UniqueFd event_fd(unsigned value) {
    return UniqueFd(::eventfd(value, EFD_NONBLOCK | EFD_CLOEXEC));
  }

  UniqueFd epoll;
};

TEST_P(EpollConformanceTest, ControlErrors) {
  UniqueFd fd = event_fd(0);
  EXPECT_EQ(control(EPOLL_CTL_MOD, fd.get()).error, ENOENT);
  EXPECT_EQ(control(EPOLL_CTL_DEL, fd.get()).error, ENOENT);
  EXPECT_EQ(control(EPOLL_CTL_ADD, fd.get()).error, 0);
  EXPECT_EQ(control(EPOLL_CTL_ADD, fd.get()).error, EEXIST);
  const int number = fd.get();
  fd.reset();
  EXPECT_EQ(control(EPOLL_CTL_DEL, number).error, EBADF);
}

TEST_P(EpollConformanceTest, ARegistrationGoesWithTheDescriptor) {
  UniqueFd fd = event_fd(1);
  control(EPOLL_CTL_ADD, fd.get());
  EXPECT_EQ(wait().size(), 1u);
  fd.reset();
  EXPECT_TRUE(wait().empty());
}

TEST_P(EpollConformanceTest, LevelIsToldAgainAndEdgeOnce) {
  const UniqueFd level = event_fd(1);
  const UniqueFd edge = event_fd(1);
  control(EPOLL_CTL_ADD, level.get());
  EXPECT_EQ(wait().size(), 1u);
  EXPECT_EQ(wait().size(), 1u);
  control(EPOLL_CTL_ADD, edge.get(), EPOLLIN | EPOLLET);
  EXPECT_EQ(wait().size(), 2u);
  EXPECT_EQ(wait(), std::vector{level.get()});
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(edge.get(), &one, sizeof one), 8);
  EXPECT_EQ(wait().size(), 2u);
  control(EPOLL_CTL_MOD, edge.get(), EPOLLIN | EPOLLET);
  EXPECT_EQ(wait().size(), 2u) << "modified: told anew";
}

TEST_P(EpollConformanceTest, AnEventfdCountsAndSaturates) {
  const UniqueFd fd = event_fd(0);
  std::uint64_t value = 0;
  EXPECT_EQ(said(::read(fd.get(), &value, sizeof value)).error, EAGAIN);
  value = ~std::uint64_t{0} - 1;
  EXPECT_EQ(::write(fd.get(), &value, sizeof value), 8);
  value = 1;
  EXPECT_EQ(said(::write(fd.get(), &value, sizeof value)).error, EAGAIN);
  EXPECT_EQ(events(fd), EPOLLIN);
  EXPECT_EQ(::read(fd.get(), &value, sizeof value), 8);
  EXPECT_EQ(value, ~std::uint64_t{0} - 1);
  EXPECT_EQ(events(fd), EPOLLOUT);
}

TEST_P(EpollConformanceTest, ATimerDescriptorEndsAWait) {
  const UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  control(EPOLL_CTL_ADD, timer.get(), EPOLLIN | EPOLLET);
  EXPECT_TRUE(wait().empty());
  itimerspec to{};
  to.it_value.tv_nsec = 1'000'000;
  ASSERT_EQ(::timerfd_settime(timer.get(), 0, &to, nullptr), 0);
  EXPECT_EQ(wait(16, kPatienceMs), std::vector{timer.get()});
  EXPECT_TRUE(wait().empty()) << "edge-triggered: once";
  to.it_value.tv_nsec = 1'000'000;
  ASSERT_EQ(::timerfd_settime(timer.get(), 0, &to, nullptr), 0);
  EXPECT_EQ(wait(16, kPatienceMs), std::vector{timer.get()}) << "and again, though never read";
  std::uint64_t expired = 0;
  EXPECT_EQ(::read(timer.get(), &expired, sizeof expired), 8);
  EXPECT_EQ(expired, 1u);
}

TEST_P(EpollConformanceTest, ATimeInThePastIsNow) {
  const UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  control(EPOLL_CTL_ADD, timer.get(), EPOLLIN | EPOLLET);
  itimerspec to{};
  to.it_value.tv_nsec = 1;
  ASSERT_EQ(::timerfd_settime(timer.get(), TFD_TIMER_ABSTIME, &to, nullptr), 0);
  EXPECT_EQ(wait(16, kPatienceMs).size(), 1u);
}

TEST_P(EpollConformanceTest, MoreReadyThanAskedForAreToldInTurn) {
  std::vector<UniqueFd> fds;
  for (int i = 0; i < 20; ++i) {
    fds.push_back(event_fd(1));
    control(EPOLL_CTL_ADD, fds.back().get(), EPOLLIN | EPOLLET);
  }
  std::size_t told = 0;
  for (int i = 0; i < 3; ++i) told += wait(8).size();
  EXPECT_EQ(told, 20u);
  EXPECT_TRUE(wait(8).empty());
}

TEST_P(EpollConformanceTest, AnEpollInstanceIsReadableWhileOneOfItsOwnIsReady) {
  const UniqueFd fd = event_fd(0);
  control(EPOLL_CTL_ADD, fd.get());
  EXPECT_EQ(events(epoll, EPOLLIN), 0u);
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(fd.get(), &one, sizeof one), 8);
  EXPECT_EQ(events(epoll, EPOLLIN), EPOLLIN);
}

TEST_P(EpollConformanceTest, TheLowestFreeNumberIsGivenOut) {
  UniqueFd a = event_fd(0);
  const UniqueFd b = event_fd(0);
  const int number = a.get();
  a.reset();
  EXPECT_EQ(event_fd(0).get(), number);
}

std::string kernel_name(const ::testing::TestParamInfo<bool>& info) {
  return info.param ? "Simulated" : "Real";
}

INSTANTIATE_TEST_SUITE_P(Kernels, KernelConformanceTest, ::testing::Bool(), kernel_name);
INSTANTIATE_TEST_SUITE_P(Kernels, UnixConformanceTest, ::testing::Bool(), kernel_name);
INSTANTIATE_TEST_SUITE_P(Kernels, EpollConformanceTest, ::testing::Bool(), kernel_name);

}  // namespace
}  // namespace millrace::test
