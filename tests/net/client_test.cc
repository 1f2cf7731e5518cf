// Client: connecting, its one result, its options, asking. Its end, reconnecting, several
// addresses, names, and what is sent before there is a connection have files of their own.
#include <millrace/client.h>
#include <millrace/connection.h>
#include <millrace/error.h>

#include "support/loop_test.h"
#include "support/sockets.h"
#include "support/watch_calls.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace millrace::test {
namespace {

struct ClientTest : LoopTest {
  // Runs until an attempt has its result: that of on_connect_failed, or none for on_open.
  std::error_code result() {
    const int before = recorder.opened + recorder.connect_failed;
    EXPECT_TRUE(run_until([&] { return recorder.opened + recorder.connect_failed > before; }));
    return recorder.failures.empty() ? std::error_code() : recorder.failures.back();
  }
  // The only result of a client that connects to `address`.
  std::error_code result_of(const SocketAddress& address, const ClientOptions& options = {}) {
    Client client(loop(), recorder, options);
    client.connect(address);
    EXPECT_EQ(recorder.connect_failed + recorder.opened, 0) << "from inside connect()";
    EXPECT_EQ(client.state(), Client::State::connecting);
    const std::error_code why = result();
    EXPECT_EQ(client.state(), why ? Client::State::idle : Client::State::connected);
    run_for(10ms);
    EXPECT_EQ(recorder.connect_failed + recorder.opened, 1) << "one result";
    return why;
  }

  void SetUp() override {
    LoopTest::SetUp();
    listener = RawSocket::listen();
  }
  void TearDown() override {
    listener.close();
    LoopTest::TearDown();
  }
  RawSocket listener;
};

TEST_F(ClientTest, ConnectsSendsAndReceives) {
  recorder.when_open = [](Connection& c) { c.send("hello"); };
  Client client(loop(), recorder);
  EXPECT_EQ(client.state(), Client::State::idle);
  EXPECT_EQ(client.connection(), nullptr);
  client.connect(listener.address());
  EXPECT_EQ(client.state(), Client::State::connecting);
  EXPECT_EQ(client.connection(), nullptr);
  EXPECT_EQ(recorder.opened, 0) << "from inside connect()";
  ASSERT_FALSE(result());
  EXPECT_EQ(client.state(), Client::State::connected);
  EXPECT_EQ(client.connection(), recorder.last);
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, 5), "hello");
  peer.send_all("world");
  ASSERT_TRUE(run_until([&] { return recorder.received == "world"; }));
  peer.close();
  ASSERT_TRUE(run_until([&] { return recorder.closed == 1; }));
  EXPECT_EQ(client.state(), Client::State::idle);
  EXPECT_EQ(client.connection(), nullptr);
}

TEST_F(ClientTest, ConnectsToTheAddressInAText) {
  Client client(loop(), recorder);
  client.connect("localhost:" + std::to_string(listener.address().port()));
  ASSERT_FALSE(result());
  EXPECT_EQ(client.connection()->peer(), listener.address());
}

TEST_F(ClientTest, ConnectsOverIpv6) {
  UniqueFd fd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const SocketAddress any_port = SocketAddress::loopback_v6(0);
  ASSERT_EQ(::bind(fd.get(), any_port.native(), any_port.native_size()), 0);
  ASSERT_EQ(::listen(fd.get(), 1), 0);
  const RawSocket v6(std::move(fd));
  EXPECT_FALSE(result_of(v6.address()));
}

TEST_F(ClientTest, AClosedPortIsRefusedOnce) {
  EXPECT_EQ(result_of(ClosedPort().address()), std::errc::connection_refused);
  EXPECT_EQ(recorder.closed, 0) << "no on_close without on_open";
}

TEST_F(ClientTest, AnUnreachableNetworkIsReportedFromTheLoop) {
  // A broadcast address: the kernel refuses at once, in connect() itself.
  EXPECT_EQ(result_of(SocketAddress::parse("255.255.255.255:9")), std::errc::network_unreachable);
}

TEST_F(ClientTest, PortZeroIsAnErrorAndNoMore) {
  EXPECT_TRUE(result_of(SocketAddress::loopback(0)));
}

