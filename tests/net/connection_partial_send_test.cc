// What the kernel does to a send: takes a part, takes nothing, is interrupted, fails.
#include "support/one_peer_test.h"

#include <csignal>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct ConnectionPartialSendTest : OnePeerTest {
  Faults faults;
};

TEST_F(ConnectionPartialSendTest, BytesTakenOneByOneArriveInOrder) {
  const std::string bytes = pattern(3000);
  start();
  const int fd = connection().native_handle();
  faults.on(Call::send, Fault::shorten(1), {.fd = fd, .times = 2500});
  connection().send(bytes);
  EXPECT_TRUE(same_bytes(receive(peer, bytes.size()), bytes));
}

TEST_F(ConnectionPartialSendTest, AGatheredQueueTakenInOddPartsArrivesInOrder) {
  start();
  const int fd = connection().native_handle();
  std::mt19937 random(7);
  faults.on(Call::sendmsg, Fault::fail(EAGAIN), {.fd = fd});
  for (int i = 0; i < 200; ++i) {
    faults.on(Call::sendmsg, Fault::shorten(1 + random() % 3000), {.fd = fd});
    faults.on(Call::send, Fault::shorten(1 + random() % 3000), {.fd = fd});
  }
  std::string wanted;
  for (unsigned i = 0; i < 300; ++i) {
    std::string part = pattern(1 + random() % 2000, i);
    wanted += part;
    if (i % 3 == 0) {
      connection().send(SharedBytes(ByteView(part)));
    } else {
      connection().send(part);
    }
  }
  EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
}

TEST_F(ConnectionPartialSendTest, FiveThousandPiecesAreGatheredIntoFewCallsInOrder) {
  start();
  std::string wanted;
  for (int i = 0; i < 5000; ++i) {
    const std::string piece = std::to_string(i) + ",";
    wanted += piece;
    EXPECT_TRUE(connection().send(SharedBytes(ByteView(piece))));
  }
  const std::uint64_t calls = calls_during(faults, Call::sendmsg, [&] { loop().run_once(0ms); });
  EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
  EXPECT_LE(calls, 5000u / 32);
}

