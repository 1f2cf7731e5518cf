// What the world does to a server and its operator gets wrong: each is answered with a clear error,
// the process lives on, and the connections that were there do not notice. The fixture checks that
// nothing leaks.
#include <millrace/client.h>
#include <millrace/connection.h>
#include <millrace/error.h>
#include <millrace/server.h>

#include "support/captured_log.h"
#include "support/loop_test.h"
#include "support/sockets.h"

#include <fstream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace millrace::test {
namespace {

// While it lives, this thread may not bind ports below 1024, whoever it is.
class WithoutPrivilegedPorts {
 public:
  WithoutPrivilegedPorts() {
    ::syscall(SYS_capget, &header_, before_);
    __user_cap_data_struct fewer[2] = {before_[0], before_[1]};
    fewer[0].effective &= ~(1u << CAP_NET_BIND_SERVICE);
    ::syscall(SYS_capset, &header_, fewer);
    // Some containers have no privileged ports at all: then the kernel's answer is scripted.
    int first_for_all = 1024;
    std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> first_for_all;
    if (first_for_all <= kPort) faults_.emplace().on(Call::bind, Fault::fail(EACCES));
  }
  ~WithoutPrivilegedPorts() { ::syscall(SYS_capset, &header_, before_); }
  WithoutPrivilegedPorts(const WithoutPrivilegedPorts&) = delete;
  WithoutPrivilegedPorts& operator=(const WithoutPrivilegedPorts&) = delete;

  static constexpr int kPort = 7;

 private:
  __user_cap_header_struct header_{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct before_[2] = {};
  std::optional<Faults> faults_;
};

struct BadInputTest : LoopTest {
  void SetUp() override {
    LoopTest::SetUp();
    recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
      c.send(in.view());
      in.consume_all();
    };
    server.emplace(loop(), recorder);
    server->listen(SocketAddress::loopback(0));
    witness = RawSocket::connect_to(server->address());
    expect_witness_is_served();
  }
  void TearDown() override {
    expect_witness_is_served();
    EXPECT_EQ(server->connection_count(), 1u);
    witness.close();
    server.reset();
    LoopTest::TearDown();
  }
  // A connection that was there before, and has nothing to do with what goes wrong.
  void expect_witness_is_served() {
    witness.send_all("are you there?");
    EXPECT_EQ(receive(witness, 14), "are you there?");
  }
  bool only_the_witness_is_left() {
    return run_until([this] { return server->connection_count() == 1; });
  }
  std::string listen_error(std::string_view address, int error) {
    try {
      server->listen(address);
      ADD_FAILURE() << "it listens on " << address;
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), system_error_code(error)) << address;
      return e.what();
    }
    return {};
  }

  std::optional<Server> server;
  RawSocket witness;
};

class BadAddressTest : public BadInputTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(BadAddressTest, IsRefusedByListenAndConnectWithATextThatShowsIt) {
  const std::string bad = GetParam();
  const std::string listened = listen_error(bad, EINVAL);
  EXPECT_EQ(listened.rfind("bad address '" + bad + "': ", 0), 0u) << listened;
  Recorder unused;
  Client client(loop(), unused);
  try {
    client.connect(bad);
    ADD_FAILURE() << "it connects to " << bad;
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.what(), listened);
  }
  EXPECT_EQ(client.state(), Client::State::idle);
}

INSTANTIATE_TEST_SUITE_P(
    Texts, BadAddressTest,
    ::testing::Values("", ":", "7000", ":7000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x",
                      "127.0.0.1:-1", "127.0.0.1:65536", "127.0.0.1:99999999999999999999",
                      "127.0.0.1:80 ", " 127.0.0.1:80", "127.0.0:80", "256.0.0.1:80", "::1:80",
                      "[::1]", "[::1", "[::1]80", "[::1]:", "[127.0.0.1]:80", "[::g]:80", "[]:80",
                      "[fe80::1%]:80", "[fe80::1%nosuchif]:80", "tcp://127.0.0.1:80",
                      "127.0.0.1:80/path", "\xff\xfe:80"));

TEST_F(BadInputTest, ATakenPortSaysWhichAndThatItIsTaken) {
  const std::string address = server->address().to_string();
  EXPECT_EQ(listen_error(address, EADDRINUSE), "bind " + address + ": Address already in use");
}

TEST_F(BadInputTest, APrivilegedPortWithoutThePrivilegeSaysThatPermissionIsMissing) {
  const WithoutPrivilegedPorts nobody;
  const std::string address = "127.0.0.1:" + std::to_string(WithoutPrivilegedPorts::kPort);
  EXPECT_EQ(listen_error(address, EACCES), "bind " + address + ": Permission denied");
}

TEST_F(BadInputTest, AnAddressOfAnotherMachineSaysThatItIsNotOurs) {
  EXPECT_EQ(listen_error("198.51.100.1:0", EADDRNOTAVAIL),
            "bind 198.51.100.1:0: Cannot assign requested address");
}