TEST_F(ClientTest, AnAddressWithoutAFamilyIsAnErrorFromTheLoop) {
  EXPECT_EQ(result_of(SocketAddress()), std::errc::address_family_not_supported);
}

TEST_F(ClientTest, BadTextIsThrownAtOnceAndItStaysIdle) {
  Client client(loop(), recorder);
  try {
    client.connect("127.0.0.1");
    FAIL() << "there is no port";
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), std::errc::invalid_argument);
    EXPECT_NE(std::string(e.what()).find("127.0.0.1"), std::string::npos);
  }
  EXPECT_EQ(client.state(), Client::State::idle);
  client.connect(listener.address());
  EXPECT_FALSE(result());
}

// Errors that connect() says at once, and those that come later: each is the result, once.
class ConnectErrorTest : public ClientTest, public ::testing::WithParamInterface<int> {};

TEST_P(ConnectErrorTest, AtOnceIsReportedFromTheLoop) {
  Faults faults;
  faults.on(Call::connect, Fault::fail(GetParam()));
  EXPECT_EQ(result_of(listener.address()), system_error_code(GetParam()));
}

TEST_P(ConnectErrorTest, FoundWhenItIsAskedForTheOutcomeIsReported) {
  Faults faults;
  faults.on(Call::getsockopt, Fault::fail(GetParam()));
  EXPECT_EQ(result_of(listener.address()), system_error_code(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Errors, ConnectErrorTest,
                         ::testing::Values(EHOSTUNREACH, EINVAL, EACCES, EADDRNOTAVAIL, EPERM,
                                           ENETUNREACH, ECONNREFUSED, ENOBUFS),
                         [](const auto& test) { return strerrorname_np(test.param); });

TEST_F(ClientTest, AnInterruptedConnectGoesOnByItself) {
  // The call is made and then says EINTR, as the kernel does it: the attempt is under way.
  Faults faults;
  faults.on(Call::connect, Fault::fail_after(EINTR));
  EXPECT_FALSE(result_of(listener.address()));
  EXPECT_EQ(faults.count(Call::connect), 1u) << "a second call would say EALREADY";
}

TEST_F(ClientTest, WithoutADescriptorTheAttemptFails) {
  Client client(loop(), recorder);
  {
    const DescriptorLimit limit(0);
    client.connect(listener.address());
    EXPECT_EQ(result(), std::errc::too_many_files_open);
  }
  client.connect(listener.address());
  result();
  EXPECT_EQ(recorder.opened, 1);
}

class NoRoomForClientTest : public ClientTest, public ::testing::WithParamInterface<int> {};

TEST_P(NoRoomForClientTest, InEpollTheAttemptFailsAtItsStartOrAtItsEnd) {
  // Two registrations: of the connecting socket, and of the connection (after one removal).
  for (const std::uint64_t skip : {0u, 2u}) {
    Faults faults;
    faults.on(Call::epoll_ctl, Fault::fail(GetParam()), {.skip = skip});
    Client client(loop(), recorder);
    client.connect(listener.address());
    EXPECT_EQ(result(), system_error_code(GetParam()));
    EXPECT_EQ(client.state(), Client::State::idle);
  }
  EXPECT_EQ(recorder.opened, 0);
}

INSTANTIATE_TEST_SUITE_P(Errors, NoRoomForClientTest, ::testing::Values(ENOMEM, ENOSPC),
                         [](const auto& test) { return strerrorname_np(test.param); });

TEST_F(ClientTest, WithoutAnAnswerItGivesUpAfterTheTimeLimitAndNotBefore) {
  const FullListener silent;
  ClientOptions options;
  options.connect_timeout = 200ms;
  const auto start = loop().now();
  EXPECT_EQ(result_of(silent.address(), options), std::errc::timed_out);
  EXPECT_GE(loop().now() - start, 200ms);
}

TEST_F(ClientTest, TheTimeLimitIsTenSecondsUnlessGiven) {
  const FullListener silent;
  Faults faults;
  Client client(loop(), recorder);
  client.connect(silent.address());
  loop().run_once(0ms);
  faults.advance_clock(9900ms);
  loop().run_once(0ms);
  EXPECT_EQ(recorder.connect_failed, 0);
  faults.advance_clock(200ms);
  loop().run_once(0ms);
  EXPECT_EQ(recorder.connect_failed, 1);
}

TEST_F(ClientTest, WithoutATimeLimitItWaitsAsLongAsTheKernelTries) {
  const FullListener silent;
  ClientOptions options;
  options.connect_timeout = 0ms;
  Faults faults;
  Client client(loop(), recorder, options);
  client.connect(silent.address());
  loop().run_once(0ms);
  faults.advance_clock(1h);
  loop().run_once(0ms);
  EXPECT_EQ(client.state(), Client::State::connecting);
  EXPECT_EQ(recorder.connect_failed, 0);
}

TEST_F(ClientTest, WaitingForAnAnswerDoesNotKeepTheLoopBusy) {
  const FullListener silent;
  Client client(loop(), recorder);
  client.connect(silent.address());
  EXPECT_LE(run_for(100ms), 5u);
  EXPECT_EQ(client.state(), Client::State::connecting);
}

TEST_F(ClientTest, AnAnswerThatComesLateIsStillAnAnswer) {
  FullListener slow;
  Client client(loop(), recorder);
  client.connect(slow.address());
  run_for(20ms);
  slow.make_room();  // the kernel sends its next SYN after a second
  EXPECT_FALSE(result());
}

TEST_F(ClientTest, AConnectionToItselfCountsAsRefused) {
  ClientOptions options;
  options.local = free_address();
  EXPECT_EQ(result_of(options.local, options), std::errc::connection_refused);
}

TEST_F(ClientTest, ConnectsFromTheLocalAddressThatItIsGiven) {
  ClientOptions options;
  options.local = SocketAddress::parse("127.0.0.2:0");
  Client client(loop(), recorder, options);
  client.connect(listener.address());
  ASSERT_FALSE(result());
  EXPECT_EQ(client.connection()->local().host(), "127.0.0.2");
  EXPECT_NE(client.connection()->local().port(), 0);
}

TEST_F(ClientTest, ALocalAddressThatIsNotOursFailsTheAttempt) {
  ClientOptions options;
  options.local = SocketAddress::parse("192.0.2.1:0");
  EXPECT_EQ(result_of(listener.address(), options), std::errc::address_not_available);
}

TEST_F(ClientTest, ALocalPortThatIsTakenFailsTheAttempt) {
  ClientOptions options;
  options.local = listener.address();
  EXPECT_EQ(result_of(listener.address(), options), std::errc::address_in_use);
}

TEST_F(ClientTest, ConnectWhenItIsNotIdleIsTheCallersMistake) {
  Client client(loop(), recorder);
  client.connect(listener.address());
  EXPECT_THROW(client.connect(listener.address()), std::logic_error) << "connecting";
  ASSERT_FALSE(result());
  EXPECT_THROW(client.connect(listener.address()), std::logic_error) << "connected";
  EXPECT_EQ(client.state(), Client::State::connected) << "the connection is not disturbed";
}

TEST_F(ClientTest, MakesOneConnectionAfterTheOther) {
  Client client(loop(), recorder);
  for (int i = 1; i <= 3; ++i) {
    client.connect(listener.address());
    ASSERT_TRUE(run_until([&] { return recorder.opened == i; }));
    listener.accept().close();
    ASSERT_TRUE(run_until([&] { return recorder.closed == i; }));
  }
  EXPECT_EQ(recorder.connect_failed, 0);
}

TEST_F(ClientTest, SocketOptionsAreSetOnItsSocket) {
  ClientOptions options;
  options.socket = {.no_delay = true,
                    .send_buffer_bytes = 20'000,
                    .receive_buffer_bytes = 30'000,
                    .keepalive_idle = 40s,
                    .keepalive_interval = 7s,
                    .keepalive_probes = 5,
                    .user_timeout = 12'345ms};
  Client client(loop(), recorder, options);
  client.connect(listener.address());
  ASSERT_FALSE(result());
  const int fd = client.connection()->native_handle();
  EXPECT_EQ(socket_option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(socket_option(fd, SOL_SOCKET, SO_SNDBUF), 2 * 20'000);
  EXPECT_EQ(socket_option(fd, SOL_SOCKET, SO_RCVBUF), 2 * 30'000);
  EXPECT_EQ(socket_option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(socket_option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 40);
  EXPECT_EQ(socket_option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 7);
  EXPECT_EQ(socket_option(fd, IPPROTO_TCP, TCP_KEEPCNT), 5);
  EXPECT_EQ(socket_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 12'345);
  EXPECT_TRUE(::fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

TEST_F(ClientTest, AnOptionThatTheKernelRefusesFailsTheAttempt) {
  Faults faults;
  faults.on(Call::setsockopt, Fault::fail(ENOPROTOOPT));
  EXPECT_EQ(result_of(listener.address()), std::errc::no_protocol_option);
}

TEST_F(ClientTest, ConnectionOptionsReachItsConnection) {
  ClientOptions options;
  options.connection.limits.high_watermark_bytes = 3;
  recorder.when_open = [](Connection& c) { EXPECT_FALSE(c.send("1234")); };
  EXPECT_FALSE(result_of(listener.address(), options));
}

TEST_F(ClientTest, LambdasServeLikeAHandler) {
  std::error_code failure;
  Client client(loop(), {.on_connect_failed = [&](std::error_code why) { failure = why; }});
  client.connect(ClosedPort().address());
  ASSERT_TRUE(run_until([&] { return failure != std::error_code(); }));
  EXPECT_EQ(failure, std::errc::connection_refused);
}

TEST_F(ClientTest, AHandlerThatItOwnsServesToo) {
  auto owned = std::make_unique<Recorder>();
  Recorder& handler = *owned;
  Client client(loop(), std::move(owned));
  client.connect(listener.address());
  ASSERT_TRUE(run_until([&] { return handler.opened == 1; }));
  EXPECT_EQ(handler.last, client.connection());
}

TEST_F(ClientTest, AConnectionThatWasResetAtOnceOpensAndCloses) {
  Client client(loop(), recorder);
  client.connect(listener.address());
  listener.accept().reset();
  ASSERT_TRUE(run_until([&] { return recorder.opened + recorder.connect_failed == 1; }));
  // The reset may be there before we have looked: then it is the result of the attempt.
  ASSERT_TRUE(run_until([&] { return recorder.closed + recorder.connect_failed == 1; }));
  const auto& reasons = recorder.opened == 1 ? recorder.reasons : recorder.failures;
  EXPECT_EQ(reasons, std::vector<std::error_code>{system_error_code(ECONNRESET)});
}

TEST_F(ClientTest, AFailedAttemptLeavesNoDescriptorBehind) {
  const ClosedPort nobody;
  const Timer timer = loop().after(1ms, [] {});  // the loop's own descriptor for timers
  loop().run_for(2ms);
  Client client(loop(), recorder);
  const DescriptorLimit limit(1);
  for (int i = 1; i <= 100; ++i) {
    client.connect(nobody.address());
    ASSERT_TRUE(run_until([&] { return recorder.connect_failed == i; }));
  }
  for (const std::error_code why : recorder.failures) {
    EXPECT_EQ(why, std::errc::connection_refused);
  }
}

TEST_F(ClientTest, WhatOnConnectFailedThrowsGoesToTheHook) {
  int exceptions = 0;
  loop().set_exception_hook([&](std::exception_ptr, std::string_view) { ++exceptions; });
  Client client(loop(),
                {.on_connect_failed = [](std::error_code) { throw std::runtime_error("no"); }});
  client.connect(ClosedPort().address());
  ASSERT_TRUE(run_until([&] { return exceptions == 1; }));
  EXPECT_EQ(client.state(), Client::State::idle);
}

TEST_F(ClientTest, TwoHundredClientsConnectAtOnce) {
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<RawSocket> accepted;
  const RawSocket busy = RawSocket::listen(512);
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<Client>(loop(), recorder));
    clients.back()->connect(busy.address());
  }
  EXPECT_TRUE(run_until([&] { return recorder.opened == 200; }));
  clients.clear();
  EXPECT_EQ(recorder.closed, 200);
}

TEST_F(ClientTest, AConnectionToItselfIsFoundUnderAnotherNameOfTheAddressToo) {
  ClientOptions options;
  options.local = free_address();
  EXPECT_EQ(result_of(SocketAddress::any(options.local.port()), options),
            std::errc::connection_refused);
}

}  // namespace
}  // namespace millrace::test
