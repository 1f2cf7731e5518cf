// What arrives at a connection, and how its handler gets it.
#include "support/one_peer_test.h"
#include "support/process.h"

#include <random>
#include <string>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

namespace millrace::test {
namespace {

struct ConnectionReceiveTest : OnePeerTest {
  std::vector<std::string> calls;  // what each on_data was given

  bool until_received(std::uint64_t n) {
    return run_until([&] { return connection().stats().bytes_received >= n; });
  }
};

TEST_F(ConnectionReceiveTest, WhatIsNotConsumedComesAgainInFrontOfWhatArrivesLater) {
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
  };
  start();
  peer.send_all("ab");
  ASSERT_TRUE(run_until([&] { return calls.size() == 1; }));
  peer.send_all("cd");
  ASSERT_TRUE(run_until([&] { return calls.size() == 2; }));
  EXPECT_EQ(calls, (std::vector<std::string>{"ab", "abcd"}));
}

TEST_F(ConnectionReceiveTest, WhatWasConsumedDoesNotComeAgain) {
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
    in.consume(3);
  };
  start();
  peer.send_all("abcde");
  ASSERT_TRUE(run_until([&] { return calls.size() == 1; }));
  EXPECT_EQ(connection().unconsumed().text(), "de");
  peer.send_all("fg");
  ASSERT_TRUE(run_until([&] { return calls.size() == 2; }));
  EXPECT_EQ(calls, (std::vector<std::string>{"abcde", "defg"}));
  EXPECT_EQ(connection().unconsumed().text(), "g");
}

TEST_F(ConnectionReceiveTest, ConsumedBytesStayReadableUntilTheCallbackReturns) {
  std::string seen;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    const ByteView view = in.view();
    in.consume_all();
    c.send("a reply");
    seen = view.text();
  };
  start();
  peer.send_all("hello");
  ASSERT_EQ(receive(peer, 7), "a reply");
  EXPECT_EQ(seen, "hello");
}

TEST_F(ConnectionReceiveTest, OnDataIsNotCalledBeforeTheExpectedBytesAreThere) {
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
    if (in.size() < 6) {
      in.expect(6);
    } else {
      in.consume(6);
    }
  };
  start();
  peer.send_all("ab");
  ASSERT_TRUE(until_received(2));
  peer.send_all("cd");
  ASSERT_TRUE(until_received(4));
  EXPECT_EQ(calls.size(), 1u);
  EXPECT_EQ(connection().unconsumed().text(), "abcd");
  peer.send_all("ef");
  ASSERT_TRUE(until_received(6));
  EXPECT_EQ(calls, (std::vector<std::string>{"ab", "abcdef"}));
}

TEST_F(ConnectionReceiveTest, ExpectedBytesCountFromTheFirstOneNotConsumed) {
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
    if (calls.size() > 1) return in.consume_all();
    in.consume(2);
    in.expect(4);
  };
  start();
  peer.send_all("hhab");
  ASSERT_TRUE(until_received(4));
  peer.send_all("c");
  ASSERT_TRUE(until_received(5));
  EXPECT_EQ(calls.size(), 1u);
  peer.send_all("d");
  ASSERT_TRUE(until_received(6));
  EXPECT_EQ(calls, (std::vector<std::string>{"hhab", "abcd"}));
}

TEST_F(ConnectionReceiveTest, WhatIsConsumedAfterExpectIsPartOfWhatWasExpected) {
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
    in.expect(10);
    in.consume(4);
  };
  start();
  peer.send_all("0123456");
  ASSERT_TRUE(until_received(7));
  peer.send_all("78");
  ASSERT_TRUE(until_received(9));
  EXPECT_EQ(calls.size(), 1u);
  peer.send_all("9");
  ASSERT_TRUE(until_received(10));
  EXPECT_EQ(calls, (std::vector<std::string>{"0123456", "456789"}));
}

TEST_F(ConnectionReceiveTest, AnExpectationHoldsUntilTheNextCallOnly) {
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
    if (calls.size() == 1) in.expect(3);
  };
  start();
  for (const char* byte : {"a", "b", "c", "d"}) {
    const std::uint64_t received = connection().stats().bytes_received;
    peer.send_all(byte);
    ASSERT_TRUE(until_received(received + 1));
  }
  EXPECT_EQ(calls, (std::vector<std::string>{"a", "abc", "abcd"}));
}

