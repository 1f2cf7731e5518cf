// Cork: what it holds back, until when, and that it disturbs nobody.
#include <millrace/cork.h>

#include "support/one_peer_test.h"
#include "support/sockets.h"
#include "support/tcp_facts.h"

#include <optional>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

namespace millrace::test {
namespace {

constexpr int kLines = 20;

struct CorkTest : OnePeerTest {
  void TearDown() override {
    cork.reset();
    OnePeerTest::TearDown();
  }
  // One line in each of many turns of the loop.
  void send_lines() {
    for (int i = 0; i < kLines; ++i) {
      connection().send("a line\n");
      loop().run_once(0ms);
    }
  }
  std::string lines(int n = kLines) {
    std::string all;
    while (n-- > 0) all += "a line\n";
    return all;
  }
  std::uint32_t segments() { return tcp_facts(peer.fd()).data_segments_in; }
  bool corked() { return socket_option(connection().native_handle(), IPPROTO_TCP, TCP_CORK) == 1; }

  std::optional<Cork> cork;
};

TEST_F(CorkTest, WithoutItEachTurnsLineIsASegment) {
  start();
  send_lines();
  EXPECT_EQ(receive(peer, lines().size()), lines());
  EXPECT_EQ(segments(), static_cast<unsigned>(kLines));
}

TEST_F(CorkTest, TheLinesOfManyTurnsLeaveTogetherWhenItGoes) {
  start();
  cork.emplace(connection());
  send_lines();
  cork.reset();
  EXPECT_EQ(receive(peer, lines().size()), lines());
  // One; on a machine so slow that the kernel's 200 ms have passed, one more.
  EXPECT_LE(segments(), 4u);
}

TEST_F(CorkTest, WhatIsQueuedWhenItGoesLeavesInTheSameSegment) {
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    const Cork short_lived(c);
    c.send("head ");
    c.flush();
    c.send("body");
  };
  start();
  peer.send_all("go");
  EXPECT_EQ(receive(peer, 9), "head body");
  EXPECT_EQ(segments(), 1u);
  EXPECT_FALSE(corked());
}

TEST_F(CorkTest, TheLastOfSeveralLetsGo) {
  start();
  cork.emplace(connection());
  Cork second(connection());
  cork.reset();
  send_lines();
  EXPECT_TRUE(corked());
  second = {};
  EXPECT_EQ(receive(peer, lines().size()), lines());
  EXPECT_LE(segments(), 4u);
  EXPECT_FALSE(corked());
}

TEST_F(CorkTest, OnePutOnBeforeTheLastHasLetGoGoesOnHolding) {
  start();
  connection().send("a line\n");
  cork.emplace(connection());
  cork.reset();
  cork.emplace(connection());
  run_for(1ms);
  EXPECT_TRUE(corked());
  cork.reset();
  run_for(1ms);
  EXPECT_FALSE(corked());
}

TEST_F(CorkTest, MovedItHoldsOnAndWhatItHeldBeforeIsLetGo) {
  start();
  Cork first(connection());
  const Cork moved(std::move(first));
  first = {};
  run_for(1ms);
  EXPECT_TRUE(corked());
  Connection& corked_one = connection();
  const RawSocket other = connect();
  Cork of_other(connection());
  of_other = Cork(corked_one);
  run_for(1ms);
  EXPECT_FALSE(corked()) << "the other one";
}

TEST_F(CorkTest, CloseAndEndSendWhatItHoldsBack) {
  start();
  cork.emplace(connection());
  connection().send("last words");
  connection().end();
  EXPECT_EQ(receive(peer, 10), "last words");
  EXPECT_TRUE(sees_end(peer));
  RawSocket other = connect();
  const Cork second(connection());
  connection().send("last words");
  connection().close();
  EXPECT_EQ(receive(other, 10), "last words");
  EXPECT_TRUE(sees_end(other));
}

TEST_F(CorkTest, OutlivesItsConnectionAndItsServer) {
  start();
  cork.emplace(connection());
  Cork second(connection());
  peer.reset();
  ASSERT_TRUE(until_closed());
  second = {};
  loop().run_once(0ms);
  server.reset();
  loop().run_once(0ms);
  cork.reset();
}

TEST_F(CorkTest, MadeInOnCloseOrAfterCloseItDoesNothing) {
  recorder.when_close = [this](Connection& c, std::error_code) { cork.emplace(c); };
  start();
  connection().close();
  const Cork closing(connection());
  peer.end();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(cork);
}

TEST_F(CorkTest, ASlowReaderGetsEverythingAndIsThenLetGo) {
  start_with_small_buffers();
  const std::string much = pattern(300'000);
  cork.emplace(connection());
  connection().send(ByteView(much));
  run_for(1ms);
  ASSERT_GT(connection().queued_bytes(), 0u);
  cork.reset();
  run_for(1ms);
  EXPECT_TRUE(corked()) << "not before everything is with the kernel";
  EXPECT_TRUE(same_bytes(receive(peer, much.size()), much));
  EXPECT_FALSE(corked());
}

TEST_F(CorkTest, AHeaderAndItsFileShareTheirSegmentWithoutIt) {
  char path[] = "/tmp/millrace-cork-XXXXXX";
  UniqueFd file(::mkstemp(path));
  ASSERT_TRUE(file);
  ::unlink(path);
  ASSERT_EQ(::write(file.get(), "contents", 8), 8);
  start();
  connection().send("header ");
  connection().send_file(std::move(file), 0, 8);
  EXPECT_EQ(receive(peer, 15), "header contents");
  EXPECT_EQ(segments(), 1u);
}

TEST_F(CorkTest, OnAUnixSocketItHoldsNothingBack) {
  server = std::make_unique<Server>(loop(), recorder);
  server->listen("unix:@");
  peer = connect();
  cork.emplace(connection());
  connection().send("a line\n");
  EXPECT_EQ(receive(peer, 7), "a line\n");
  cork.reset();
  connection().send("another\n");
  EXPECT_EQ(receive(peer, 8), "another\n");
}

TEST_F(CorkTest, WithoutOneAMessageCostsNoCall) {
  start();
  const Faults faults;
  send_lines();
  EXPECT_EQ(faults.count(Call::setsockopt), 0u);
}

}  // namespace
}  // namespace millrace::test
