// Deadlines that a peer does not move by sending one byte now and then: for its first byte, and for
// the rest of a message that has begun.
#include <millrace/framed_server.h>

#include "support/timeouts_test.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace millrace::test {
namespace {

struct ConnectionDeadlinesTest : TimeoutsTest {
  // Messages end with a line feed; each is answered by itself in brackets.
  static void answer_lines(Connection& c, ReceiveBuffer& in) {
    for (;;) {
      const std::string_view text = in.view().text();
      const std::size_t end = text.find('\n');
      if (end == std::string_view::npos || in.stopped()) return;
      c.send("[" + std::string(text.substr(0, end)) + "]");
      in.consume(end + 1);
    }
  }
  void SetUp() override {
    TimeoutsTest::SetUp();
    recorder.when_data = answer_lines;
  }
  void start_first_byte() {
    ConnectionTimeouts t = kOff;
    t.first_byte = 1000s;
    start(timeouts(t));
  }
  void start_message() {
    ConnectionTimeouts t = kOff;
    t.message = 1000s;
    start(timeouts(t));
  }
  // Until the product has read it.
  void say(std::string_view bytes) {
    const std::uint64_t before = connection().stats().bytes_received;
    peer.send_all(bytes);
    ASSERT_TRUE(
        run_until([&] { return connection().stats().bytes_received == before + bytes.size(); }));
  }
  void expect_closed(std::error_code why) {
    EXPECT_FALSE(is_open());
    EXPECT_TRUE(sees_end(peer)) << "an orderly end";
    peer.close();
    ASSERT_TRUE(until_closed());
    EXPECT_EQ(recorder.reasons[0], why);
  }
};

TEST_F(ConnectionDeadlinesTest, APeerThatSaysNothingIsClosedAtTheFirstByteDeadline) {
  start_first_byte();
  pass(900s);
  EXPECT_TRUE(is_open());
  pass(101s);
  expect_closed(error::first_byte_timeout);
}

TEST_F(ConnectionDeadlinesTest, WhatWeSendDoesNotMoveTheFirstByteDeadline) {
  start_first_byte();
  pass(900s);
  connection().send("welcome");
  EXPECT_EQ(receive(peer, 7), "welcome");
  pass(101s);
  expect_closed(error::first_byte_timeout);
}

TEST_F(ConnectionDeadlinesTest, AfterTheFirstByteItsDeadlineIsNoMore) {
  start_first_byte();
  pass(999s);
  say("x");
  pass(5000s);
  EXPECT_TRUE(is_open());
}

TEST_F(ConnectionDeadlinesTest, AFirstByteThatTheLoopHasNotReadYetIsInTime) {
  start_first_byte();
  peer.send_all("x\n");
  // The timer comes before the bytes, as it may after the loop has stood still.
  faults.on(Call::epoll_wait, Fault::fail(EINTR));
  pass(1001s);
  EXPECT_TRUE(is_open());
  EXPECT_EQ(receive(peer, 3), "[x]");
}

TEST_F(ConnectionDeadlinesTest, TheFirstByteIsNotAskedForWhileReadingIsPaused) {
  recorder.when_open = [](Connection& c) { c.pause_reading(); };
  start_first_byte();
  peer.send_all("x\n");
  pass(5000s);
  EXPECT_TRUE(is_open());
  EXPECT_LE(run_for(20ms), 5u) << "it spins";
  connection().resume_reading();
  EXPECT_EQ(receive(peer, 3), "[x]");
  EXPECT_TRUE(is_open());
}

TEST_F(ConnectionDeadlinesTest, APeerThatWasSilentDuringThePauseIsClosedAfterIt) {
  recorder.when_open = [](Connection& c) { c.pause_reading(); };
  start_first_byte();
  pass(5000s);
  connection().resume_reading();
  pass(0s);
  pass(1s);
  expect_closed(error::first_byte_timeout);
}

TEST_F(ConnectionDeadlinesTest, AMessageThatTricklesInIsClosedHoweverManyBytesCome) {
  start_message();
  for (int i = 0; i < 9; ++i) {
    say("x");
    pass(100s);
    ASSERT_TRUE(is_open()) << i;
  }
  say("x");
  pass(101s);
  EXPECT_EQ(connection().close_detail(), "10 bytes of an incomplete message received");
  expect_closed(error::message_timeout);
}

TEST_F(ConnectionDeadlinesTest, SilenceBetweenMessagesIsNoneOfItsBusiness) {
  start_message();
  pass(5000s);
  say("a\n");
  pass(5000s);
  say("b");
  pass(900s);
  say("\n");
  pass(5000s);
  EXPECT_TRUE(is_open());
  EXPECT_EQ(receive(peer, 6), "[a][b]");
}

TEST_F(ConnectionDeadlinesTest, EachMessageHasItsOwnTime) {
  start_message();
  say("a");
  for (int i = 0; i < 5; ++i) {
    pass(900s);
    ASSERT_TRUE(is_open()) << i;
    say("\nb");  // the end of one and the beginning of the next
  }
  pass(1001s);
  expect_closed(error::message_timeout);
}

TEST_F(ConnectionDeadlinesTest, AMessageThatTheLoopHasNotReadToItsEndYetIsInTime) {
  start_message();
  say("a");
  peer.send_all("b\n");
  faults.on(Call::epoll_wait, Fault::fail(EINTR));
  pass(1001s);
  EXPECT_TRUE(is_open());
  EXPECT_EQ(receive(peer, 4), "[ab]");
}

TEST_F(ConnectionDeadlinesTest, MoreThanOneTurnCanReadIsWaitedForToo) {
  ServerOptions options;
  options.connection.limits.receive_bytes = 4 << 20;
  options.connection.timeouts = kOff;
  options.connection.timeouts.message = 1000s;
  options.listen.socket.receive_buffer_bytes = 2 << 20;
  start(options, 0, 2 << 20);
  say("a");
  const std::string rest = std::string(1'500'000, 'b') + '\n';
  ASSERT_EQ(peer.send_some(rest), rest.size()) << "the kernels have too little room for this test";
  faults.on(Call::epoll_wait, Fault::fail(EINTR), {.times = 4});
  pass(1001s);
  EXPECT_TRUE(is_open());
  EXPECT_EQ(receive(peer, rest.size() + 2).size(), rest.size() + 2);
}

TEST_F(ConnectionDeadlinesTest, TheTimeOfAPauseDoesNotCountForAMessage) {
  start_message();
  say("a");
  pass(600s);
  connection().pause_reading();
  pass(5000s);
  connection().resume_reading();
  pass(300s);
  EXPECT_TRUE(is_open());
  // Nor does pausing begin it anew.
  connection().pause_reading();
  connection().resume_reading();
  pass(101s);
  expect_closed(error::message_timeout);
}

TEST_F(ConnectionDeadlinesTest, WholeMessagesThatAPauseKeepsAreNotIncomplete) {
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    in.consume(2);
    c.pause_reading();
  };
  start_message();
  say("a\nb\n");
  pass(5000s);
  EXPECT_TRUE(is_open());
  recorder.when_data = answer_lines;
  connection().resume_reading();
  EXPECT_EQ(receive(peer, 3), "[b]");
  pass(5000s);
  EXPECT_TRUE(is_open());
}