TEST_F(ConnectionReceiveTest, AnExpectationThatIsAlreadyMetDelaysNothing) {
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
    in.expect(1);
  };
  start();
  peer.send_all("ab");
  ASSERT_TRUE(until_received(2));
  peer.send_all("c");
  ASSERT_TRUE(until_received(3));
  EXPECT_EQ(calls, (std::vector<std::string>{"ab", "abc"}));
}

TEST_F(ConnectionReceiveTest, AnAnnouncedLengthTakesNoMemory) {
  ServerOptions options;
  options.connection.limits.receive_bytes = 64 << 20;
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) { in.expect(64 << 20); };
  start(options);
  peer.send_all("a");
  ASSERT_TRUE(until_received(1));
  const std::size_t before = virtual_bytes();
  peer.send_all("bcde");
  ASSERT_TRUE(until_received(5));
  EXPECT_LT(virtual_bytes(), before + (1 << 20));
}

TEST_F(ConnectionReceiveTest, ALargeExpectedFrameArrivesInOnePieceAndOneCall) {
  const std::string frame = pattern(3'000'000);
  ServerOptions options;
  options.connection.limits.receive_bytes = frame.size();
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    calls.emplace_back(in.view().text());
    if (in.size() < frame.size()) {
      in.expect(frame.size());
    } else {
      in.consume(frame.size());
    }
  };
  start(options);
  peer.send_all(frame.substr(0, 1));
  ASSERT_TRUE(run_until([&] { return calls.size() == 1; }));
  feed(peer, frame.substr(1) + "the next");
  ASSERT_TRUE(until_received(frame.size() + 8));
  ASSERT_EQ(calls.size(), 3u);
  EXPECT_TRUE(same_bytes(calls[1], frame));
  EXPECT_EQ(calls[2], "the next");
}

TEST_F(ConnectionReceiveTest, TheEndBeforeTheExpectedBytesLeavesThemUnconsumed) {
  std::string left;
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) { in.expect(10); };
  recorder.when_peer_end = [&](Connection& c) {
    left = c.unconsumed().text();
    c.close();
  };
  start();
  peer.send_all("abc");
  ASSERT_TRUE(until_received(3));
  peer.send_all("de");
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(left, "abcde");
  EXPECT_EQ(recorder.events, (std::vector<std::string>{"open", "data", "end", "close"}));
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionReceiveTest, AHandlerMayLeaveAsMuchAsReceiveBytesAndNoMore) {
  ServerOptions options;
  options.connection.limits.receive_bytes = 100;
  recorder.when_data = [](Connection&, ReceiveBuffer&) {};
  start(options);
  peer.send_all(pattern(100));
  ASSERT_TRUE(until_received(100));
  EXPECT_TRUE(connection().is_open());
  peer.send_all("x");
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::receive_buffer_overflow);
  EXPECT_NE(recorder.detail.find("101"), std::string::npos) << recorder.detail;
  EXPECT_NE(recorder.detail.find("100"), std::string::npos) << recorder.detail;
}

TEST_F(ConnectionReceiveTest, AHandlerMayExpectAsMuchAsReceiveBytesAndNoMore) {
  ServerOptions options;
  options.connection.limits.receive_bytes = 1000;
  std::size_t expected = 1000;
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    in.consume_all();
    in.expect(expected++);
  };
  start(options);
  peer.send_all("x");
  ASSERT_TRUE(until_received(1));
  EXPECT_TRUE(connection().is_open());
  peer.send_all(pattern(1000));
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::receive_buffer_overflow);
  EXPECT_NE(recorder.detail.find("1001"), std::string::npos) << recorder.detail;
}

TEST_F(ConnectionReceiveTest, AnIdleConnectionHoldsNoBufferMemory) {
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    if (in.size() < 5) return;
    c.send(in.view());
    in.consume_all();
  };
  start();
  peer.send_all("hel");
  ASSERT_TRUE(until_received(3));
  EXPECT_EQ(loop().services().blocks().live_blocks(), 1u);
  peer.send_all("lo");
  EXPECT_EQ(receive(peer, 5), "hello");
  EXPECT_EQ(loop().services().blocks().live_blocks(), 0u);
}

