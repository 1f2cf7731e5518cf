// When and how what is sent leaves: in one call when the callback returns, earlier when much has
// come together, in the same iteration wherever it was sent from.
#include "support/one_peer_test.h"

#include <string>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

struct ConnectionSendTest : OnePeerTest {
  Faults faults;
};

TEST_F(ConnectionSendTest, ThirtyTwoRepliesOfOneCallbackLeaveInOneCall) {
  std::uint64_t inside = 0;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    const std::uint64_t before = faults.count(Call::send) + faults.count(Call::sendmsg);
    for (int i = 0; i < 32; ++i) EXPECT_TRUE(c.send("reply " + std::to_string(10 + i)));
    inside = faults.count(Call::send) + faults.count(Call::sendmsg) - before;
  };
  start();
  peer.send_all("x");
  const std::uint64_t before = faults.count(Call::send) + faults.count(Call::sendmsg);
  ASSERT_TRUE(run_until([&] { return connection().stats().bytes_sent == 32 * 8; }));
  EXPECT_EQ(inside, 0u);
  EXPECT_EQ(faults.count(Call::send) + faults.count(Call::sendmsg) - before, 1u);
  const std::string got = receive(peer, 32 * 8);
  EXPECT_EQ(got.substr(0, 16), "reply 10reply 11");
  EXPECT_EQ(got.substr(31 * 8), "reply 41");
}

