// SocketOptions: what each becomes in the kernel, at a listener, a client and a live connection;
// what is refused, and with which words. What they do: socket_option_effects_test.cc.
#include <millrace/client.h>
#include <millrace/socket_options.h>

#include "apply_socket_options.h"
#include "support/one_peer_test.h"
#include "support/sockets.h"
#include "support/tcp_facts.h"

#include <cerrno>
#include <functional>
#include <ostream>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace millrace::test {
namespace {

// One option, and what a socket must say that has it.
struct OneSetting {
  const char* name;
  SocketOptions options;
  int level;
  int option;
  int value;
  int calls_per_connection = 0;
};
void PrintTo(const OneSetting& setting, std::ostream* out) {
  *out << setting.name;
}

const OneSetting kSettings[] = {
    {"NagleOn", {.no_delay = false}, IPPROTO_TCP, TCP_NODELAY, 0},
    {"NoDelay", {.no_delay = true}, IPPROTO_TCP, TCP_NODELAY, 1},
    {"SendBuffer", {.send_buffer_bytes = 20'000}, SOL_SOCKET, SO_SNDBUF, 40'000},
    {"ReceiveBuffer", {.receive_buffer_bytes = 30'000}, SOL_SOCKET, SO_RCVBUF, 60'000},
    {"Keepalive", {.keepalive_idle = 40s}, SOL_SOCKET, SO_KEEPALIVE, 1},
    {"KeepaliveOff", {.keepalive_idle = 0s}, SOL_SOCKET, SO_KEEPALIVE, 0},
    {"KeepaliveIdle", {.keepalive_idle = 40s}, IPPROTO_TCP, TCP_KEEPIDLE, 40},
    {"KeepaliveIntervalOfOurs", {.keepalive_idle = 40s}, IPPROTO_TCP, TCP_KEEPINTVL, 10},
    {"KeepaliveProbesOfOurs", {.keepalive_idle = 40s}, IPPROTO_TCP, TCP_KEEPCNT, 3},
    {"KeepaliveInterval",
     {.keepalive_idle = 40s, .keepalive_interval = 7s},
     IPPROTO_TCP,
     TCP_KEEPINTVL,
     7},
    {"KeepaliveProbes",
     {.keepalive_idle = 40s, .keepalive_probes = 5},
     IPPROTO_TCP,
     TCP_KEEPCNT,
     5},
    {"UserTimeout", {.user_timeout = 12'345ms}, IPPROTO_TCP, TCP_USER_TIMEOUT, 12'345},
    {"FinWait2", {.fin_wait2 = 7s}, IPPROTO_TCP, TCP_LINGER2, 7},
    {"NotSentLowat", {.notsent_lowat_bytes = 16'384}, IPPROTO_TCP, TCP_NOTSENT_LOWAT, 16'384},
    {"Tos", {.tos = 0xb8}, IPPROTO_IP, IP_TOS, 0xb8},
    {"Priority", {.priority = 5}, SOL_SOCKET, SO_PRIORITY, 5, 1},
    {"TosAndPriority", {.tos = 0xb8, .priority = 2}, SOL_SOCKET, SO_PRIORITY, 2, 1},
};

struct SocketOptionsTest : OnePeerTest {
  static ServerOptions with(const SocketOptions& socket) {
    ServerOptions options;
    options.listen.socket = socket;
    return options;
  }
  int of_connection(int level, int option) {
    return socket_option(connection().native_handle(), level, option);
  }
};

struct SocketOptionTest : SocketOptionsTest, ::testing::WithParamInterface<OneSetting> {};

TEST_P(SocketOptionTest, OfAListenerIsWhatItsConnectionsHave) {
  const OneSetting& wanted = GetParam();
  listen(with(wanted.options));
  peer = RawSocket::connect_to(server->address());
  const Faults faults;
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(faults.count(Call::setsockopt), static_cast<unsigned>(wanted.calls_per_connection));
  EXPECT_EQ(of_connection(wanted.level, wanted.option), wanted.value);
}

TEST_P(SocketOptionTest, OfAClientIsWhatItsConnectionHas) {
  const OneSetting& wanted = GetParam();
  RawSocket listener = RawSocket::listen();
  ClientOptions options;
  options.socket = wanted.options;
  Client client(loop(), recorder, options);
  client.connect(listener.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(of_connection(wanted.level, wanted.option), wanted.value);
}

TEST_P(SocketOptionTest, IsSetOnALiveConnection) {
  const OneSetting& wanted = GetParam();
  start();
  std::string why;
  EXPECT_FALSE(connection().set_socket_options(wanted.options, &why)) << why;
  EXPECT_EQ(of_connection(wanted.level, wanted.option), wanted.value);
}

INSTANTIATE_TEST_SUITE_P(Each, SocketOptionTest, ::testing::ValuesIn(kSettings),
                         [](const auto& one) { return std::string(one.param.name); });

std::string congestion_of(int fd) {
  char name[16] = {};
  socklen_t size = sizeof name;
  EXPECT_EQ(::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
  return name;
}

TEST_F(SocketOptionsTest, TheCongestionAlgorithmIsInheritedAndChangedByName) {
  start(with({.congestion = "reno"}));  // which every kernel has and allows
  EXPECT_EQ(congestion_of(connection().native_handle()), "reno");
  RawSocket other = RawSocket::listen();
  const std::string systems = congestion_of(other.fd());
  EXPECT_FALSE(connection().set_socket_options({.congestion = systems}));
  EXPECT_EQ(congestion_of(connection().native_handle()), systems);
  EXPECT_EQ(connection().socket_options().congestion, systems);
}

TEST_F(SocketOptionsTest, AnUnknownCongestionAlgorithmIsRefusedByItsName) {
  const std::string missing = "no_such_thing";
  try {
    listen(with({.congestion = missing}));
    FAIL() << "it listens";
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), std::errc::no_such_file_or_directory);
    EXPECT_EQ(std::string(e.what()),
              "TCP_CONGESTION no_such_thing for 127.0.0.1:0: No such file or directory");
  }
  start();
  std::string why;
  EXPECT_EQ(connection().set_socket_options({.congestion = missing}, &why),
            std::errc::no_such_file_or_directory);
  EXPECT_EQ(why, "TCP_CONGESTION no_such_thing");
}

TEST_F(SocketOptionsTest, TheMarkIsInheritedByWhatIsAccepted) {
  try {
    start(with({.mark = 0x80000001u}));
  } catch (const std::system_error& e) {
    ASSERT_EQ(e.code(), std::errc::operation_not_permitted);
    GTEST_SKIP() << "setting a mark needs CAP_NET_ADMIN";
  }
  EXPECT_EQ(of_connection(SOL_SOCKET, SO_MARK), static_cast<int>(0x80000001u));
  EXPECT_EQ(connection().socket_options().mark, 0x80000001u);
}

TEST_F(SocketOptionsTest, WithoutThePrivilegeForAMarkOrAPriorityItIsNamed) {
  without_privileges([] {
    EventLoop loop;
    const auto error_of = [&](const SocketOptions& socket) -> std::string {
      ListenOptions options;
      options.socket = socket;
      try {
        const Listener listener(
            loop, SocketAddress::loopback(0), [](UniqueFd, const SocketAddress&) {}, options);
      } catch (const std::system_error& e) {
        EXPECT_EQ(e.code(), std::errc::operation_not_permitted);
        return e.what();
      }
      return "it listens";
    };
    EXPECT_EQ(error_of({.mark = 77}), "SO_MARK 77 for 127.0.0.1:0: Operation not permitted");
    EXPECT_EQ(error_of({.priority = 7}), "SO_PRIORITY 7 for 127.0.0.1:0: Operation not permitted");
    EXPECT_EQ(error_of({.priority = 6}), "it listens");
  });
}

TEST_F(SocketOptionsTest, APriorityThatCannotBeHadAnyMoreCostsNoConnection) {
  Faults faults;
  listen(with({.priority = 5}));
  faults.on(Call::setsockopt, Fault::fail(EPERM));
  peer = RawSocket::connect_to(server->address());
  EXPECT_TRUE(run_until([&] { return recorder.opened == 1; }));
}

TEST_F(SocketOptionsTest, TosHoldsForBothFamiliesOfAnIpv6Listener) {
  server = std::make_unique<Server>(loop(), recorder, with({.tos = 0x20}));
  server->listen(SocketAddress::any_v6(0));
  const std::uint16_t port = server->address().port();
  peer = RawSocket::connect_to(SocketAddress::loopback(port));
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(of_connection(IPPROTO_IP, IP_TOS), 0x20);
  const RawSocket v6 = RawSocket::connect_to(SocketAddress::loopback_v6(port));
  ASSERT_TRUE(run_until([&] { return recorder.opened == 2; }));
  EXPECT_EQ(of_connection(IPPROTO_IPV6, IPV6_TCLASS), 0x20);
  EXPECT_EQ(connection().socket_options().tos, 0x20);
}

TEST_F(SocketOptionsTest, WhatIsReadBackIsWhatWasSet) {
  const SocketOptions wanted{.no_delay = false,
                             .send_buffer_bytes = 20'000,
                             .receive_buffer_bytes = 30'000,
                             .keepalive_idle = 40s,
                             .keepalive_interval = 7s,
                             .keepalive_probes = 5,
                             .user_timeout = 12'345ms,
                             .fin_wait2 = 9s,
                             .notsent_lowat_bytes = 16'384,
                             .congestion = "reno",
                             .tos = 0x20,
                             .priority = 4};
  start();
  EXPECT_FALSE(connection().set_socket_options(wanted));
  const SocketOptions got = connection().socket_options();
  EXPECT_EQ(got.no_delay, wanted.no_delay);
  EXPECT_EQ(got.send_buffer_bytes, wanted.send_buffer_bytes);
  EXPECT_EQ(got.receive_buffer_bytes, wanted.receive_buffer_bytes);
  EXPECT_EQ(got.keepalive_idle, wanted.keepalive_idle);
  EXPECT_EQ(got.keepalive_interval, wanted.keepalive_interval);
  EXPECT_EQ(got.keepalive_probes, wanted.keepalive_probes);
  EXPECT_EQ(got.user_timeout, wanted.user_timeout);
  EXPECT_EQ(got.fin_wait2, wanted.fin_wait2);
  EXPECT_EQ(got.notsent_lowat_bytes, wanted.notsent_lowat_bytes);
  EXPECT_EQ(got.congestion, wanted.congestion);
  EXPECT_EQ(got.tos, wanted.tos);
  EXPECT_EQ(got.priority, wanted.priority);
}

TEST_F(SocketOptionsTest, NothingChangesButWhatIsGiven) {
  start();
  connection().native_handle();  // death tests fork: let this be the same with and without
  const Faults faults;
  EXPECT_FALSE(connection().set_socket_options({}));
  EXPECT_EQ(faults.count(Call::setsockopt), 0u);
  EXPECT_FALSE(connection().set_socket_options({.user_timeout = 1s}));
  EXPECT_EQ(faults.count(Call::setsockopt), 1u);
  EXPECT_EQ(connection().socket_options().no_delay, true);
}

TEST_F(SocketOptionsTest, OfAConnectionThatIsClosingNothingIsSet) {
  start();
  connection().close();
  std::string why;
  EXPECT_EQ(connection().set_socket_options({.no_delay = false}, &why), std::errc::not_connected);
  EXPECT_EQ(why, "the connection is not open");
}

// Options that make no sense, and what is said about them.
struct Nonsense {
  const char* name;
  SocketOptions options;
  const char* text;
};
void PrintTo(const Nonsense& nonsense, std::ostream* out) {
  *out << nonsense.name;
}

const Nonsense kNonsense[] = {
    {"SendBufferZero", {.send_buffer_bytes = 0}, "send_buffer_bytes 0{}: must be at least 1"},
    {"ReceiveBufferNegative",
     {.receive_buffer_bytes = -1},
     "receive_buffer_bytes -1{}: must be at least 1"},
    {"IdleNegative", {.keepalive_idle = -1s}, "keepalive_idle -1{}: must be 0 to 32767 seconds"},
    {"IdleTooLong",
     {.keepalive_idle = 32'768s},
     "keepalive_idle 32768{}: must be 0 to 32767 seconds"},
    {"IntervalZero",
     {.keepalive_idle = 1s, .keepalive_interval = 0s},
     "keepalive_interval 0{}: must be 1 to 32767 seconds"},
    {"ProbesTooMany",
     {.keepalive_idle = 1s, .keepalive_probes = 128},
     "keepalive_probes 128{}: must be 1 to 127"},
    {"IntervalAlone",
     {.keepalive_interval = 5s},
     "keepalive_interval 5{}: does nothing without a keepalive_idle"},
    {"ProbesWithoutIdle",
     {.keepalive_idle = 0s, .keepalive_probes = 5},
     "keepalive_probes 5{}: does nothing without a keepalive_idle"},
    {"UserTimeoutNegative",
     {.user_timeout = -1ms},
     "user_timeout -1{}: must be 0 to 2147483647 milliseconds"},
    {"UserTimeoutTooLong",
     {.user_timeout = 2'147'483'648ms},
     "user_timeout 2147483648{}: must be 0 to 2147483647 milliseconds"},
    {"FinWait2Zero", {.fin_wait2 = 0s}, "fin_wait2 0{}: must be 1 to 120 seconds"},
    {"FinWait2TooLong", {.fin_wait2 = 121s}, "fin_wait2 121{}: must be 1 to 120 seconds"},
    {"LowatNegative",
     {.notsent_lowat_bytes = -1},
     "notsent_lowat_bytes -1{}: must not be negative"},
    {"CongestionTooLong",
     {.congestion = "sixteen_letters_"},
     "congestion sixteen_letters_{}: must be a name of at most 15 characters"},
    {"TosTooLarge", {.tos = 256}, "tos 256{}: must be 0 to 252"},
    {"TosWithEcn", {.tos = 0x21}, "tos 33{}: must be a multiple of 4: the rest is for ECN"},
    {"PriorityNegative", {.priority = -1}, "priority -1{}: must not be negative"},
};

struct NonsenseTest : SocketOptionsTest, ::testing::WithParamInterface<Nonsense> {
  static std::string expected(const std::string& address) {
    std::string text = GetParam().text;
    return text.replace(text.find("{}"), 2, address.empty() ? "" : " for " + address);
  }
};

TEST_P(NonsenseTest, IsRefusedByAListenerBeforeAnySystemCall) {
  const Faults faults;
  try {
    listen(with(GetParam().options));
    ADD_FAILURE() << "it listens";
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), std::errc::invalid_argument);
    EXPECT_EQ(std::string(e.what()), expected("127.0.0.1:0") + ": Invalid argument");
  }
  EXPECT_EQ(faults.count(Call::socket), 0u);
}

TEST_P(NonsenseTest, IsRefusedByAClientWhichStaysIdle) {
  ClientOptions options;
  options.socket = GetParam().options;
  Client client(loop(), recorder, options);
  const Faults faults;
  try {
    client.connect("127.0.0.1:7");
    ADD_FAILURE() << "it connects";
  } catch (const std::system_error& e) {
    EXPECT_EQ(std::string(e.what()), expected("127.0.0.1:7") + ": Invalid argument");
  }
  EXPECT_EQ(faults.count(Call::socket), 0u);
  EXPECT_EQ(client.state(), Client::State::idle);
}

TEST_P(NonsenseTest, IsRefusedByAConnectionWhichIsLeftAsItIs) {
  start();
  SocketOptions options = GetParam().options;
  options.no_delay = false;  // stands first, and is not set either
  std::string why;
  EXPECT_EQ(connection().set_socket_options(options, &why), std::errc::invalid_argument);
  EXPECT_EQ(why, expected(""));
  EXPECT_EQ(connection().socket_options().no_delay, true);
  EXPECT_TRUE(connection().is_open());
}

INSTANTIATE_TEST_SUITE_P(Each, NonsenseTest, ::testing::ValuesIn(kNonsense),
                         [](const auto& one) { return std::string(one.param.name); });

TEST_F(SocketOptionsTest, NonsenseForAListenerAloneIsNamedToo) {
  const auto refused = [](const ListenOptions& options, int domain = AF_INET) {
    return check_listen_options(options, domain).text();
  };
  ListenOptions defer;
  defer.defer_accept = 3601s;
  EXPECT_EQ(refused(defer), "defer_accept 3601: must be 0 to 3600 seconds");
  defer.defer_accept = -1s;
  EXPECT_EQ(refused(defer), "defer_accept -1: must be 0 to 3600 seconds");
  ListenOptions fast;
  fast.fast_open_queue = -1;
  EXPECT_EQ(refused(fast), "fast_open_queue -1: must not be negative");
}

TEST_F(SocketOptionsTest, AUnixSocketIsRefusedWhatItDoesNotHaveButNotTheDefaults) {
  EXPECT_FALSE(check_listen_options({}, AF_UNIX));
  EXPECT_FALSE(
      check_socket_options({.send_buffer_bytes = 1000, .receive_buffer_bytes = 1000}, AF_UNIX));
  const char* const none = ": must not be given: a Unix socket has no such thing";
  for (const auto& [options, said] : std::initializer_list<std::pair<SocketOptions, std::string>>{
           {{.no_delay = true}, "no_delay 1"},
           {{.keepalive_idle = 5s}, "keepalive_idle 5"},
           {{.user_timeout = 5s}, "user_timeout 5000"},
           {{.fin_wait2 = 5s}, "fin_wait2 5"},
           {{.notsent_lowat_bytes = 5}, "notsent_lowat_bytes 5"},
           {{.congestion = "reno"}, "congestion reno"},
           {{.tos = 4}, "tos 4"},
           {{.priority = 4}, "priority 4"},
           {{.mark = 4}, "mark 4"}}) {
    EXPECT_EQ(check_socket_options(options, AF_UNIX).text(), said + none);
  }
  ListenOptions listening;
  listening.reuse_port = true;
  EXPECT_EQ(check_listen_options(listening, AF_UNIX).text(), std::string("reuse_port 1") + none);
}

TEST_F(SocketOptionsTest, AConnectionOverAUnixSocketHasItsBuffersAndRefusesTheRest) {
  server = std::make_unique<Server>(loop(), recorder, with({.send_buffer_bytes = 20'000}));
  server->listen("unix:@");
  peer = RawSocket::connect_to(server->address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(of_connection(SOL_SOCKET, SO_SNDBUF), 40'000) << "Unix sockets inherit nothing";
  EXPECT_FALSE(connection().set_socket_options({.send_buffer_bytes = 30'000}));
  EXPECT_EQ(connection().socket_options().send_buffer_bytes, 30'000);
  EXPECT_EQ(connection().socket_options().no_delay, std::nullopt);
  std::string why;
  EXPECT_EQ(connection().set_socket_options({.no_delay = true}, &why), std::errc::invalid_argument);
  EXPECT_EQ(why, "no_delay 1: must not be given: a Unix socket has no such thing");
}

TEST_F(SocketOptionsTest, AClientOfAUnixSocketIsRefusedWhatThatDoesNotHave) {
  ClientOptions options;
  options.socket.no_delay = true;
  Client client(loop(), recorder, options);
  EXPECT_THROW(client.connect("unix:@nobody"), std::system_error);
}

}  // namespace
}  // namespace millrace::test
