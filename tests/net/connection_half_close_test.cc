// One direction ends before the other: end(), and the peer's FIN.
#include "support/one_peer_test.h"

#include <string>
#include <vector>

namespace millrace::test {
namespace {

using Events = std::vector<std::string>;

struct ConnectionHalfCloseTest : OnePeerTest {
  static constexpr std::uint64_t kFew = 5;
};

TEST_F(ConnectionHalfCloseTest, EndSendsFinBehindWhatIsQueuedAndReadingGoesOn) {
  start();
  connection().send("all I have");
  connection().end();
  EXPECT_TRUE(connection().is_open());
  EXPECT_EQ(receive(peer, 100), "all I have");
  EXPECT_TRUE(peer.at_end());
  peer.send_all("an answer");
  ASSERT_TRUE(run_until([&] { return recorder.received == "an answer"; }));
  peer.send_all(", and more");
  ASSERT_TRUE(run_until([&] { return recorder.received == "an answer, and more"; }));
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::error_code());
  EXPECT_EQ(recorder.peer_ended, 1);
}

TEST_F(ConnectionHalfCloseTest, FinWaitsUntilASlowReaderHasTakenEverything) {
  start_with_small_buffers();
  const std::string large = pattern(1 << 20);
  Faults faults;
  connection().send(large);
  connection().end();
  run_for(20ms);
  EXPECT_EQ(faults.count(Call::shutdown), 0u);
  EXPECT_TRUE(same_bytes(receive(peer, large.size()), large));
  EXPECT_TRUE(sees_end(peer));
  EXPECT_EQ(faults.count(Call::shutdown), 1u);
}

TEST_F(ConnectionHalfCloseTest, EndingTwiceSendsOneFin) {
  start();
  Faults faults;
  connection().end();
  connection().end();
  EXPECT_TRUE(sees_end(peer));
  connection().end();
  run_for(10ms);
  EXPECT_EQ(faults.count(Call::shutdown), 1u);
}

TEST_F(ConnectionHalfCloseTest, CloseAfterEndWaitsForThePeerAndClosesOnce) {
  start();
  connection().end();
  EXPECT_TRUE(sees_end(peer));
  connection().close();
  peer.send_all("discarded");
  run_for(10ms);
  EXPECT_EQ(recorder.closed, 0);
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "close"}));
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionHalfCloseTest, OnceBothSidesHaveEndedTheConnectionIsOver) {
  recorder.when_peer_end = [](Connection&) {};
  start();
  connection().end();
  EXPECT_TRUE(sees_end(peer));
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "end", "close"}));
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionHalfCloseTest, BothSidesMayEndAtTheSameTime) {
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    c.send(in.view());
    in.consume_all();
    c.end();
  };
  start();
  peer.send_all("hello");
  peer.end();
  EXPECT_EQ(receive(peer, 100), "hello");
  EXPECT_TRUE(peer.at_end());
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "data", "end", "close"}));
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionHalfCloseTest, ByDefaultThePeersEndClosesOnceEverythingIsSent) {
  const std::string reply = pattern(1 << 20);
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    c.send(reply);
  };
  start_with_small_buffers();
  peer.send_all("a request");
  peer.end();
  ASSERT_TRUE(run_until([&] { return recorder.peer_ended == 1; }));
  EXPECT_FALSE(connection().is_open());
  EXPECT_EQ(recorder.closed, 0) << "the reply is still being sent";
  EXPECT_TRUE(same_bytes(receive(peer, reply.size()), reply));
  EXPECT_TRUE(sees_end(peer));
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionHalfCloseTest, WhoOverridesOnPeerEndGoesOnSendingAndClosesLater) {
  recorder.when_peer_end = [](Connection&) {};
  start();
  peer.end();
  ASSERT_TRUE(run_until([&] { return recorder.peer_ended == 1; }));
  for (const char* part : {"one", "two", "three"}) {
    connection().send(part);
    EXPECT_EQ(receive(peer, std::strlen(part)), part);
  }
  EXPECT_LE(run_for(50ms), kFew) << "the end of the stream is reported again and again";
  EXPECT_TRUE(connection().is_open());
  connection().close();
  EXPECT_TRUE(sees_end(peer));
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.peer_ended, 1);
}

TEST_F(ConnectionHalfCloseTest, AResetAfterThePeersEndIsNoticedThoughNothingIsSentOrRead) {
  recorder.when_peer_end = [](Connection&) {};  // goes on
  start();
  peer.end();
  ASSERT_TRUE(run_until([&] { return recorder.peer_ended == 1; }));
  peer.reset();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::broken_pipe);
  EXPECT_LE(run_for(10ms), 2u);
}

TEST_F(ConnectionHalfCloseTest, EndAfterThePeersEndIsTheEnd) {
  recorder.when_peer_end = [](Connection&) {};
  start();
  peer.end();
  ASSERT_TRUE(run_until([&] { return recorder.peer_ended == 1; }));
  connection().send("bye");
  connection().end();
  EXPECT_EQ(receive(peer, 100), "bye");
  EXPECT_TRUE(peer.at_end());
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionHalfCloseTest, AllBytesBeforeThePeersEndComeBeforeIt) {
  const std::string all = pattern(1 << 20);
  bool ended = false;
  recorder.when_peer_end = [&](Connection& c) {
    EXPECT_TRUE(same_bytes(recorder.received, all));
    ended = true;
    c.close();
  };
  start();
  feed(peer, all);
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(ended);
}

TEST_F(ConnectionHalfCloseTest, AnAnswerThatArrivesWithTheHangUpIsDeliveredBeforeOnClose) {
  start();
  connection().end();
  ASSERT_TRUE(sees_end(peer));
  // Both directions are over when the loop looks next: EPOLLHUP with unread data.
  const std::string answer = pattern(50'000);
  peer.send_all(answer);
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(same_bytes(recorder.received, answer));
  EXPECT_EQ(recorder.events.back(), "close");
  EXPECT_EQ(recorder.events[recorder.events.size() - 2], "end");
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionHalfCloseTest, OnPeerEndIsNotRepeatedByDataThatWasLeftOver) {
  recorder.when_data = [](Connection&, ReceiveBuffer&) {};
  recorder.when_peer_end = [](Connection& c) { EXPECT_EQ(c.unconsumed().text(), "left"); };
  start();
  peer.send_all("left");
  peer.end();
  ASSERT_TRUE(run_until([&] { return recorder.peer_ended == 1; }));
  EXPECT_LE(run_for(20ms), kFew);
  EXPECT_EQ(recorder.events, (Events{"open", "data", "end"}));
  connection().close();
  ASSERT_TRUE(until_closed());
}

TEST_F(ConnectionHalfCloseTest, EndAfterAResetIsHarmless) {
  start();
  peer.reset();
  connection().end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(ConnectionHalfCloseTest, AShutdownThatFailsIsLeftToTheNextReadToTell) {
  start();
  Faults faults;
  faults.on(Call::shutdown, Fault::fail(ENOTCONN), {.fd = connection().native_handle()});
  connection().end();
  run_for(10ms);
  EXPECT_EQ(recorder.closed, 0);
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

}  // namespace
}  // namespace millrace::test
