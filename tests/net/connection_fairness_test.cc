// What one connection may take before the others have their turn.
#include "support/one_peer_test.h"

#include <algorithm>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

// The network has its time: what is looked at is the loop's.
struct ConnectionFairnessTest : OnePeerTest {
  // Waits until something has arrived for every connection but this one.
  void await_arrival(const Connection* except) {
    const auto end = Clock::now() + 10s;
    for (Connection* c : recorder.live) {
      while (c != except && c->kernel_queues().receive_bytes == 0) {
        ASSERT_LT(Clock::now(), end) << "what was sent does not arrive";
      }
    }
  }
  // What has been sent to the peer, of which nothing may be on its way any more.
  static std::size_t await_reply(RawSocket& peer) {
    const auto end = Clock::now() + 1s;
    std::size_t got = 0;
    while (got == 0 && Clock::now() < end) got = peer.receive_some().size();
    return got;
  }
};

TEST_F(ConnectionFairnessTest, AFloodingPeerKeepsNobodyWaitingLongerThanTwoTurns) {
  listen();
  // The flood is there before the others come: its connection is first in the ready list.
  RawSocket flood = connect();
  std::size_t flooded = 0;
  Connection* flooding = recorder.last;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    if (&c == flooding) {
      flooded += in.size();
    } else {
      c.send(in.view());
    }
    in.consume_all();
  };
  std::vector<RawSocket> others;
  for (int i = 0; i < 99; ++i) others.push_back(connect());

  const std::string bytes = pattern(1 << 20);
  std::size_t most_in_a_turn = 0;
  for (int round = 0; round < 20; ++round) {
    while (flood.send_some(bytes) > 0) {
    }
    for (RawSocket& other : others) other.send_all("x");
    await_arrival(flooding);
    for (int turn = 0; turn < 2; ++turn) {
      const std::size_t before = flooded;
      loop().run_once(0ms);
      most_in_a_turn = std::max(most_in_a_turn, flooded - before);
    }
    std::size_t answered = 0;
    for (RawSocket& other : others) answered += await_reply(other);
    EXPECT_EQ(answered, others.size()) << "in round " << round;
  }
  EXPECT_GE(most_in_a_turn, 200u * 1024) << "the peer was too slow to show anything";
  // 256 KiB, exceeded by the last receive of a turn.
  EXPECT_LE(most_in_a_turn, (256u + 64) * 1024);
  flood.reset();
  others.clear();
  EXPECT_TRUE(until_closed(100));
}

TEST_F(ConnectionFairnessTest, AFastReaderOfALongQueueLeavesTurnsToTheOthers) {
  ServerOptions options;
  options.listen.socket.send_buffer_bytes = 8 << 20;
  listen(options);
  RawSocket reader = connect(8 << 20);
  Connection* fast = recorder.last;
  RawSocket other = connect();
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    c.send(in.view());
    in.consume_all();
  };
  // Refused once, so that all of it waits; then nothing holds it up.
  Faults faults;
  faults.on(Call::sendmsg, Fault::fail(EAGAIN), {.fd = fast->native_handle()});
  const std::string bytes = pattern(48'000'000);
  fast->send(bytes);
  ASSERT_EQ(fast->queued_bytes(), bytes.size());

  std::string got;
  got.reserve(bytes.size());
  int turns = 0;
  const auto end = Clock::now() + 20s;
  while (got.size() < bytes.size() && Clock::now() < end) {
    other.send_all("x");
    loop().run_once(0ms);
    if (fast->stats().bytes_sent < bytes.size()) {
      ++turns;
      EXPECT_EQ(other.receive_some(), "x");
    }
    for (std::string part = reader.receive_some(1 << 20); !part.empty();
         part = reader.receive_some(1 << 20)) {
      got += part;
    }
  }
  EXPECT_TRUE(same_bytes(got, bytes));
  EXPECT_GE(turns, 3) << "all of it left in one turn";
}

}  // namespace
}  // namespace millrace::test