TEST_F(BadInputTest, HostsThatCannotBeReachedAreReportedToThoseWhoAskedOnly) {
  Recorder clients;
  const ClosedPort nobody;
  const FullListener silent;
  ClientOptions options;
  options.connect_timeout = 20ms;
  std::vector<std::unique_ptr<Client>> all;
  for (int i = 0; i < 10; ++i) {
    for (const SocketAddress& address :
         {nobody.address(), silent.address(), SocketAddress::parse("255.255.255.255:9")}) {
      all.push_back(std::make_unique<Client>(loop(), clients, options));
      all.back()->connect(address);
    }
  }
  ASSERT_TRUE(run_until([&] { return clients.connect_failed == 30; }));
  for (const int error : {ECONNREFUSED, ETIMEDOUT, ENETUNREACH}) {
    EXPECT_EQ(
        std::count(clients.failures.begin(), clients.failures.end(), system_error_code(error)), 10);
  }
}

TEST_F(BadInputTest, GarbageComesBackAsItWasSent) {
  std::mt19937 random(7);
  std::string garbage(300'000, '\0');
  for (char& byte : garbage) byte = static_cast<char>(random());
  RawSocket peer = RawSocket::connect_to(server->address());
  std::string back;
  for (std::size_t at = 0; at < garbage.size();) {
    const std::size_t n = std::min<std::size_t>(1 + random() % 40'000, garbage.size() - at);
    peer.send_all(std::string_view(garbage).substr(at, n));
    back += receive(peer, n);
    at += n;
  }
  EXPECT_TRUE(back == garbage);
  peer.close();
  EXPECT_TRUE(only_the_witness_is_left());
}

TEST_F(BadInputTest, PeersThatComeAndGoInEveryWayLeaveNothingBehind) {
  recorder.reasons.clear();
  for (int round = 0; round < 20; ++round) {
    auto peers = connect_peers(server->address(), 10);
    if (round % 2 == 0) run_until([&] { return server->connection_count() == 11; });
    peers[0].close();
    peers[1].reset();
    peers[2].send_all("hello");
    peers[2].close();  // with our answer unread: a reset
    peers[3].send_all("hello");
    peers[3].reset();
    peers[4].end();
    peers[5].send_all("hello");
    peers[5].end();
    peers[6].send_all(std::string(100'000, 'x'));
    peers[6].reset();
    peers[7].end();
    peers[7].reset();
    // The rest says nothing, and closes with its owner.
  }
  EXPECT_TRUE(only_the_witness_is_left());
  for (const std::error_code why : recorder.reasons) {
    EXPECT_TRUE(!why || why == std::errc::connection_reset || why == std::errc::broken_pipe)
        << why.message();
  }
}

TEST_F(BadInputTest, PeersThatConnectAndResetBeforeTheyAreAcceptedCostNothing) {
  for (RawSocket& peer : connect_peers(server->address(), 500)) peer.reset();
  ASSERT_TRUE(run_until([&] { return server->stats().accepted >= 501; }));
  EXPECT_TRUE(only_the_witness_is_left());
}

TEST_F(BadInputTest, APeerThatNeverReadsIsCutOffWhenItsAnswersPassTheLimit) {
  ServerOptions options;
  options.connection.limits.send_queue_bytes = 256 * 1024;
  options.listen.socket.send_buffer_bytes = 4096;
  Recorder flooded;
  flooded.when_data = recorder.when_data;
  Server limited(loop(), flooded, options);
  limited.listen(SocketAddress::loopback(0));
  RawSocket peer = RawSocket::connect_to(limited.address(), 4096);
  const std::string flood(64 * 1024, 'x');
  ASSERT_TRUE(run_until([&] {
    peer.send_some(flood);
    return flooded.closed == 1;
  }));
  EXPECT_EQ(flooded.reasons[0], error::send_queue_overflow);
}

TEST_F(BadInputTest, PeersThatSayNothingAreClosedWhenTheIdleTimeIsOver) {
  ServerOptions options;
  options.connection.timeouts.idle = 30s;
  Recorder idle;
  Server patient(loop(), idle, options);
  patient.listen(SocketAddress::loopback(0));
  auto peers = connect_peers(patient.address(), 50);
  ASSERT_TRUE(run_until([&] { return idle.opened == 50; }));
  Faults faults;
  faults.advance_clock(29s);
  loop().run_once(0ms);
  EXPECT_EQ(idle.closed, 0);
  faults.advance_clock(2s);
  for (RawSocket& peer : peers) EXPECT_TRUE(sees_end(peer));
  peers.clear();
  ASSERT_TRUE(run_until([&] { return idle.closed == 50; }));
  EXPECT_EQ(idle.reasons, std::vector(50, make_error_code(error::idle_timeout)));
}

TEST_F(BadInputTest, ASecondServerThatCannotListenDoesNotDisturbTheFirst) {
  CapturedLog log;
  Recorder other;
  for (int i = 0; i < 10; ++i) {
    Server second(loop(), other);
    EXPECT_THROW(second.listen(server->address()), std::system_error);
    expect_witness_is_served();
  }
  EXPECT_EQ(log.lines(log::Level::error).size(), 0u)
      << "it was thrown: nothing is to be said twice";
}

}  // namespace
}  // namespace millrace::test
