// A Connection over a Unix socket where it differs from one over TCP: its addresses and its peer's
// process, the ways it ends, what its statistics say. (What does not differ is shown by the tests
// that are run over both: tests/net/CMakeLists.txt.)
#include <millrace/client.h>
#include <millrace/unix_connection.h>

#include "support/one_peer_test.h"
#include "support/unix_dir.h"

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::test {
namespace {

struct UnixConnectionTest : OnePeerTest {
  void TearDown() override {
    client.reset();
    OnePeerTest::TearDown();
  }
  void start(const ServerOptions& options = {}) {
    server = std::make_unique<Server>(loop(), recorder, options);
    server->listen(dir.address("s"));
    peer = connect();
  }
  // Another connection of the server's, whose peer is the client.
  void start_client(const ClientOptions& options = {}) {
    client = std::make_unique<Client>(loop(), client_recorder, options);
    client->connect("unix:" + dir.path("s"));
    ASSERT_TRUE(run_until([&] { return client_recorder.opened == 1; }));
  }

  UnixDir dir;
  Recorder client_recorder;
  std::unique_ptr<Client> client;
};

TEST_F(UnixConnectionTest, TellsBothAddresses) {
  start();
  EXPECT_EQ(connection().local(), dir.address("s"));
  EXPECT_EQ(connection().peer(), SocketAddress::unix_abstract({}));
  start_client();
  EXPECT_EQ(client_recorder.last->peer(), dir.address("s"));
  EXPECT_EQ(client_recorder.last->local(), SocketAddress::unix_abstract({}));
}

TEST_F(UnixConnectionTest, TellsTheProcessAndTheUserOfThePeer) {
  start();
  start_client();
  for (const Connection* c : {recorder.last, client_recorder.last}) {
    const auto who = peer_credentials(*c);
    ASSERT_TRUE(who);
    EXPECT_EQ(who->pid, ::getpid());
    EXPECT_EQ(who->uid, ::geteuid());
    EXPECT_EQ(who->gid, ::getegid());
  }
}

TEST_F(UnixConnectionTest, ThePeersProcessCanBeWatched) {
  start();
  const UniqueFd process = peer_process(connection());
  if (!process) GTEST_SKIP() << "the kernel has no SO_PEERPIDFD";
  pollfd state{process.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&state, 1, 0), 0) << "this process has not ended";
}

TEST_F(UnixConnectionTest, AConnectionOverTcpHasNoPeersProcessAndPassesNoDescriptors) {
  server = std::make_unique<Server>(loop(), recorder);
  server->listen("127.0.0.1:0");
  peer = connect();
  EXPECT_FALSE(peer_credentials(connection()));
  EXPECT_FALSE(peer_process(connection()));
  std::vector<UniqueFd> files;
  files.emplace_back(::dup(0));
  const SendResult result = send_descriptors(connection(), ByteView("x"), std::move(files));
  EXPECT_EQ(result, SendResult::unsupported);
  EXPECT_FALSE(result.accepted());
  EXPECT_FALSE(result);
  EXPECT_EQ(files.size(), 1u) << "they stay with the caller";
  EXPECT_TRUE(take_descriptors(connection()).empty());
  EXPECT_TRUE(connection().is_open());
}

TEST_F(UnixConnectionTest, TellsNothingOfTcpAndTheKernelsQueuesAsMemory) {
  start();
  EXPECT_FALSE(connection().tcp_info());
  connection().send("hello");
  connection().flush();
  EXPECT_GE(connection().kernel_queues().send_bytes, 5u);
  EXPECT_EQ(connection().kernel_queues().send_unsent_bytes, 0u);
  EXPECT_EQ(receive(peer, 5), "hello");
  EXPECT_EQ(connection().kernel_queues().send_bytes, 0u) << "the peer has it";
}

TEST_F(UnixConnectionTest, AbortIsAnEndToThePeer) {
  start();
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::aborted);
  EXPECT_TRUE(sees_end(peer));
}

TEST_F(UnixConnectionTest, AbortIsAResetToAPeerWhoseBytesWereNotRead) {
  start();
  connection().pause_reading();
  peer.send_all("never read");
  run_for(5ms);
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_FALSE(sees_end(peer));
  EXPECT_EQ(peer.last_error(), ECONNRESET);
}

TEST_F(UnixConnectionTest, AbortReachesThePeerThoughTheDescriptorHasCopies) {
  start();
  const UniqueFd copy(::dup(connection().native_handle()));
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(sees_end(peer));
}

TEST_F(UnixConnectionTest, CloseDeliversEverythingToASlowReader) {
  ServerOptions options;
  options.listen.socket.send_buffer_bytes = 4096;
  start(options);
  const std::string all = pattern(300'000);
  connection().send(ByteView(all));
  connection().close();
  std::string got;
  while (got.size() < all.size() && !peer.at_end()) {
    got += peer.receive_some(777);
    loop().run_once(0ms);
  }
  EXPECT_TRUE(same_bytes(got, all));
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(UnixConnectionTest, WhatAPeerThatDoesNotReadHasNotGotWhenLingeringEndsIsCounted) {
  ServerOptions options;
  options.connection.timeouts.linger = 20ms;
  start(options);
  std::size_t undelivered = 0;
  recorder.when_close = [&](Connection& c, std::error_code) {
    undelivered = c.stats().undelivered_bytes;
  };
  connection().send(std::string(100, 'x'));
  connection().close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::linger_timeout);
  EXPECT_EQ(undelivered, 100u) << "the memory that they take is not their number";
}

TEST_F(UnixConnectionTest, APeerThatClosesWithoutReadingIsAReset) {
  start();
  connection().send("never read");
  connection().flush();
  peer.send_all("bye");
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.received, "bye") << "what had arrived comes first";
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(UnixConnectionTest, SendingToAPeerThatHasClosedFailsAtOnceAndWhatItSentIsDelivered) {
  start();
  connection().pause_reading();
  peer.send_all("bye");
  peer.close();
  connection().send("anybody there?");
  connection().resume_reading();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.received, "bye");
  EXPECT_EQ(recorder.reasons[0], std::errc::broken_pipe);
}

// Each end sends 256 messages of 24 KiB before it reads a byte.
TEST_F(UnixConnectionTest, BothEndsMaySendMegabytesAtOnce) {
  start();
  constexpr std::size_t kMessage = 24 * 1024;
  const std::string ours = pattern(256 * kMessage, 1);
  const std::string theirs = pattern(256 * kMessage, 2);
  const auto flood = [&](Recorder& who, const std::string& bytes) {
    who.when_open = [&](Connection& c) {
      for (std::size_t at = 0; at < bytes.size(); at += kMessage) {
        c.send(ByteView(bytes).from(at).first(kMessage));
      }
    };
  };
  flood(recorder, ours);
  flood(client_recorder, theirs);
  start_client();
  ASSERT_TRUE(run_until([&] {
    return recorder.received.size() >= theirs.size() &&
           client_recorder.received.size() >= ours.size();
  }));
  EXPECT_TRUE(same_bytes(client_recorder.received, ours));
  EXPECT_TRUE(same_bytes(recorder.received, theirs));
}

}  // namespace
}  // namespace millrace::test
