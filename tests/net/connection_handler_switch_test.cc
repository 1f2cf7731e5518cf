// set_handler(): the protocol changes in mid-stream and no byte is lost, doubled or out of order.
#include "support/one_peer_test.h"

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

using Events = std::vector<std::string>;

struct ConnectionHandlerSwitchTest : OnePeerTest {
  // on_open comes once only: in the books of the recorders the connection changes sides.
  static void hand_over(Connection& c, Recorder& to, Recorder& from) {
    from.live.erase(&c);
    --from.opened;
    to.live.insert(&c);
    ++to.opened;
    c.set_handler(to);
  }
};

TEST_F(ConnectionHandlerSwitchTest, TheNewHandlerGetsAllCallbacksButOnOpen) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 1000;
  Recorder other;
  start(options);
  Connection& c = connection();
  EXPECT_EQ(&c.handler(), &recorder);
  hand_over(c, other, recorder);
  EXPECT_EQ(&c.handler(), &other);
  c.send(pattern(2000));
  ASSERT_TRUE(run_until([&] { return other.drained == 1; }));
  peer.send_all("hello");
  peer.end();
  ASSERT_TRUE(run_until([&] { return other.closed == 1; }));
  EXPECT_EQ(other.received, "hello");
  EXPECT_EQ(other.events, (Events{"drained", "data", "end", "close"}));
  EXPECT_EQ(recorder.events, Events{"open"});
}

TEST_F(ConnectionHandlerSwitchTest, InsideOnDataTheRestGoesToTheNewHandlerAtOnce) {
  Recorder other;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    EXPECT_FALSE(in.stopped());
    in.consume(8);
    hand_over(c, other, recorder);
    EXPECT_TRUE(in.stopped()) << "who cuts messages out of the buffer must not go on";
    EXPECT_EQ(other.events, Events{}) << "from inside set_handler()";
  };
  start();
  peer.send_all("upgrade!new protocol");
  ASSERT_TRUE(run_until([&] { return !other.events.empty(); }));
  EXPECT_EQ(other.received, "new protocol");
  EXPECT_EQ(other.events, Events{"data"});
  peer.close();
  EXPECT_TRUE(run_until([&] { return other.closed == 1; }));
}

TEST_F(ConnectionHandlerSwitchTest, WithNothingLeftTheNewHandlerIsCalledWhenMoreComes) {
  Recorder other;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    hand_over(c, other, recorder);
  };
  start();
  peer.send_all("upgrade!");
  ASSERT_TRUE(run_until([&] { return recorder.events.size() == 2; }));
  run_for(10ms);
  EXPECT_TRUE(other.events.empty());
  peer.send_all("more");
  ASSERT_TRUE(run_until([&] { return other.received == "more"; }));
  peer.close();
  EXPECT_TRUE(run_until([&] { return other.closed == 1; }));
}

TEST_F(ConnectionHandlerSwitchTest, WithNothingLeftOfWhatWasStoredItIsCalledWhenMoreComesToo) {
  Recorder other;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    if (in.size() == 1) return;  // leaves it
    in.consume_all();
    in.expect(10);
    hand_over(c, other, recorder);
  };
  start();
  peer.send_all("u");
  ASSERT_TRUE(run_until([&] { return recorder.events.size() == 2; }));
  peer.send_all("pgrade!");
  ASSERT_TRUE(run_until([&] { return recorder.events.size() == 3; }));
  run_for(10ms);
  EXPECT_TRUE(other.events.empty());
  peer.send_all("more");
  ASSERT_TRUE(run_until([&] { return other.received == "more"; }));
  peer.close();
  EXPECT_TRUE(run_until([&] { return other.closed == 1; }));
}

TEST_F(ConnectionHandlerSwitchTest,
       FromOutsideWhatWasLeftOverGoesToTheNewHandlerInTheSameIteration) {
  Recorder other;
  recorder.when_data = [](Connection&, ReceiveBuffer&) {};
  start();
  peer.send_all("left over");
  ASSERT_TRUE(run_until([&] { return recorder.events.size() == 2; }));
  Connection& c = connection();
  loop().post([&] {
    hand_over(c, other, recorder);
    EXPECT_TRUE(other.events.empty());
  });
  loop().run_once(0ms);
  EXPECT_EQ(other.received, "left over");
  EXPECT_EQ(c.unconsumed().size(), 0u);
  peer.close();
  EXPECT_TRUE(run_until([&] { return other.closed == 1; }));
}