TEST_F(ConnectionPartialSendTest, ManySmallMessagesThatWaitTakeLittleMoreMemoryThanTheirBytes) {
  start();
  faults.on(Call::send, Fault::fail(EAGAIN), {.times = 1 << 20});
  faults.on(Call::sendmsg, Fault::fail(EAGAIN), {.times = 1 << 20});
  connection().send("x");
  loop().run_once(0ms);
  for (int i = 0; i < 100'000; ++i) connection().send("x");
  EXPECT_EQ(connection().queued_bytes(), 100'001u);
  // Blocks of up to 16 KiB and more that double as the queue grows.
  EXPECT_LE(loop().services().blocks().live_blocks(), 16u);
}

TEST_F(ConnectionPartialSendTest, AnInterruptedSendIsRepeated) {
  start();
  const int fd = connection().native_handle();
  faults.on(Call::send, Fault::fail(EINTR), {.fd = fd, .times = 3});
  faults.on(Call::sendmsg, Fault::fail(EINTR), {.fd = fd, .times = 3});
  const std::string large = pattern(100'000);
  connection().send("small");
  loop().run_once(0ms);
  connection().send(large);
  EXPECT_TRUE(same_bytes(receive(peer, large.size() + 5), "small" + large));
  EXPECT_TRUE(connection().is_open());
}

TEST_F(ConnectionPartialSendTest, WhatTheKernelRefusesIsSentWhenThereIsRoom) {
  start();
  const int fd = connection().native_handle();
  faults.on(Call::send, Fault::fail(EAGAIN), {.fd = fd, .times = 3});
  connection().send("hello");
  loop().run_once(0ms);
  EXPECT_EQ(connection().queued_bytes(), 5u);
  EXPECT_EQ(receive(peer, 5), "hello");
  EXPECT_EQ(connection().queued_bytes(), 0u);
}

TEST_F(ConnectionPartialSendTest, AFailedSendClosesThatConnectionOnly) {
  start();
  Connection& failing = connection();
  RawSocket other = connect();
  faults.on(Call::send, Fault::fail(ENOBUFS), {.fd = failing.native_handle()});
  failing.send("lost");
  EXPECT_TRUE(failing.is_open()) << "nothing has happened yet";
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::no_buffer_space);
  connection().send("hello");
  EXPECT_EQ(receive(other, 5), "hello");
  other.close();
  EXPECT_TRUE(until_closed(2));
}

TEST_F(ConnectionPartialSendTest, ASendThatFailsAtOnceSaysSoAndClosesWithoutACallbackFromInside) {
  start();
  faults.on(Call::send, Fault::fail(EPIPE), {.fd = connection().native_handle()});
  Connection& c = connection();
  EXPECT_FALSE(c.send(pattern(100'000)));
  EXPECT_FALSE(c.is_open());
  EXPECT_FALSE(c.send("more"));
  EXPECT_EQ(recorder.closed, 0);
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::broken_pipe);
}

TEST_F(ConnectionPartialSendTest, AFailedSendStillDeliversWhatHasArrivedBefore) {
  start();
  const int fd = connection().native_handle();
  faults.on(Call::send, Fault::fail(EPIPE), {.fd = fd});
  peer.send_all("last words");
  connection().send("lost");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.received, "last words");
  EXPECT_EQ(recorder.reasons[0], std::errc::broken_pipe);
  EXPECT_EQ(recorder.events, (std::vector<std::string>{"open", "data", "close"}));
}

TEST_F(ConnectionPartialSendTest, WritingToAPeerThatIsGoneRaisesNoSignal) {
  // With the default disposition SIGPIPE would end this process.
  struct sigaction before {};
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(SIGPIPE, &standard, &before);
  start();
  recorder.when_peer_end = [](Connection&) {};
  peer.close();
  ASSERT_TRUE(run_until([&] { return recorder.peer_ended == 1; }));
  int sends = 0;
  ASSERT_TRUE(run_until([&] {
    if (recorder.last) sends += connection().send("anybody there?") ? 1 : 0;
    return recorder.closed == 1;
  }));
  EXPECT_GE(sends, 1);
  EXPECT_TRUE(recorder.reasons[0] == std::errc::broken_pipe ||
              recorder.reasons[0] == std::errc::connection_reset)
      << recorder.reasons[0].message();
  ::sigaction(SIGPIPE, &before, nullptr);
}

TEST_F(ConnectionPartialSendTest, TenThousandMessagesThenCloseArriveInOrder) {
  start_with_small_buffers();
  std::string wanted;
  for (int i = 0; i < 10'000; ++i) {
    std::string message = std::to_string(i);
    message.resize(1024, '.');
    connection().send(message);
    wanted += message;
    if (i % 100 == 0) loop().run_once(0ms);
  }
  EXPECT_GT(connection().queued_bytes(), 9u << 20);
  connection().close();
  EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
  EXPECT_TRUE(sees_end(peer));
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::error_code());
}

TEST_F(ConnectionPartialSendTest, ThirtyMegabytesToThreePeersThenEndArriveWhole) {
  listen();
  const std::string message = pattern(10'024);
  std::vector<RawSocket> peers;
  for (int i = 0; i < 3; ++i) {
    peers.push_back(connect());
    for (int n = 0; n < 1000; ++n) connection().send(message);
    connection().end();
  }
  for (RawSocket& one : peers) {
    const std::string got = receive(one, 1000 * message.size());
    ASSERT_EQ(got.size(), 1000 * message.size());
    for (std::size_t n = 0; n < 1000; ++n) {
      ASSERT_EQ(std::string_view(got).substr(n * message.size(), message.size()), message);
    }
    EXPECT_TRUE(sees_end(one));
    EXPECT_EQ(recorder.closed, 0) << "the FIN came before the peer's";
  }
  peers.clear();
  EXPECT_TRUE(until_closed(3));
}

}  // namespace
}  // namespace millrace::test
