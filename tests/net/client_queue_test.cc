// What is sent before there is a connection: kept, in order, with a bound; given to one connection,
// once; counted when it is given up.
#include <millrace/client.h>
#include <millrace/connection.h>
#include <millrace/error.h>

#include "support/client_test.h"

#include <memory>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

using State = Client::State;

struct ClientQueueTest : OneClientTest {
  void start(const SocketAddress& address) {
    client = std::make_unique<Client>(loop(), recorder, options);
    client->connect(address);
  }
  // The peer of the n-th connection.
  RawSocket accept(int n) {
    EXPECT_TRUE(run_until([&] { return recorder.opened == n; }));
    return listener.accept();
  }
  void reconnect_soon() {
    options.reconnect = {.enabled = true, .first_delay = 1ms, .longest_delay = 1ms};
  }
};

TEST_F(ClientQueueTest, WhatIsSentWhileConnectingArrivesInOrder) {
  start(listener.address());
  EXPECT_EQ(client->send("one "), SendResult::sent);
  EXPECT_EQ(client->send_together("two ", "three ", "four "), SendResult::sent);
  EXPECT_EQ(client->send("five"), SendResult::sent);
  EXPECT_EQ(client->queued_bytes(), 23u);
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, 23), "one two three four five");
  EXPECT_EQ(client->queued_bytes(), 0u);
  EXPECT_EQ(client->stats().dropped_messages, 0u);
}

TEST_F(ClientQueueTest, WhatOnOpenSendsGoesFirstAndWhatFollowsComesAfter) {
  recorder.when_open = [&](Connection& c) {
    client->send("kept 2, ");
    c.send("greeting, ");
    EXPECT_EQ(client->queued_bytes(), 16u) << "it has its place behind what was kept";
  };
  start(listener.address());
  client->send("kept 1, ");
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  client->send("last");
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, 30), "greeting, kept 1, kept 2, last");
}

TEST_F(ClientQueueTest, GreetingAndWhatWasKeptLeaveInOneCall) {
  recorder.when_open = [&](Connection& c) { c.send("greeting, "); };
  start(listener.address());
  client->send("kept 1, ");
  client->send("kept 2");
  Faults faults;
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, 24), "greeting, kept 1, kept 2");
  EXPECT_EQ(faults.count(Call::send) + faults.count(Call::sendmsg), 1u);
}

TEST_F(ClientQueueTest, ConnectedItIsTheConnectionsSend) {
  options.connection.limits.high_watermark_bytes = 3;
  start(listener.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  EXPECT_EQ(client->send("abcd"), SendResult::above_watermark);
  EXPECT_EQ(client->connection()->queued_bytes(), 4u);
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, 4), "abcd");
}

TEST_F(ClientQueueTest, NothingIsKeptWhereNoConnectionIsToCome) {
  client = std::make_unique<Client>(loop(), recorder);
  EXPECT_EQ(client->send("x"), SendResult::closed) << "idle";
  client->connect(listener.address());
  client->close();
  EXPECT_EQ(client->send("x"), SendResult::closed) << "cancelled";
  ASSERT_TRUE(run_until([&] { return recorder.connect_failed == 1; }));
  client->connect(listener.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  recorder.when_close = [&](Connection&, std::error_code) {
    EXPECT_EQ(client->send("x"), SendResult::closed) << "in on_close, without reconnect";
  };
  client->close();
  EXPECT_EQ(client->send("x"), SendResult::closed) << "closing";
  RawSocket first = listener.accept();
  first.close();
  RawSocket second = listener.accept();
  second.close();
  ASSERT_TRUE(run_until([&] { return recorder.closed == 1; }));
  EXPECT_EQ(client->stats().dropped_messages, 0u) << "it was never taken";
}

TEST_F(ClientQueueTest, BeyondTheBoundItRefusesAndWhatFitsStillGoesIn) {
  options.queue_bytes = 10;
  start(listener.address());
  EXPECT_EQ(client->send("12345678"), SendResult::sent);
  EXPECT_EQ(client->send("abc"), SendResult::refused);
  EXPECT_EQ(client->send("de"), SendResult::sent);
  EXPECT_EQ(client->send("f"), SendResult::refused);
  EXPECT_EQ(client->send("0123456789a"), SendResult::too_large);
  EXPECT_EQ(client->queued_bytes(), 10u);
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, 10), "12345678de");
  EXPECT_TRUE(run_until([&] { return recorder.drained == 1; })) << "somebody was refused";
  EXPECT_EQ(recorder.drained, 1);
}