TEST_F(ConnectionHandlerSwitchTest, WhatTheOldHandlerExpectedDoesNotBindTheNewOne) {
  Recorder other;
  recorder.when_data = [](Connection&, ReceiveBuffer& in) { in.expect(1000); };
  start();
  peer.send_all("short");
  ASSERT_TRUE(run_until([&] { return recorder.events.size() == 2; }));
  Connection& c = connection();
  hand_over(c, other, recorder);
  ASSERT_TRUE(run_until([&] { return other.received == "short"; }));
  peer.send_all("next");
  ASSERT_TRUE(run_until([&] { return other.received == "shortnext"; }));
  peer.close();
  EXPECT_TRUE(run_until([&] { return other.closed == 1; }));
}

TEST_F(ConnectionHandlerSwitchTest, AnExpectationOfTheCallThatSwitchesDoesNotBindTheNewOne) {
  Recorder other;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    in.expect(1000);
    hand_over(c, other, recorder);
  };
  start();
  peer.send_all("short");
  ASSERT_TRUE(run_until([&] { return other.received == "short"; }));
  peer.close();
  EXPECT_TRUE(run_until([&] { return other.closed == 1; }));
}

TEST_F(ConnectionHandlerSwitchTest, WhilePausedTheRestWaitsForResumeAndGoesToTheNewHandler) {
  Recorder other;
  recorder.when_data = [&](Connection& c, ReceiveBuffer&) {
    c.pause_reading();
    hand_over(c, other, recorder);
  };
  start();
  Connection& c = connection();
  peer.send_all("left over");
  run_for(10ms);
  EXPECT_TRUE(other.events.empty());
  c.resume_reading();
  ASSERT_TRUE(run_until([&] { return other.received == "left over"; }));
  peer.close();
  EXPECT_TRUE(run_until([&] { return other.closed == 1; }));
}

TEST_F(ConnectionHandlerSwitchTest, SwitchedInOnOpenTheFirstBytesGoToTheNewHandler) {
  Recorder other;
  recorder.when_open = [&](Connection& c) { hand_over(c, other, recorder); };
  listen();
  peer = RawSocket::connect_to(server->address());
  peer.send_all("hello");
  ASSERT_TRUE(run_until([&] { return other.received == "hello"; }));
  peer.close();
  ASSERT_TRUE(run_until([&] { return other.closed == 1; }));
  EXPECT_EQ(recorder.events, Events{"open"});
}

TEST_F(ConnectionHandlerSwitchTest, ALongChainOfSwitchesPassesEachByteOn) {
  // Longer than what one event may lead to before others have their turn.
  struct Link : ConnectionHandler {
    Link* next = nullptr;
    std::string got;
    void on_data(Connection& c, ReceiveBuffer& in) override {
      got += in.view().first(1).text();
      in.consume(1);
      if (next) c.set_handler(*next);
    }
  };
  std::vector<Link> chain(20);
  for (std::size_t i = 0; i + 1 < chain.size(); ++i) chain[i].next = &chain[i + 1];
  Server chained(loop(), chain[0]);
  chained.listen(SocketAddress::loopback(0));
  peer = RawSocket::connect_to(chained.address());
  peer.send_all("abcdefghijklmnopqrst");
  ASSERT_TRUE(run_until([&] { return !chain.back().got.empty(); }));
  for (std::size_t i = 0; i < chain.size(); ++i) {
    EXPECT_EQ(chain[i].got, std::string(1, static_cast<char>('a' + i)));
  }
}

