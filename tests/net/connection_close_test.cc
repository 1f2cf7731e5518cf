// close(): everything queued still arrives, nothing is called after it but on_close.
#include "support/one_peer_test.h"

#include <string>
#include <vector>

namespace millrace::test {
namespace {

using Events = std::vector<std::string>;

struct ConnectionCloseTest : OnePeerTest {
  // Everything until the peer sees the end, or a reset (then at_end() is false).
  std::string read_to_the_end(RawSocket& from) {
    std::string all;
    run_until([&] {
      all += from.receive_some();
      return from.at_end() || (from.last_error() != 0 && from.last_error() != EAGAIN);
    });
    return all;
  }
};

TEST_F(ConnectionCloseTest, CloseInsideOnDataStillSendsWhatWasQueued) {
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    for (int i = 0; i < 32; ++i) c.send("0123456789");
    c.close();
  };
  start();
  peer.send_all("x");
  EXPECT_EQ(read_to_the_end(peer).size(), 320u);
  EXPECT_TRUE(peer.at_end());
  EXPECT_EQ(recorder.closed, 0) << "the peer has not ended yet";
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionCloseTest, CloseInOnOpenSendsTheGreetingAndTheEnd) {
  recorder.when_open = [](Connection& c) {
    c.send("go away");
    c.close();
    EXPECT_FALSE(c.is_open());
  };
  start();
  EXPECT_EQ(read_to_the_end(peer), "go away");
  EXPECT_TRUE(peer.at_end());
}

TEST_F(ConnectionCloseTest, CloseFromOutsideTakesEffectInTheSameIteration) {
  start();
  loop().post([&] {
    connection().send("bye");
    connection().close();
  });
  loop().run_once(0ms);
  EXPECT_EQ(peer.receive_some(), "bye");
  peer.receive_some();
  EXPECT_TRUE(peer.at_end());
}

TEST_F(ConnectionCloseTest, WhatFollowsInTheSameReadIsNotDeliveredAfterClose) {
  std::vector<std::string> calls;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    calls.emplace_back(in.view().first(1).text());
    in.consume(1);
    c.close();
    EXPECT_TRUE(in.stopped());
  };
  start();
  peer.send_all("123");
  EXPECT_TRUE(sees_end(peer));
  peer.send_all("456");
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(calls, std::vector<std::string>{"1"});
  EXPECT_EQ(recorder.events, (Events{"open", "data", "close"}));
}

TEST_F(ConnectionCloseTest, NeitherOnDrainedNorOnPeerEndComesAfterClose) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 1000;
  start_with_small_buffers(options);
  const std::string large = pattern(200'000);
  EXPECT_FALSE(connection().send(large));
  connection().close();
  peer.end();
  EXPECT_TRUE(same_bytes(read_to_the_end(peer), large));
  EXPECT_TRUE(peer.at_end());
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "close"}));
}

TEST_F(ConnectionCloseTest, UnreadInputOfThePeerDoesNotDestroyTheReply) {
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    in.consume(1);
    c.send("413 too large");
    c.close();
  };
  start();
  // More than one read takes, and still sending when the reply is on its way.
  std::string_view upload;
  const std::string megabyte = pattern(1 << 20);
  std::string got;
  std::size_t sent = 0;
  ASSERT_TRUE(run_until([&] {
    if (upload.empty()) upload = megabyte;
    const std::size_t n = peer.send_some(upload);
    EXPECT_TRUE(peer.last_error() == 0 || peer.last_error() == EAGAIN) << "reset";
    upload.remove_prefix(n);
    sent += n;
    return sent > (3u << 20);
  }));
  EXPECT_EQ(read_to_the_end(peer), "413 too large");
  EXPECT_TRUE(peer.at_end()) << "reset";
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::error_code());
  EXPECT_EQ(recorder.events, (Events{"open", "data", "close"}));
}

TEST_F(ConnectionCloseTest, TenMegabytesReachASlowReaderAfterClose) {
  start_with_small_buffers();
  const std::string large = pattern(10 << 20);
  connection().send(large);
  connection().close();
  EXPECT_TRUE(same_bytes(read_to_the_end(peer), large));
  EXPECT_TRUE(peer.at_end());
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionCloseTest, APeerThatHasEndedBeforeIsNotWaitedFor) {
  recorder.when_peer_end = [](Connection&) {};
  start();
  peer.end();
  ASSERT_TRUE(run_until([&] { return recorder.peer_ended == 1; }));
  connection().send("bye");
  connection().close();
  loop().run_once(0ms);
  EXPECT_EQ(recorder.closed, 1);
  EXPECT_EQ(read_to_the_end(peer), "bye");
  EXPECT_TRUE(peer.at_end());
}