TEST_F(ClientQueueTest, WhoWasNotRefusedIsNotToldThatThereIsRoom) {
  start(listener.address());
  client->send("x");
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, 1), "x");
  run_for(5ms);
  EXPECT_EQ(recorder.drained, 0);
}

TEST_F(ClientQueueTest, AMebibyteIsKeptUnlessToldOtherwise) {
  start(listener.address());
  const std::string kib(1024, 'k');
  for (int i = 0; i < 1024; ++i) ASSERT_EQ(client->send(kib), SendResult::sent);
  EXPECT_EQ(client->send("x"), SendResult::refused);
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, 1 << 20), std::string(1 << 20, 'k'));
}

TEST_F(ClientQueueTest, NoLimitOfTheConnectionRefusesWhatWasKept) {
  options.connection.limits.high_watermark_bytes = 8;
  options.connection.limits.send_queue_bytes = 16;
  start(listener.address());
  client->send(std::string(100, 'q'));
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, 100), std::string(100, 'q'));
  EXPECT_EQ(recorder.closed, 0);
}

// C4: whoever queued hears of the failed attempt, and then that what was queued is gone.
TEST_F(ClientQueueTest, WhenTheAttemptFailsItIsDroppedAndCountedBeforeTheReport) {
  ClientStats seen;
  client = std::make_unique<Client>(loop(), Callbacks{.on_connect_failed = [&](std::error_code) {
                                      seen = client->stats();
                                      EXPECT_EQ(client->queued_bytes(), 0u);
                                    }});
  client->connect(ClosedPort().address());
  client->send("abc");
  client->send("de");
  ASSERT_TRUE(run_until([&] { return client->state() == State::idle; }));
  EXPECT_EQ(seen.dropped_messages, 2u);
  EXPECT_EQ(seen.dropped_bytes, 5u);
  EXPECT_EQ(seen.failures, 1u);
}

TEST_F(ClientQueueTest, AcrossFailedAttemptsItIsKept) {
  reconnect_soon();
  Faults faults;
  faults.on(Call::connect, Fault::fail(ECONNREFUSED), {.times = 3});
  start(listener.address());
  client->send("a");
  ASSERT_TRUE(run_until([&] { return recorder.connect_failed == 2; }));
  client->send("b");
  RawSocket peer = accept(1);
  EXPECT_EQ(receive(peer, 2), "ab");
}

TEST_F(ClientQueueTest, WhileItWaitsToReconnectItIsKept) {
  reconnect_soon();
  recorder.when_close = [&](Connection&, std::error_code) {
    EXPECT_EQ(client->send("from on_close, "), SendResult::sent);
  };
  start(listener.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  listener.accept().close();
  ASSERT_TRUE(run_until([&] { return recorder.closed == 1; }));
  EXPECT_EQ(client->send("from outside"), SendResult::sent);
  RawSocket peer = accept(2);
  EXPECT_EQ(receive(peer, 27), "from on_close, from outside");
  recorder.when_close = nullptr;
}

TEST_F(ClientQueueTest, WhatAConnectionWasGivenIsNotSentAgainByTheNext) {
  reconnect_soon();
  start(listener.address());
  client->send("first");
  RawSocket peer = listener.accept();
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  peer.reset();
  ASSERT_TRUE(run_until([&] { return recorder.closed == 1; }));
  client->send("second");
  RawSocket next = accept(2);
  EXPECT_EQ(receive(next, 6), "second");
}

TEST_F(ClientQueueTest, AConnectionThatOnOpenEndsTakesNothingWithIt) {
  reconnect_soon();
  recorder.when_open = [&](Connection& c) {
    if (recorder.opened == 1) c.abort();
  };
  start(listener.address());
  client->send("kept");
  ASSERT_TRUE(run_until([&] { return recorder.opened == 2; }));
  RawSocket aborted = listener.accept();
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, 4), "kept");
}