TEST_F(ConnectionSendTest, MoreThan64KiBLeavesBeforeTheCallbackReturns) {
  const std::string part = pattern(1000);
  std::vector<std::size_t> queued;
  std::string sent;
  recorder.when_open = [&](Connection& c) {
    for (int i = 0; i < 100; ++i) {
      c.send(part);
      sent += part;
      queued.push_back(c.queued_bytes());
    }
    EXPECT_GE(c.stats().bytes_sent, 64'000u);
  };
  start();
  for (std::size_t i = 0; i < 65; ++i) EXPECT_EQ(queued[i], (i + 1) * 1000);
  for (const std::size_t n : queued) EXPECT_LT(n, 64u * 1024);
  EXPECT_TRUE(same_bytes(receive(peer, sent.size()), sent));
}

TEST_F(ConnectionSendTest, OneLargeMessageLeavesAtOnceBehindWhatWasQueuedBefore) {
  const std::string large = pattern(150'000);
  recorder.when_open = [&](Connection& c) {
    c.send("before");
    EXPECT_TRUE(c.send(large));
    EXPECT_EQ(c.stats().bytes_sent, 6 + large.size());
    EXPECT_EQ(c.queued_bytes(), 0u);
    c.send("after");
  };
  start();
  EXPECT_TRUE(same_bytes(receive(peer, large.size() + 11), "before" + large + "after"));
}

TEST_F(ConnectionSendTest, FlushSendsWithoutWaitingForTheCallbackToReturn) {
  recorder.when_open = [&](Connection& c) {
    c.send("now");
    EXPECT_EQ(c.stats().bytes_sent, 0u);
    c.flush();
    EXPECT_EQ(c.stats().bytes_sent, 3u);
    EXPECT_EQ(c.queued_bytes(), 0u);
    c.flush();  // of nothing
    c.send("later");
    EXPECT_EQ(c.stats().bytes_sent, 3u);
  };
  start();
  EXPECT_EQ(receive(peer, 8), "nowlater");
}

TEST_F(ConnectionSendTest, TwoPartsSentTogetherFollowOneAnother) {
  const std::string large = pattern(100'000);
  recorder.when_open = [&](Connection& c) {
    EXPECT_TRUE(c.send_together("header:", "payload"));
    EXPECT_TRUE(c.send_together("", "only"));
    EXPECT_TRUE(c.send_together("another", ""));
    EXPECT_TRUE(c.send_together("large:", large));
    EXPECT_TRUE(c.send_together(large, ":end"));
  };
  start();
  const std::string wanted =
      "header:payload"
      "only"
      "another"
      "large:" +
      large + large + ":end";
  EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
}

TEST_F(ConnectionSendTest, EmptyMessagesSendNothing) {
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    EXPECT_TRUE(c.send(""));
    EXPECT_TRUE(c.send_together("", ""));
    EXPECT_TRUE(c.send(SharedBytes()));
    EXPECT_TRUE(c.send(std::string()));
    EXPECT_TRUE(c.try_send(""));
    EXPECT_EQ(c.queued_bytes(), 0u);
  };
  start();
  peer.send_all("x");
  const std::uint64_t sends = calls_during(faults, Call::send, [&] { run_for(20ms); });
  EXPECT_EQ(sends, 0u);
  EXPECT_EQ(faults.count(Call::sendmsg), 0u);
  EXPECT_EQ(connection().stats().bytes_received, 1u);
}

TEST_F(ConnectionSendTest, AnEmptyMessageHoldsNoMemory) {
  recorder.when_open = [](Connection& c) { c.send(""); };
  start();
  run_for(5ms);
  EXPECT_EQ(loop().services().blocks().live_blocks(), 0u);
}

TEST_F(ConnectionSendTest, AnOwnedStringIsTakenOverAndALentOneIsLeftAlone) {
  std::string lent = pattern(20'000, 1);
  std::string owned = pattern(20'000, 2);
  const char* const bytes = owned.data();
  const std::string wanted = lent + owned;
  recorder.when_open = [&](Connection& c) {
    c.send(lent);
    c.send(std::move(owned));
    EXPECT_NE(static_cast<const void*>(owned.data()), static_cast<const void*>(bytes));
  };
  start();
  EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
  EXPECT_EQ(lent, pattern(20'000, 1));
}

TEST_F(ConnectionSendTest, SharedBytesAreQueuedForManyWithoutCopying) {
  const SharedBytes news{ByteView(pattern(5000))};
  listen();
  std::vector<RawSocket> peers;
  std::vector<Connection*> all;
  for (int i = 0; i < 10; ++i) {
    peers.push_back(connect());
    all.push_back(recorder.last);
  }
  for (Connection* c : all) EXPECT_TRUE(c->send(news));
  EXPECT_EQ(news.owners(), 11u);
  for (RawSocket& one : peers) EXPECT_TRUE(same_bytes(receive(one, 5000), news.view().text()));
  EXPECT_EQ(news.owners(), 1u);
  peers.clear();
  EXPECT_TRUE(until_closed(10));
}

TEST_F(ConnectionSendTest, SharedBytesBelow512AreCopied) {
  start();
  for (const auto& [size, owners] : {std::pair{511u, 1u}, std::pair{512u, 2u}}) {
    const SharedBytes news{ByteView(pattern(size))};
    connection().send(news);
    EXPECT_EQ(news.owners(), owners) << size << " bytes";
    EXPECT_TRUE(same_bytes(receive(peer, size), news.view().text()));
    EXPECT_EQ(news.owners(), 1u);
  }
}

TEST_F(ConnectionSendTest, SharedBytesThatCannotBeSentAreGivenBackAtTheEnd) {
  const SharedBytes news{ByteView(pattern(5000))};
  start();
  faults.on(Call::send, Fault::fail(EAGAIN), {.times = 1000});
  connection().send(news);
  loop().run_once(0ms);
  EXPECT_EQ(news.owners(), 2u);
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(news.owners(), 1u);
}

// Sends "hello" to the connection that was opened first, from somewhere else: it has left when the
// iteration is over.
TEST_F(ConnectionSendTest, WhatAnotherConnectionsCallbackSendsLeavesInTheSameIteration) {
  start();
  Connection& first = connection();
  RawSocket second = connect();
  bool sent = false;
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    in.consume_all();
    first.send("hel");
    first.send("lo");
    EXPECT_EQ(first.stats().bytes_sent, 0u);
    sent = true;
  };
  second.send_all("x");
  while (!sent) loop().run_once(10ms);
  EXPECT_EQ(first.stats().bytes_sent, 5u);
  EXPECT_EQ(receive(peer, 5), "hello");
  second.close();
  EXPECT_TRUE(until_closed());
}

TEST_F(ConnectionSendTest, WhatATimerSendsLeavesInTheSameIteration) {
  start();
  bool sent = false;
  Timer timer = loop().after(1ms, [&] {
    connection().send("hel");
    connection().send("lo");
    EXPECT_EQ(connection().stats().bytes_sent, 0u);
    sent = true;
  });
  const std::uint64_t before = faults.count(Call::send);
  while (!sent) loop().run_once(10ms);
  EXPECT_EQ(connection().stats().bytes_sent, 5u);
  EXPECT_EQ(faults.count(Call::send) - before, 1u);
  EXPECT_EQ(receive(peer, 5), "hello");
}

TEST_F(ConnectionSendTest, WhatAPostedTaskSendsLeavesInTheSameIteration) {
  start();
  loop().post([&] { connection().send("hello"); });
  loop().run_once(0ms);
  EXPECT_EQ(connection().stats().bytes_sent, 5u);
}

TEST_F(ConnectionSendTest, WhatADeferredTaskSendsLeavesInTheSameIteration) {
  start();
  loop().post([&] { loop().defer([&] { connection().send("hello"); }); });
  loop().run_once(0ms);
  EXPECT_EQ(connection().stats().bytes_sent, 5u);
}

TEST_F(ConnectionSendTest, WhatIsSentWhileTheLoopDoesNotRunLeavesInTheNextIteration) {
  start();
  connection().send("hello");
  EXPECT_EQ(connection().stats().bytes_sent, 0u);
  loop().run_once(10s);  // does not sleep: there is work
  EXPECT_EQ(connection().stats().bytes_sent, 5u);
}

// The kernel takes a part only: what is left has nobody's callback to wait for.
TEST_F(ConnectionSendTest, ALargeMessageFromATimerLeavesThoughThePeerReadsSlowly) {
  start_with_small_buffers();
  const std::string large = pattern(300'000);
  Timer timer = loop().after(1ms, [&] { connection().send(large); });
  ASSERT_TRUE(run_until([&] { return connection().queued_bytes() > 0; }));
  EXPECT_TRUE(same_bytes(receive(peer, large.size()), large));
}

TEST_F(ConnectionSendTest, TwoConnectionsThatWriteToEachOtherDoNotKeepTheLoop) {
  start();
  Connection* const first = &connection();
  RawSocket second_peer = connect();
  Connection* const second = &connection();
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    (&c == first ? second : first)->send(in.view());
    in.consume_all();
  };
  peer.send_all("x");
  second_peer.send_all("y");
  EXPECT_EQ(receive(peer, 1), "y");
  EXPECT_EQ(receive(second_peer, 1), "x");
  second_peer.close();
  EXPECT_TRUE(until_closed());
}

TEST_F(ConnectionSendTest, NothingIsSentAfterEndCloseOrAbort) {
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    c.send("yes");
    if (in.view() == "end") c.end();
    if (in.view() == "close") c.close();
    if (in.view() == "abort") c.abort();
    in.consume_all();
    const std::size_t queued = c.queued_bytes();
    EXPECT_FALSE(c.send("no"));
    EXPECT_FALSE(c.send_together("n", "o"));
    EXPECT_FALSE(c.try_send("no"));
    EXPECT_FALSE(c.send(std::string(10'000, 'n')));
    EXPECT_FALSE(c.send(SharedBytes(ByteView("no"))));
    EXPECT_FALSE(c.send(std::string(100'000, 'n')));
    c.flush();
    EXPECT_LE(c.queued_bytes(), queued);
  };
  listen();
  for (const char* how : {"end", "close", "abort"}) {
    peer = connect();
    peer.send_all(how);
    std::string got;
    run_until([&] {
      got += peer.receive_some();
      return peer.at_end() || (peer.last_error() != 0 && peer.last_error() != EAGAIN);
    });
    EXPECT_EQ(got, how == std::string("abort") ? "" : "yes") << how;
  }
  peer.close();
  EXPECT_TRUE(until_closed(3));
}

}  // namespace
}  // namespace millrace::test
