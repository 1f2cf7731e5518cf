// Client over Unix sockets: its errors, and a server whose queue is full.
#include <millrace/client.h>
#include <millrace/connection.h>
#include <millrace/listener.h>

#include "support/loop_test.h"
#include "support/sockets.h"
#include "support/unix_dir.h"

#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

namespace millrace::test {
namespace {

struct UnixConnectTest : LoopTest {
  // A listener of the test's own that accepts only when told to.
  RawSocket listening(const std::string& name, int backlog, int type = SOCK_STREAM) const {
    RawSocket made(UniqueFd(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)));
    const SocketAddress address = dir.address(name);
    EXPECT_EQ(::bind(made.fd(), address.native(), address.native_size()), 0);
    EXPECT_TRUE(type == SOCK_DGRAM || ::listen(made.fd(), backlog) == 0);
    return made;
  }
  std::error_code result_of(const std::string& name, const ClientOptions& options = {}) {
    Client client(loop(), recorder, options);
    client.connect(dir.address(name));
    EXPECT_EQ(recorder.connect_failed + recorder.opened, 0) << "from inside connect()";
    EXPECT_TRUE(run_until([&] { return recorder.connect_failed + recorder.opened > 0; }));
    const std::error_code why =
        recorder.failures.empty() ? std::error_code() : recorder.failures.back();
    recorder.failures.clear();
    recorder.connect_failed = 0;
    return why;
  }