TEST_F(ClientQueueTest, AnOnOpenThatThrowsTakesNothingWithIt) {
  reconnect_soon();
  loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  recorder.when_open = [&](Connection&) {
    if (recorder.opened == 1) throw 1;
  };
  start(listener.address());
  client->send("kept");
  ASSERT_TRUE(run_until([&] { return recorder.opened == 2; }));
  RawSocket broken = listener.accept();
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, 4), "kept");
}

TEST_F(ClientQueueTest, CloseInOnOpenStillDeliversIt) {
  recorder.when_open = [&](Connection&) { client->close(); };
  start(listener.address());
  client->send("all of it");
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, 9), "all of it");
  EXPECT_TRUE(sees_end(peer));
  EXPECT_EQ(client->stats().dropped_messages, 0u);
}

TEST_F(ClientQueueTest, CloseBeforeAConnectionDropsAndCountsIt) {
  start(listener.address());
  client->send("abc");
  client->close();
  EXPECT_EQ(client->queued_bytes(), 0u);
  EXPECT_EQ(client->stats().dropped_messages, 1u);
  EXPECT_EQ(client->stats().dropped_bytes, 3u);
}

TEST_F(ClientQueueTest, CloseWhileItWaitsDropsAndCountsIt) {
  options.reconnect = {.enabled = true, .first_delay = 1h};
  start(ClosedPort().address());
  client->send("abc");
  ASSERT_TRUE(run_until([&] { return client->state() == State::waiting; }));
  EXPECT_EQ(client->queued_bytes(), 3u);
  client->close();
  EXPECT_EQ(client->stats().dropped_bytes, 3u);
}

TEST_F(ClientQueueTest, GivingUpDropsAndCountsIt) {
  reconnect_soon();
  options.reconnect.max_attempts = 3;
  start(ClosedPort().address());
  client->send("abc");
  ASSERT_TRUE(run_until([&] { return client->state() == State::idle; }));
  EXPECT_EQ(recorder.connect_failed, 3);
  EXPECT_EQ(client->stats().dropped_bytes, 3u);
  EXPECT_EQ(client->send("x"), SendResult::closed);
}

TEST_F(ClientQueueTest, ForAnotherEndpointNothingIsKept) {
  reconnect_soon();
  recorder.when_close = [&](Connection&, std::error_code) {
    client->send("for the old one");
    client->connect(listener.address());
    client->send("for the new one");
  };
  start(listener.address());
  ASSERT_TRUE(run_until([&] { return recorder.opened == 1; }));
  listener.accept().close();
  RawSocket peer = accept(2);
  EXPECT_EQ(receive(peer, 15), "for the new one");
  EXPECT_EQ(client->stats().dropped_messages, 1u);
  recorder.when_close = nullptr;
}

TEST_F(ClientQueueTest, ATailTheKernelRefusesAtFirstFollowsInOrder) {
  options.socket.send_buffer_bytes = 1;
  options.queue_bytes = 4 << 20;
  start(listener.address());
  std::string all;
  for (int i = 0; all.size() < 300'000; ++i) {
    const std::string line = "line " + std::to_string(i) + "\n";
    ASSERT_TRUE(client->send(line).accepted());
    all += line;
  }
  RawSocket peer = listener.accept();
  EXPECT_EQ(receive(peer, all.size()), all);
}

}  // namespace
}  // namespace millrace::test