TEST_F(ConnectionReceiveTest, AStreamCutAndConsumedAtRandomIsTheStreamThatWasSent) {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    const std::string stream = pattern(200'000, seed);
    std::mt19937 random(seed);
    std::size_t consumed = 0;
    std::size_t expected = 0;
    recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
      EXPECT_GE(in.size(), expected);
      EXPECT_TRUE(
          same_bytes(in.view().text(), std::string_view(stream).substr(consumed, in.size())));
      const std::size_t n = random() % 4 == 0 ? 0 : random() % (in.size() + 1);
      in.consume(n);
      consumed += n;
      expected = 0;
      if (random() % 3 == 0) {
        expected = in.size() + random() % 40'000;
        in.expect(expected);
      }
    };
    std::string left;
    recorder.when_peer_end = [&](Connection& c) {
      left = c.unconsumed().text();
      c.close();
    };
    start();
    const int closed = recorder.closed;
    for (std::size_t sent = 0; sent < stream.size();) {
      const std::size_t n = std::min<std::size_t>(1 + random() % 30'000, stream.size() - sent);
      feed(peer, std::string_view(stream).substr(sent, n));
      sent += n;
      if (random() % 2 == 0) loop().run_once(0ms);
    }
    peer.end();
    ASSERT_TRUE(until_closed(closed + 1)) << "seed " << seed;
    EXPECT_TRUE(same_bytes(left, std::string_view(stream).substr(consumed))) << "seed " << seed;
  }
}

TEST_F(ConnectionReceiveTest, OneByteReadsGiveTheSameStreamBeforeTheEnd) {
  const std::string stream = pattern(16 * 1024);
  start();
  Faults faults;
  faults.on(Call::recv, Fault::shorten(1), {.fd = connection().native_handle(), .times = 1 << 20});
  feed(peer, stream);
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(same_bytes(recorder.received, stream));
  // One call for each byte, the end after all of them.
  ASSERT_EQ(recorder.events.size(), stream.size() + 3);
  EXPECT_EQ(recorder.events[stream.size()], "data");
  EXPECT_EQ(recorder.events[stream.size() + 1], "end");
}

TEST_F(ConnectionReceiveTest, ReadinessWithNothingBehindItCallsNothing) {
  start();
  Faults faults;
  faults.on(Call::recv, Fault::fail(EAGAIN), {.fd = connection().native_handle(), .times = 3});
  peer.send_all("hello");
  ASSERT_TRUE(run_until([&] { return recorder.received == "hello"; }));
  EXPECT_EQ(recorder.events, (std::vector<std::string>{"open", "data"}));
}

TEST_F(ConnectionReceiveTest, UrgentDataNeitherSpinsNorDisturbsTheRest) {
  constexpr std::uint64_t kFew = 5;
  start();
  const auto send_urgent = [&] { EXPECT_EQ(::send(peer.fd(), "!", 1, MSG_OOB), 1); };
  send_urgent();
  run_for(5ms);
  EXPECT_LE(run_for(20ms), kFew);
  peer.send_all("ab");
  ASSERT_TRUE(run_until([&] { return recorder.received == "ab"; }));
  connection().pause_reading();
  send_urgent();
  run_for(5ms);
  EXPECT_LE(run_for(20ms), kFew);
  connection().resume_reading();
  peer.send_all("cd");
  ASSERT_TRUE(run_until([&] { return recorder.received == "abcd"; })) << recorder.received;
}

TEST_F(ConnectionReceiveTest, AnInterruptedReceiveIsRepeated) {
  start();
  Faults faults;
  faults.on(Call::recv, Fault::fail(EINTR), {.fd = connection().native_handle(), .times = 3});
  peer.send_all("hello");
  ASSERT_TRUE(run_until([&] { return recorder.received == "hello"; }));
  EXPECT_EQ(faults.count(Call::recv), 4u);
  EXPECT_TRUE(connection().is_open());
}

TEST_F(ConnectionReceiveTest, AFailedReceiveClosesWithItsError) {
  start();
  Faults faults;
  faults.on(Call::recv, Fault::fail(ETIMEDOUT), {.fd = connection().native_handle()});
  peer.send_all("hello");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::timed_out);
  EXPECT_EQ(recorder.events, (std::vector<std::string>{"open", "close"}));
}

}  // namespace
}  // namespace millrace::test