TEST_F(ConnectionCloseTest, ClosingTwiceIsClosingOnce) {
  start();
  connection().close();
  connection().close();
  EXPECT_TRUE(sees_end(peer));
  connection().close();
  peer.close();
  ASSERT_TRUE(until_closed());
  run_for(10ms);
  EXPECT_EQ(recorder.closed, 1);
}

TEST_F(ConnectionCloseTest, TheFirstReasonGivenIsTheOneThatOnCloseGets) {
  const auto first = make_error_code(std::errc::protocol_error);
  const auto second = make_error_code(std::errc::bad_message);
  const std::function<void(Connection&)> endings[] = {
      [&](Connection& c) { c.close(first, "one"), c.close(second, "two"); },
      [&](Connection& c) { c.close(first, "one"), c.abort(second, "two"); },
      [&](Connection& c) { c.abort(first, "one"), c.close(second, "two"); },
      [&](Connection& c) { c.abort(first, "one"), c.abort(second, "two"); },
      [&](Connection& c) { c.close(first, "one"), c.abort(); },
      // No reason was given at first.
      [&](Connection& c) { c.close(), c.abort(first, "one"); },
  };
  listen();
  for (const auto& end : endings) {
    peer = connect();
    const int closed = recorder.closed;
    end(connection());
    run_for(5ms);
    peer.close();
    ASSERT_TRUE(until_closed(closed + 1));
    EXPECT_EQ(recorder.reasons.back(), first);
    EXPECT_EQ(recorder.detail, "one");
  }
}

TEST_F(ConnectionCloseTest, WhatHappensLaterDoesNotReplaceTheReasonOfClose) {
  start();
  connection().close(std::make_error_code(std::errc::protocol_error), "a bad header");
  EXPECT_TRUE(sees_end(peer));
  EXPECT_EQ(connection().close_detail(), "a bad header");
  peer.reset();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::protocol_error);
  EXPECT_EQ(recorder.detail, "a bad header");
}

TEST_F(ConnectionCloseTest, AResetWhileClosingIsTheReasonWhenNoneWasGiven) {
  start();
  connection().close();
  EXPECT_TRUE(sees_end(peer));
  peer.reset();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(ConnectionCloseTest, AResetWhileClosingWithBytesThatWaitIsNoOrderlyEnd) {
  start_with_small_buffers();
  connection().send(pattern(1 << 20));
  connection().close();
  run_for(10ms);
  peer.reset();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(ConnectionCloseTest, AfterTheEndOfReadingTheKernelStateIsNotResetByClose) {
  // The peer has sent more than we read, and its FIN: our end must still be a FIN.
  recorder.when_data = [](Connection& c, ReceiveBuffer&) { c.close(); };
  start();
  feed(peer, pattern(300'000));
  peer.end();
  EXPECT_EQ(read_to_the_end(peer), "");
  EXPECT_TRUE(peer.at_end());
  EXPECT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionCloseTest, InOnCloseTheConnectionCanBeAskedAndWhatItIsToldHasNoEffect) {
  recorder.when_close = [&](Connection& c, std::error_code) {
    EXPECT_FALSE(c.is_open());
    EXPECT_EQ(c.peer(), peer.address());
    EXPECT_EQ(c.local(), server->address());
    EXPECT_EQ(c.stats().bytes_received, 5u);
    EXPECT_EQ(c.ref().get(), nullptr);
    EXPECT_FALSE(c.send("no"));
    EXPECT_FALSE(c.try_send("no"));
    c.flush();
    c.pause_reading();
    c.resume_reading();
    c.end();
    c.close(std::make_error_code(std::errc::bad_message), "no");
    c.abort(std::make_error_code(std::errc::bad_message), "no");
    EXPECT_EQ(c.close_detail(), "");
  };
  start();
  peer.send_all("hello");
  peer.end();
  EXPECT_EQ(read_to_the_end(peer), "");
  EXPECT_TRUE(peer.at_end()) << "abort() in on_close had an effect";
  ASSERT_TRUE(until_closed());
  run_for(10ms);
  EXPECT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionCloseTest, NoFunctionOfAConnectionCallsBackFromInside) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 10;
  recorder.when_data = [](Connection&, ReceiveBuffer&) {};
  start(options);
  peer.send_all("left over");
  ASSERT_TRUE(run_until([&] { return recorder.events.size() == 2; }));
  Recorder other;
  const std::size_t before = recorder.events.size();
  Connection& c = connection();
  c.send("above the watermark");
  c.flush();  // drained
  c.send(pattern(100'000));
  c.pause_reading();
  c.resume_reading();
  c.set_handler(other);
  c.set_handler(recorder);
  c.end();
  c.close();
  c.abort();
  EXPECT_EQ(recorder.events.size(), before);
  EXPECT_TRUE(other.events.empty());
  ASSERT_TRUE(until_closed());
}

}  // namespace
}  // namespace millrace::test