TEST_F(ConnectionDeadlinesTest, APeerThatHasEndedIsNotWaitedFor) {
  ConnectionTimeouts t = kOff;
  t.message = t.first_byte = 1000s;
  recorder.when_peer_end = [](Connection&) {};
  start(timeouts(t));
  RawSocket silent = connect();
  silent.end();
  peer.send_all("the rest of the stream");
  peer.end();
  ASSERT_TRUE(run_until([&] { return recorder.peer_ended == 2; }));
  pass(5000s);
  EXPECT_EQ(recorder.closed, 0);
  connection().send("answer");
  EXPECT_EQ(receive(silent, 6), "answer");
}

TEST_F(ConnectionDeadlinesTest, ANewHandlerGetsWhatIsLeftOfTheTime) {
  Recorder next;
  next.when_data = answer_lines;
  next.when_close = [this](Connection& c, std::error_code why) { recorder.on_close(c, why); };
  start_message();
  next.live.insert(&connection());
  say("a");
  pass(600s);
  connection().set_handler(next);
  pass(300s);
  EXPECT_TRUE(is_open());
  pass(101s);
  expect_closed(error::message_timeout);
}

TEST_F(ConnectionDeadlinesTest, WhatIsQueuedStillArrives) {
  ServerOptions options = small_buffers();
  options.connection.timeouts = kOff;
  options.connection.timeouts.message = 1000s;
  start(options, 4096);
  const std::string reply = pattern(200'000);
  connection().send(reply);
  say("begun");
  pass(1001s);
  EXPECT_FALSE(is_open());
  EXPECT_TRUE(same_bytes(receive(peer, reply.size()), reply));
  expect_closed(error::message_timeout);
}

TEST_F(ConnectionDeadlinesTest, AnIdleKickNeverCutsAReplyThatIsStillBeingSent) {
  ServerOptions options;
  options.connection.timeouts.idle = 1000s;
  options.connection.timeouts.linger = 100s;
  options.connection.timeouts.linger_total = 100'000s;
  options.listen.socket.send_buffer_bytes = 1 << 20;
  start(options, 4096);
  // The kernel takes all of it at once: with us nothing waits any more.
  const std::string reply = pattern(100'000);
  connection().send(reply);
  loop().run_once(0ms);
  ASSERT_EQ(connection().queued_bytes(), 0u);
  pass(1001s);
  EXPECT_FALSE(connection().is_open());
  std::string got;
  for (int i = 0; i < 5; ++i) {
    const std::size_t before = connection().kernel_queues().send_bytes;
    ASSERT_TRUE(run_until([&] {
      got += peer.receive_some(1000);
      return connection().kernel_queues().send_bytes < before;
    }));
    pass(90s);
    ASSERT_EQ(recorder.closed, 0);
  }
  got += receive(peer, reply.size() - got.size());
  EXPECT_TRUE(same_bytes(got, reply));
  expect_closed(error::idle_timeout);
}

TEST_F(ConnectionDeadlinesTest, ZeroAndMoreThanTwentyFourDaysAreNone) {
  ConnectionTimeouts t = kOff;
  start(timeouts(t));
  t.first_byte = t.message = 25 * 24h;
  Server other(loop(), recorder, timeouts(t));
  other.listen(SocketAddress::loopback(0));
  RawSocket silent = RawSocket::connect_to(other.address());
  RawSocket slow = RawSocket::connect_to(other.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 3; }));
  slow.send_all("a");
  peer.send_all("a");
  run_for(5ms);
  for (int day = 0; day < 30; ++day) pass(24h);
  EXPECT_EQ(recorder.closed, 0);
  silent.reset();
  slow.reset();
  ASSERT_TRUE(until_closed(2));
}