  UnixDir dir;
};

TEST_F(UnixConnectTest, WhyItCannotConnectIsTold) {
  EXPECT_EQ(result_of("nobody"), std::errc::no_such_file_or_directory);
  EXPECT_EQ(result_of("missing/s"), std::errc::no_such_file_or_directory);
  std::ofstream(dir.path("file")) << "x";
  EXPECT_EQ(result_of("file"), std::errc::connection_refused);
  EXPECT_EQ(result_of("file/s"), std::errc::not_a_directory);
  listening("stale", 1).close();
  EXPECT_EQ(result_of("stale"), std::errc::connection_refused);
  const RawSocket datagrams = listening("datagrams", 0, SOCK_DGRAM);
  EXPECT_EQ(result_of("datagrams"), std::errc::wrong_protocol_type);
}

TEST_F(UnixConnectTest, WithoutPermissionOnTheFileItIsDenied) {
  const bool is_root = ::geteuid() == 0;  // who may connect to anything
  RawSocket listener = listening("s", 5);
  ASSERT_EQ(::chmod(dir.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(dir.path("s").c_str(), 0), 0);
  if (is_root && ::seteuid(65534) != 0) GTEST_SKIP() << "cannot become another user";
  const std::error_code why = result_of("s");
  const bool back = !is_root || ::seteuid(0) == 0;
  ASSERT_TRUE(back);
  EXPECT_EQ(why, std::errc::permission_denied);
}

TEST_F(UnixConnectTest, AServerWhoseQueueIsFullIsTriedAgainUntilThereIsRoom) {
  RawSocket listener = listening("s", 0);
  const RawSocket filler = RawSocket::connect_to(dir.address("s"));
  recorder.when_open = [](Connection& c) { c.send("hello"); };
  Client client(loop(), recorder);
  client.connect(dir.address("s"));
  EXPECT_LE(run_for(100ms), 20u) << "waiting for room keeps the loop busy";
  EXPECT_EQ(recorder.opened + recorder.connect_failed, 0);
  EXPECT_EQ(client.state(), Client::State::connecting);
  const RawSocket first = listener.accept();
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  RawSocket second = listener.accept();
  EXPECT_EQ(receive(second, 5), "hello");
  EXPECT_EQ(recorder.last->peer(), dir.address("s"));
}

TEST_F(UnixConnectTest, AServerWhoseQueueStaysFullIsGivenUpAtTheDeadline) {
  const RawSocket listener = listening("s", 0);
  const RawSocket filler = RawSocket::connect_to(dir.address("s"));
  ClientOptions options;
  options.connect_timeout = 50ms;
  EXPECT_EQ(result_of("s", options), std::errc::timed_out);
}

TEST_F(UnixConnectTest, AServerThatGoesWhileItsQueueIsFullIsNoticed) {
  RawSocket listener = listening("s", 0);
  const RawSocket filler = RawSocket::connect_to(dir.address("s"));
  Client client(loop(), recorder);
  client.connect(dir.address("s"));
  run_for(20ms);
  listener.close();
  ASSERT_TRUE(run_until([&] { return recorder.connect_failed == 1; }));
  EXPECT_EQ(recorder.failures[0], std::errc::connection_refused);
}

TEST_F(UnixConnectTest, TenThatCloseBeforeTheyAreAcceptedAreCancelledAndAcceptedAllTheSame) {
  std::vector<RawSocket> accepted;
  const Listener listener(loop(), dir.address("s"), [&](UniqueFd socket, const SocketAddress&) {
    accepted.emplace_back(std::move(socket));
  });
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 10; ++i) {
    clients.push_back(std::make_unique<Client>(loop(), recorder));
    clients.back()->connect(dir.address("s"));
    clients.back()->close();
  }
  ASSERT_TRUE(run_until([&] { return recorder.connect_failed == 10 && accepted.size() == 10; }));
  for (const std::error_code why : recorder.failures) {
    EXPECT_EQ(why, std::errc::operation_canceled);
  }
  for (RawSocket& one : accepted) EXPECT_TRUE(sees_end(one));
  accepted.clear();
}

TEST_F(UnixConnectTest, ClosedOrDestroyedWhileItWaitsForRoomNothingIsLeft) {
  const RawSocket listener = listening("s", 0);
  const RawSocket filler = RawSocket::connect_to(dir.address("s"));
  {
    Client client(loop(), recorder);
    client.connect(dir.address("s"));
    run_for(10ms);
    client.close();
    ASSERT_TRUE(run_until([&] { return recorder.connect_failed == 1; }));
    EXPECT_EQ(recorder.failures[0], std::errc::operation_canceled);
  }
  Client client(loop(), recorder);
  client.connect(dir.address("s"));
  run_for(10ms);
}

TEST_F(UnixConnectTest, AClientMayHaveAnAbstractNameOfItsOwn) {
  RawSocket listener = listening("s", 5);
  const std::string name = "millrace-client-" + std::to_string(::getpid());
  ClientOptions options;
  options.local = SocketAddress::unix_abstract(name);
  Client client(loop(), recorder, options);
  client.connect(dir.address("s"));
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(recorder.last->local(), options.local);
}

TEST_F(UnixConnectTest, AClientMayHaveAPathOfItsOwnAndConnectsAgainFromIt) {
  RawSocket listener = listening("s", 5);
  ClientOptions options;
  options.local = dir.address("mine");
  options.reconnect = {.enabled = true, .first_delay = 1ms};
  Client client(loop(), recorder, options);
  client.connect(dir.address("s"));
  for (int times = 1; times <= 2; ++times) {
    ASSERT_TRUE(run_until([&] { return recorder.opened == times; }));
    EXPECT_EQ(recorder.last->local(), options.local);
    EXPECT_FALSE(dir.has("mine"));
    listener.accept().close();
  }
  ASSERT_TRUE(run_until([&] { return recorder.opened == 3; }));
  client.close();
  EXPECT_EQ(recorder.connect_failed, 0);
}

TEST_F(UnixConnectTest, APathOfItsOwnThatIsTakenOrCannotBeFailsTheAttempt) {
  const RawSocket listener = listening("s", 5);
  const RawSocket other = listening("taken", 5);
  ClientOptions options;
  options.local = dir.address("taken");
  EXPECT_EQ(result_of("s", options), std::errc::address_in_use);
  EXPECT_TRUE(dir.has("taken"));
  options.local = dir.address("missing/mine");
  EXPECT_EQ(result_of("s", options), std::errc::no_such_file_or_directory);
  options.local = dir.address("mine");
  EXPECT_EQ(result_of("nobody", options), std::errc::no_such_file_or_directory);
  EXPECT_FALSE(dir.has("mine"));
}

TEST_F(UnixConnectTest, ReconnectsWhenTheServerIsThereAgain) {
  RawSocket listener = listening("s", 5);
  ClientOptions options;
  options.reconnect = {.enabled = true, .first_delay = 1ms};
  Client client(loop(), recorder, options);
  client.connect("unix:" + dir.path("s"));
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  listener.accept().close();
  listener.close();
  ASSERT_TRUE(run_until([&] { return recorder.connect_failed > 0; }));
  ::unlink(dir.path("s").c_str());
  listener = listening("s", 5);
  EXPECT_TRUE(run_until([&] { return recorder.opened == 2; }));
}

}  // namespace
}  // namespace millrace::test
