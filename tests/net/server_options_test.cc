// Whether each option of a server is really set on the sockets that it accepts, and at what price.
#include <millrace/connection.h>
#include <millrace/server.h>

#include "loop_core.h"
#include "support/loop_test.h"
#include "support/sockets.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace millrace::test {
namespace {

struct ServerOptionsTest : LoopTest {
  // What an accepted socket of a server with these options says.
  int accepted_option(const ServerOptions& options, int level, int name) {
    Server server(loop(), recorder, options);
    server.listen(SocketAddress::loopback(0));
    RawSocket peer = RawSocket::connect_to(server.address());
    const int before = recorder.opened;
    EXPECT_TRUE(run_until([&] { return recorder.opened > before; }));
    return recorder.last ? socket_option(recorder.last->native_handle(), level, name) : -1;
  }
};

TEST_F(ServerOptionsTest, NagleIsOffUnlessAskedFor) {
  ServerOptions options;
  EXPECT_EQ(accepted_option(options, IPPROTO_TCP, TCP_NODELAY), 1);
  options.listen.socket.no_delay = false;
  EXPECT_EQ(accepted_option(options, IPPROTO_TCP, TCP_NODELAY), 0);
}

TEST_F(ServerOptionsTest, BuffersHaveTheSizeAskedForAndTheKernelsOtherwise) {
  ServerOptions options;
  EXPECT_NE(accepted_option(options, SOL_SOCKET, SO_SNDBUF), 2 * 20'000);
  options.listen.socket.send_buffer_bytes = 20'000;
  options.listen.socket.receive_buffer_bytes = 30'000;
  EXPECT_EQ(accepted_option(options, SOL_SOCKET, SO_SNDBUF), 2 * 20'000);
  EXPECT_EQ(accepted_option(options, SOL_SOCKET, SO_RCVBUF), 2 * 30'000);
}

TEST_F(ServerOptionsTest, KeepaliveIsOffUnlessAnIdleTimeIsGiven) {
  ServerOptions options;
  EXPECT_EQ(accepted_option(options, SOL_SOCKET, SO_KEEPALIVE), 0);
  options.listen.socket.keepalive_idle = 40s;
  options.listen.socket.keepalive_interval = 7s;
  options.listen.socket.keepalive_probes = 5;
  EXPECT_EQ(accepted_option(options, SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(accepted_option(options, IPPROTO_TCP, TCP_KEEPIDLE), 40);
  EXPECT_EQ(accepted_option(options, IPPROTO_TCP, TCP_KEEPINTVL), 7);
  EXPECT_EQ(accepted_option(options, IPPROTO_TCP, TCP_KEEPCNT), 5);
}

TEST_F(ServerOptionsTest, TheUserTimeoutIsTheKernelsUnlessGiven) {
  ServerOptions options;
  EXPECT_EQ(accepted_option(options, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
  options.listen.socket.user_timeout = 12'345ms;
  EXPECT_EQ(accepted_option(options, IPPROTO_TCP, TCP_USER_TIMEOUT), 12'345);
}

TEST_F(ServerOptionsTest, APeerThatVanishedIsFoundByTheUserTimeout) {
  ServerOptions options;
  options.listen.socket.user_timeout = 300ms;
  Server server(loop(), recorder, options);
  server.listen(SocketAddress::loopback(0));
  RawSocket peer = RawSocket::connect_to(server.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  if (!peer.vanish()) GTEST_SKIP() << "needs the privilege to make a peer vanish";
  recorder.last->send("is anybody there?");
  ASSERT_TRUE(run_until([&] { return recorder.closed == 1; }, 60s));
  EXPECT_EQ(recorder.reasons[0], std::errc::timed_out);
}

TEST_F(ServerOptionsTest, WhatIsInheritedCostsNoSystemCallPerConnection) {
  ServerOptions options;
  options.listen.socket = {.no_delay = true,
                           .send_buffer_bytes = 20'000,
                           .receive_buffer_bytes = 20'000,
                           .keepalive_idle = 40s,
                           .user_timeout = 5s};
  Server server(loop(), recorder, options);
  server.listen(SocketAddress::loopback(0));
  const auto peers = connect_peers(server.address(), 20);
  const Faults faults;
  ASSERT_TRUE(run_until([&] { return recorder.opened == 20; }));
  EXPECT_EQ(faults.count(Call::setsockopt), 0u);
  EXPECT_EQ(faults.count(Call::getsockopt), 0u);
  EXPECT_EQ(faults.count(Call::epoll_ctl), 20u);
}

TEST_F(ServerOptionsTest, AnEchoAndAnEndTakeNoCallThatTheyDoNotNeed) {
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    c.send(in.view());
    in.consume_all();
  };
  Server server(loop(), recorder);
  server.listen(SocketAddress::loopback(0));
  const auto send_hello_and_end = [&] {
    RawSocket peer = RawSocket::connect_to(server.address());
    peer.send_all("hello");
    peer.end();
    return peer;
  };
  {
    // The first one makes the loop's own descriptors.
    const RawSocket first = send_hello_and_end();
    ASSERT_TRUE(run_until([&] { return recorder.closed == 1; }));
    run_for(5ms);
  }
  const RawSocket peer = send_hello_and_end();
  const Faults faults;
  ASSERT_TRUE(run_until([&] { return recorder.closed == 2; }));
  EXPECT_EQ(faults.count(Call::accept4), 1u);
  // The kernel drops a registration with its descriptor, unless there may be copies: death tests
  // fork.
  EXPECT_EQ(faults.count(Call::epoll_ctl), LoopCore::ever_forked() ? 2u : 1u);
  EXPECT_EQ(faults.count(Call::recv), 2u);
  EXPECT_EQ(faults.count(Call::send) + faults.count(Call::sendmsg), 1u);
  EXPECT_EQ(faults.count(Call::close), 1u);
  // A process that has forked must say what closing alone would not.
  EXPECT_EQ(faults.count(Call::shutdown), LoopServices::ever_forked() ? 1u : 0u);
  EXPECT_EQ(faults.count(Call::setsockopt), 0u);
}

TEST_F(ServerOptionsTest, ListenOptionsReachTheListener) {
  ServerOptions options;
  options.listen.reuse_port = true;
  options.listen.backlog = 3;
  Server first(loop(), recorder, options);
  first.listen(SocketAddress::loopback(0));
  Server second(loop(), recorder, options);
  second.listen(first.address());
  EXPECT_EQ(longest_queue(first.address()), 3u);
}

TEST_F(ServerOptionsTest, ConnectionOptionsReachItsConnections) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 10;
  recorder.when_open = [](Connection& c) {
    EXPECT_TRUE(c.send("0123456789"));
    EXPECT_FALSE(c.send("x")) << "eleven bytes are above ten";
  };
  Server server(loop(), recorder, options);
  server.listen(SocketAddress::loopback(0));
  RawSocket peer = RawSocket::connect_to(server.address());
  ASSERT_TRUE(run_until([&] { return recorder.drained == 1; }));
  EXPECT_EQ(receive(peer, 11), "0123456789x");
}

TEST_F(ServerOptionsTest, TheSocketsOfItsConnectionsAreTheirsAlone) {
  Server server(loop(), recorder);
  server.listen(SocketAddress::loopback(0));
  RawSocket peer = RawSocket::connect_to(server.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  const int fd = recorder.last->native_handle();
  EXPECT_TRUE(::fcntl(fd, F_GETFD) & FD_CLOEXEC);
  EXPECT_TRUE(::fcntl(fd, F_GETFL) & O_NONBLOCK);
}

}  // namespace
}  // namespace millrace::test