TEST_F(ConnectionDeadlinesTest, AFrameMustBeCompleteInTime) {
  ServerOptions options;
  options.connection.timeouts = kOff;
  options.connection.timeouts.message = 1000s;
  std::error_code reason;
  int frames = 0;
  int closed = 0;
  FramedServer framed(
      loop(),
      {.on_frame = [&](FramedConnection&, ByteView) { ++frames; },
       .on_close = [&](FramedConnection&, std::error_code why) { reason = why, ++closed; }},
      {}, options);
  framed.listen(SocketAddress::loopback(0));
  RawSocket raw = RawSocket::connect_to(framed.address());
  const auto send = [&](std::string_view bytes) {
    raw.send_all(bytes);
    run_for(5ms);
  };
  using namespace std::string_view_literals;
  send("\0\0\0\3abc"sv);
  EXPECT_EQ(frames, 1);
  EXPECT_EQ(loop().services().blocks().live_blocks(), 0u) << "between frames nothing is kept";
  pass(5000s);
  EXPECT_EQ(framed.connection_count(), 1u);
  // A large one, announced: its bytes come without the decoder being asked.
  send("\0\1\0\0"sv);
  for (int i = 0; i < 9; ++i) {
    pass(100s);
    send("x"sv);
  }
  EXPECT_FALSE(raw.at_end());
  pass(101s);
  EXPECT_TRUE(sees_end(raw));
  raw.close();
  ASSERT_TRUE(run_until([&] { return closed == 1; }));
  EXPECT_EQ(reason, error::message_timeout);
  EXPECT_EQ(frames, 1);
}

}  // namespace
}  // namespace millrace::test
