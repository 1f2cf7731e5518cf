// Without memory: what goes needs none, what cannot begin leaves nothing behind, and what cannot be
// sent ends its connection.
#include <millrace/client.h>

#include "support/allocations.h"
#include "support/mappings.h"
#include "support/one_peer_test.h"

#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace millrace::test {
namespace {

struct OutOfMemoryTest : OnePeerTest {};

TEST_F(OutOfMemoryTest, AServerGoesWithoutMemory) {
  listen();
  const NoMemory none;
  server.reset();
  EXPECT_FALSE(none.reached());
}

TEST_F(OutOfMemoryTest, AClientGoesWithoutMemory) {
  listen();
  std::optional<Client> client(std::in_place, loop(), recorder);
  client->connect(server->address());
  {
    const NoMemory none;
    client.reset();
    EXPECT_FALSE(none.reached());
  }
  loop().run_once(0ms);
}

TEST_F(OutOfMemoryTest, ASendThatCannotBeQueuedClosesWithEnomemAndDoesNotThrow) {
  Mappings mappings;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    mappings.refuse(true);
    EXPECT_NO_THROW(EXPECT_FALSE(c.send("reply")));
    mappings.refuse(false);
    EXPECT_EQ(recorder.closed, 0) << "from inside send()";
  };
  start();
  peer.send_all("x");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::not_enough_memory);
}

TEST_F(OutOfMemoryTest, ATimeoutThatCannotRunClosesWithEnomem) {
  Faults faults;
  start();
  faults.on(Call::send, Fault::fail(EAGAIN), {.fd = connection().native_handle(), .times = 100});
  connection().send("waits for EPOLLOUT, and for write_stall");
  {
    const NoMemory once(0, 1);
    loop().run_once(0ms);
    EXPECT_TRUE(once.reached());
  }
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::not_enough_memory);
  EXPECT_EQ(recorder.detail, "no memory for a timeout");
}

// The clock of lingering needs memory; what the kernel has taken must not be lost for want of it.
TEST_F(OutOfMemoryTest, AGracefulCloseWithoutMemoryForItsTimeoutStillDelivers) {
  ServerOptions options;
  options.listen.socket.send_buffer_bytes = 1024 * 1024;
  start(options, 4096);
  const std::string reply = pattern(60'000);
  connection().send(reply);
  connection().flush();
  ASSERT_EQ(connection().queued_bytes(), 0u);
  connection().close();
  {
    const NoMemory once(0, 1);
    loop().run_once(0ms);
    EXPECT_TRUE(once.reached());
  }
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::not_enough_memory);
  EXPECT_TRUE(same_bytes(receive(peer, reply.size()), reply));
}

// A large frame is received straight into a block that grows with it.
TEST_F(OutOfMemoryTest, WhatCannotBeReceivedClosesWithEnomem) {
  Mappings mappings;
  recorder.when_data = [](Connection&, ReceiveBuffer& in) { in.expect(900'000); };
  start();
  feed(peer, pattern(1000));
  ASSERT_TRUE(run_until([&] { return !connection().unconsumed().empty(); }));
  mappings.refuse(true);
  const std::string more = pattern(800'000);
  ASSERT_TRUE(run_until([&] {
    peer.send_some(more);
    return recorder.closed == 1;
  }));
  EXPECT_EQ(recorder.reasons[0], std::errc::not_enough_memory);
  EXPECT_EQ(recorder.detail, "no memory to receive into");
}

TEST_F(OutOfMemoryTest, WhatIsLeftUnconsumedAndCannotBeKeptClosesWithEnomem) {
  Mappings mappings;
  recorder.when_data = [&](Connection&, ReceiveBuffer&) { mappings.refuse(true); };
  start();
  peer.send_all("left over");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::not_enough_memory);
  EXPECT_EQ(recorder.detail, "no memory to keep what was received");
}

TEST_F(OutOfMemoryTest, AReasonThatCannotBeKeptBecomesEnomem) {
  ServerOptions options;
  options.connection.limits.send_queue_bytes = 100'000;
  start(options);
  const std::string large(100'001, 'x');
  {
    const NoMemory none;
    EXPECT_FALSE(connection().send(large));
    EXPECT_TRUE(none.reached());
  }
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::not_enough_memory);
  EXPECT_EQ(recorder.detail, "");
}

// How many allocations of an accept succeed.
class AcceptWithoutMemoryTest : public OutOfMemoryTest,
                                public ::testing::WithParamInterface<std::uint64_t> {};

TEST_P(AcceptWithoutMemoryTest, CostsThatConnectionAtMostAndLeaksNothing) {
  struct Discard : ConnectionHandler {
    void on_data(Connection&, ReceiveBuffer& in) override { in.consume_all(); }
  };
  loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  Server own(loop(), HandlerFactory([] { return std::make_unique<Discard>(); }));
  own.listen(SocketAddress::loopback(0));
  const auto connections_are = [&](std::size_t n) {
    return run_until([&] { return own.connection_count() == n; });
  };
  // The first one makes what the loop keeps.
  peer = RawSocket::connect_to(own.address());
  ASSERT_TRUE(connections_are(1));
  peer.close();
  ASSERT_TRUE(connections_are(0));
  peer = RawSocket::connect_to(own.address());
  {
    const NoMemory limit(GetParam());
    for (int i = 0; i < 3; ++i) loop().run_once(0ms);
  }
  peer.close();
  ASSERT_TRUE(connections_are(0));
  peer = RawSocket::connect_to(own.address());
  EXPECT_TRUE(connections_are(1)) << "it accepts no more";
}

INSTANTIATE_TEST_SUITE_P(After, AcceptWithoutMemoryTest, ::testing::Range<std::uint64_t>(0, 5));

}  // namespace
}  // namespace millrace::test
