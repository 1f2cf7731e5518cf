#include <millrace/send_writer.h>

#include "support/one_peer_test.h"

#include <cstring>
#include <optional>
#include <string>

namespace millrace::test {
namespace {

struct SendWriterTest : OnePeerTest {
  static void put(SendWriter& writer, std::string_view text) {
    ASSERT_LE(text.size(), writer.room().size());
    std::memcpy(writer.room().data(), text.data(), text.size());
  }
};
using SendWriterDeathTest = SendWriterTest;

TEST_F(SendWriterTest, WhatIsWrittenIntoTheRoomAndCommittedIsSent) {
  recorder.when_open = [](Connection& c) {
    c.send("before ");
    {
      SendWriter writer = c.writer(64);
      EXPECT_GE(writer.room().size(), 64u);
      put(writer, "in place");
      EXPECT_EQ(c.queued_bytes(), 7u);
      EXPECT_TRUE(writer.commit(8));
      EXPECT_EQ(c.queued_bytes(), 15u);
    }
    c.send(" after");
  };
  start();
  EXPECT_EQ(receive(peer, 21), "before in place after");
}

TEST_F(SendWriterTest, OnlyTheCommittedBeginningOfTheRoomIsSent) {
  recorder.when_open = [](Connection& c) {
    SendWriter writer = c.writer(64);
    put(writer, "yes, and what was not committed");
    writer.commit(3);
  };
  start();
  EXPECT_EQ(receive(peer, 3), "yes");
  run_for(10ms);
  EXPECT_EQ(peer.receive_some(), "");
}

TEST_F(SendWriterTest, SeveralCommitsFollowOneAnotherInTheSameRoom) {
  recorder.when_open = [](Connection& c) {
    SendWriter writer = c.writer(30);
    for (const char* part : {"one", "two", "three"}) {
      const std::size_t n = std::strlen(part);
      const std::size_t room = writer.room().size();
      put(writer, part);
      EXPECT_TRUE(writer.commit(n));
      EXPECT_EQ(writer.room().size(), room - n);
    }
  };
  start();
  EXPECT_EQ(receive(peer, 11), "onetwothree");
}

TEST_F(SendWriterTest, AWriterWithoutACommitLeavesNoTrace) {
  start();
  for (const std::size_t room :
       {std::size_t{0}, std::size_t{1}, std::size_t{64}, std::size_t{20'000},
        std::size_t{64 * 1024}, std::size_t{1 << 20}}) {
    SendWriter writer = connection().writer(room);
    EXPECT_GE(writer.room().size(), room);
  }
  EXPECT_EQ(connection().queued_bytes(), 0u);
  EXPECT_EQ(loop().services().blocks().live_blocks(), 0u);
  connection().send("a");
  { SendWriter writer = connection().writer(100'000); }
  connection().send("b");
  EXPECT_EQ(receive(peer, 2), "ab");
  EXPECT_EQ(loop().services().blocks().live_blocks(), 0u);
}

TEST_F(SendWriterTest, ARoomLargerThanAnyPooledBlockIsSentWhole) {
  const std::string bytes = pattern(500'000);
  start();
  {
    SendWriter writer = connection().writer(bytes.size());
    put(writer, bytes);
    writer.commit(bytes.size());
  }
  EXPECT_TRUE(same_bytes(receive(peer, bytes.size()), bytes));
}

TEST_F(SendWriterTest, ALargeRoomStaysAfterCommitsThatFillTheQueue) {
  const std::string bytes = pattern(128 * 1024);
  recorder.when_open = [&](Connection& c) {
    SendWriter writer = c.writer(bytes.size());
    for (const std::size_t from : {std::size_t{0}, bytes.size() / 2}) {
      put(writer, std::string_view(bytes).substr(from, bytes.size() / 2));
      EXPECT_TRUE(writer.commit(bytes.size() / 2));
    }
  };
  start();
  EXPECT_TRUE(same_bytes(receive(peer, bytes.size()), bytes));
}

TEST_F(SendWriterTest, ASmallRoomStaysThoughItsFirstCommitFillsTheQueue) {
  const std::string before = pattern(64'000);
  recorder.when_open = [&](Connection& c) {
    c.send(before);
    SendWriter writer = c.writer(3000);
    put(writer, std::string(2000, 'a'));
    EXPECT_TRUE(writer.commit(2000));  // more than 64 KiB wait now
    put(writer, std::string(1000, 'b'));
    EXPECT_TRUE(writer.commit(1000));
  };
  start();
  const std::string wanted = before + std::string(2000, 'a') + std::string(1000, 'b');
  EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
}

TEST_F(SendWriterTest, OneRoomAfterAnotherKeepsTheOrderUnderBackpressure) {
  start_with_small_buffers();
  std::string wanted;
  std::mt19937 random(3);
  for (unsigned i = 0; i < 500; ++i) {
    const std::string part = pattern(random() % 3000, i);
    SendWriter writer = connection().writer(part.size() + random() % 500);
    put(writer, part);
    writer.commit(part.size());
    wanted += part;
    if (i % 7 == 0) {
      { SendWriter abandoned = connection().writer(random() % 5000); }
      connection().send("plain");
      wanted += "plain";
      loop().run_once(0ms);
    }
  }
  EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
}

TEST_F(SendWriterTest, CommitSaysWhetherTheQueueIsAboveTheHighWatermark) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 10;
  recorder.when_open = [](Connection& c) {
    SendWriter writer = c.writer(11);
    put(writer, "0123456789a");
    EXPECT_TRUE(writer.commit(10));
    EXPECT_FALSE(writer.commit(1));
  };
  start(options);
  EXPECT_EQ(receive(peer, 11), "0123456789a");
  EXPECT_EQ(recorder.drained, 1);
}

TEST_F(SendWriterTest, OnAConnectionThatNoLongerSendsWhatIsWrittenGoesNowhere) {
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    if (in.view() == "end") c.end();
    if (in.view() == "close") c.close();
    if (in.view() == "abort") c.abort();
    in.consume_all();
    SendWriter writer = c.writer(100'000);
    EXPECT_GE(writer.room().size(), 100'000u);
    std::memset(writer.room().data(), 'n', 100'000);
    EXPECT_FALSE(writer.commit(60'000));
    EXPECT_GE(writer.room().size(), 40'000u);
    EXPECT_FALSE(writer.commit(40'000));
    EXPECT_EQ(c.queued_bytes(), 0u);
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
    EXPECT_EQ(got, "") << how;
  }
  peer.close();
  EXPECT_TRUE(until_closed(3));
  EXPECT_EQ(loop().services().blocks().live_blocks(), 0u);
}

TEST_F(SendWriterTest, ClosingBetweenRoomAndCommitSendsNothingOfIt) {
  recorder.when_open = [](Connection& c) {
    c.send("before");
    SendWriter writer = c.writer(64);
    put(writer, "never");
    c.close();
    EXPECT_FALSE(writer.commit(5));
  };
  start();
  EXPECT_EQ(receive(peer, 100), "before");
  EXPECT_TRUE(peer.at_end());
}

TEST_F(SendWriterTest, InOnCloseThereIsRoomThatGoesNowhere) {
  recorder.when_close = [](Connection& c, std::error_code) {
    SendWriter writer = c.writer(64);
    put(writer, "never");
    EXPECT_FALSE(writer.commit(5));
  };
  start();
  peer.end();
  EXPECT_TRUE(until_closed());
}

TEST_F(SendWriterTest, CommittingMoreThanTheQueueMayHoldClosesTheConnection) {
  ServerOptions options;
  options.connection.limits.send_queue_bytes = 1000;
  start(options);
  {
    SendWriter writer = connection().writer(1001);
    EXPECT_GE(writer.room().size(), 1001u);
    std::memset(writer.room().data(), 'n', 1001);
    EXPECT_FALSE(writer.commit(1001));
  }
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::send_queue_overflow);
}

TEST_F(SendWriterTest, WhatIsWrittenIsKeptWhileTheRoomGrows) {
  const std::string bytes = pattern(300'000);
  // Alone, and behind what is queued already.
  for (const std::string_view before : {"", "before "}) {
    start();
    connection().send(before);
    {
      SendWriter writer = connection().writer(1);
      std::size_t written = 0;
      for (std::size_t step = 1; written < bytes.size(); step = step * 3 + 1) {
        const std::size_t n = std::min(step, bytes.size() - written);
        const std::span<std::byte> room = writer.grow(written, n);
        ASSERT_GE(room.size(), written + n);
        std::memcpy(room.data() + written, bytes.data() + written, n);
        written += n;
      }
      EXPECT_EQ(connection().queued_bytes(), before.size());
      EXPECT_TRUE(writer.commit(written).accepted());
    }
    connection().send("after");
    const std::string wanted = std::string(before) + bytes + "after";
    EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
  }
  EXPECT_EQ(loop().services().blocks().live_blocks(), 0u);
}

TEST_F(SendWriterTest, ARoomThatHasGrownAndIsAbandonedLeavesNoTrace) {
  start();
  connection().send("a");
  for (const std::size_t more : {std::size_t{1000}, std::size_t{70'000}, std::size_t{1 << 20}}) {
    SendWriter writer = connection().writer(10);
    put(writer, "0123456789");
    writer.grow(10, more);
    EXPECT_EQ(ByteView(writer.room().first(10)).text(), "0123456789");
  }
  connection().send("b");
  EXPECT_EQ(receive(peer, 2), "ab");
  EXPECT_EQ(loop().services().blocks().live_blocks(), 0u);
}

TEST_F(SendWriterTest, OfAConnectionThatNoLongerSendsTheRoomGrowsTooAndGoesNowhere) {
  start();
  connection().close();
  {
    SendWriter writer = connection().writer(10);
    put(writer, "0123456789");
    EXPECT_GE(writer.grow(10, 100'000).size(), 100'010u);
    EXPECT_EQ(ByteView(writer.room().first(10)).text(), "0123456789");
    EXPECT_TRUE(writer.commit(100'010) == SendResult::closed);
  }
  peer.end();
  EXPECT_TRUE(until_closed());
}

TEST_F(SendWriterTest, ARoomThatCannotGrowIsWhatItWas) {
  start();
  SendWriter writer = connection().writer(10);
  put(writer, "0123456789");
  EXPECT_THROW(writer.grow(10, SIZE_MAX), std::bad_alloc);
  EXPECT_THROW(writer.grow(10, SIZE_MAX / 4), std::bad_alloc);
  EXPECT_TRUE(writer.commit(10));
  EXPECT_EQ(receive(peer, 10), "0123456789");
}

TEST_F(SendWriterDeathTest, CommitOfMoreThanTheRoomIsCaught) {
  start();
  EXPECT_DEATH(
      {
        SendWriter writer = connection().writer(10);
        writer.commit(writer.room().size() + 1);
      },
      "more than room");
}

TEST_F(SendWriterDeathTest, ASendBetweenRoomAndCommitIsCaught) {
  start();
  EXPECT_DEATH(
      {
        SendWriter writer = connection().writer(10);
        connection().send("x");
        writer.commit(1);
      },
      "between writer\\(\\) and commit\\(\\)");
}

TEST_F(SendWriterDeathTest, ALargeSendBetweenRoomAndCommitIsCaught) {
  start();
  EXPECT_DEATH(
      {
        SendWriter writer = connection().writer(10);
        connection().send(SharedBytes(ByteView("x")));
        writer.commit(1);
      },
      "between writer\\(\\) and commit\\(\\)");
}

TEST_F(SendWriterDeathTest, AFlushBetweenRoomAndCommitIsCaught) {
  start();
  EXPECT_DEATH(
      {
        connection().send("x");
        SendWriter writer = connection().writer(10);
        connection().flush();
        writer.commit(1);
      },
      "between writer\\(\\) and commit\\(\\)");
}

TEST_F(SendWriterTest, TheOwnerMayGoWhileOneIsOpen) {
  Server other(loop(), recorder);
  other.listen(SocketAddress::loopback(0));
  start();
  const ConnectionRef written = connection().ref();
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    in.consume_all();
    SendWriter writer = written.get()->writer(100'000);
    server.reset();
    std::fill(writer.room().begin(), writer.room().end(), std::byte{1});
    EXPECT_TRUE(writer.commit(100'000) == SendResult::closed);
  };
  RawSocket talker = RawSocket::connect_to(other.address());
  talker.send_all("x");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::owner_destroyed);
}

}  // namespace
}  // namespace millrace::test