TEST_F(ConnectionHandlerSwitchTest, SwitchedAtRandomPlacesTheHandlersTogetherGetTheStream) {
  struct Taker : ConnectionHandler {
    std::string* got = nullptr;
    Taker* other = nullptr;
    std::mt19937* random = nullptr;
    bool current = false;
    void on_data(Connection& c, ReceiveBuffer& in) override {
      EXPECT_TRUE(current) << "the old handler was called";
      const std::size_t n = (*random)() % (in.size() + 1);
      *got += in.view().first(n).text();
      in.consume(n);
      // What it leaves goes to the other one, or comes again when more does.
      if ((*random)() % 2 == 0) {
        current = false;
        other->current = true;
        c.set_handler(*other);
      }
    }
    void on_peer_end(Connection& c) override {
      *got += c.unconsumed().text();
      c.close();
    }
  };
  for (unsigned seed = 1; seed <= 10; ++seed) {
    std::mt19937 random(seed);
    std::string got;
    Taker takers[2];
    for (int i = 0; i < 2; ++i) {
      takers[i].got = &got;
      takers[i].other = &takers[1 - i];
      takers[i].random = &random;
    }
    takers[0].current = true;
    Server switching(loop(), takers[0]);
    switching.listen(SocketAddress::loopback(0));
    peer = RawSocket::connect_to(switching.address());
    const std::string all = pattern(50'000, seed);
    for (std::size_t sent = 0; sent < all.size();) {
      const std::size_t n = std::min<std::size_t>(1 + random() % 3000, all.size() - sent);
      feed(peer, std::string_view(all).substr(sent, n));
      sent += n;
      loop().run_once(0ms);
    }
    peer.end();
    EXPECT_TRUE(sees_end(peer));
    ASSERT_TRUE(run_until([&] { return switching.connection_count() == 0; }));
    EXPECT_TRUE(same_bytes(got, all)) << "seed " << seed;
  }
}

TEST_F(ConnectionHandlerSwitchTest, TheOldHandlerMayGoOnceItIsReplaced) {
  Recorder other;
  auto old = std::make_unique<Recorder>();
  Server short_lived(loop(), *old);
  short_lived.listen(SocketAddress::loopback(0));
  peer = RawSocket::connect_to(short_lived.address());
  ASSERT_TRUE(run_until([&] { return old->opened == 1; }));
  short_lived.stop_accepting();
  hand_over(*old->last, other, *old);
  old.reset();
  peer.send_all("hello");
  ASSERT_TRUE(run_until([&] { return other.received == "hello"; }));
  peer.close();
  ASSERT_TRUE(run_until([&] { return other.closed == 1; }));
}

TEST_F(ConnectionHandlerSwitchTest, SwitchedInOnPeerEndTheNewHandlerGetsOnClose) {
  Recorder other;
  recorder.when_peer_end = [&](Connection& c) {
    hand_over(c, other, recorder);
    c.close();
  };
  start();
  peer.end();
  ASSERT_TRUE(run_until([&] { return other.closed == 1; }));
  EXPECT_EQ(other.events, Events{"close"});
  EXPECT_EQ(recorder.events, (Events{"open", "end"}));
}

TEST_F(ConnectionHandlerSwitchTest, SwitchedInOnPeerEndTheNewHandlerIsToldOfTheEndToo) {
  Recorder other;
  recorder.when_peer_end = [&](Connection& c) { hand_over(c, other, recorder); };
  start();
  peer.end();
  ASSERT_TRUE(run_until([&] { return other.closed == 1; }));
  EXPECT_EQ(other.events, (Events{"end", "close"}));
  EXPECT_EQ(recorder.events, (Events{"open", "end"}));
}

TEST_F(ConnectionHandlerSwitchTest, TheNewHandlerDoesNotWaitForWhatTheOldOneExpected) {
  Recorder other;
  recorder.when_data = [](Connection&, ReceiveBuffer& in) {
    in.consume_all();
    in.expect(100);
  };
  start();
  peer.send_all("old");
  ASSERT_TRUE(run_until([&] { return recorder.events.back() == "data"; }));
  hand_over(connection(), other, recorder);
  peer.send_all("new");
  peer.end();
  ASSERT_TRUE(run_until([&] { return other.closed == 1; }));
  EXPECT_EQ(other.received, "new");
}

// The flush of the iteration finds that it cannot send, and what has arrived since the I/O phase.
TEST_F(ConnectionHandlerSwitchTest, TheRestGoesToTheNewHandlerThoughSendingHasFailed) {
  Recorder other;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    in.consume(8);
    hand_over(c, other, recorder);
  };
  start();
  Faults faults;
  loop().post([&] {
    peer.send_all("upgrade!new protocol");
    faults.on(Call::send, Fault::fail(EPIPE));
    connection().send("into the void");
  });
  ASSERT_TRUE(run_until([&] { return other.closed == 1; }));
  EXPECT_EQ(other.received, "new protocol");
  EXPECT_EQ(other.reasons[0], std::errc::broken_pipe);
}

}  // namespace
}  // namespace millrace::test
