// What was just received and is sent back is not copied, and nobody can tell: it leaves before the
// next receive overwrites it, or is copied before that.
#include <millrace/error.h>
#include <millrace/pipe.h>
#include <millrace/send_writer.h>

#include "support/mappings.h"
#include "support/one_peer_test.h"
#include "support/send_queue_test.h"

#include <cerrno>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct ConnectionBorrowedSendTest : OnePeerTest {
  static constexpr std::size_t kLarge = 16 * 1024;

  // What the next receive does, at the worst moment.
  static void overwrite(ByteView received) {
    std::memset(const_cast<std::byte*>(received.data()), '#', received.size());
  }
  // Has other bytes received by another connection, into the same memory.
  void receive_something_else() {
    RawSocket other = connect();
    recorder.when_data = {};
    recorder.received.clear();
    const std::string bytes(60'000, '#');
    other.send_all(bytes);
    ASSERT_TRUE(run_until([&] { return recorder.received.size() == bytes.size(); }));
  }
  // With a peer that reads only when told to, so that the kernel takes a few KiB.
  void start_blocking() {
    ServerOptions options;
    options.listen.socket.send_buffer_bytes = 4096;
    start(options, 4096);
  }

  Faults faults;
};

TEST_F(ConnectionBorrowedSendTest, ALargeReplyGoesFromWhereItWasReceived) {
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    EXPECT_TRUE(c.send(in.view()));
    overwrite(in.view());
    in.consume_all();
  };
  start();
  peer.send_all(pattern(kLarge));
  EXPECT_TRUE(same_bytes(receive(peer, kLarge), std::string(kLarge, '#'))) << "it was copied";
  EXPECT_EQ(faults.count(Call::sendmsg), 0u) << "a single piece";
}

TEST_F(ConnectionBorrowedSendTest, ALargePayloadGoesFromWhereItWasReceivedWithAHeaderBeforeIt) {
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    std::string header = "header";
    EXPECT_TRUE(c.send_together(header, in.view(), "trailer"));
    header = "######";
    overwrite(in.view());
    in.consume_all();
  };
  start();
  peer.send_all(pattern(kLarge));
  EXPECT_TRUE(
      same_bytes(receive(peer, kLarge + 13), "header" + std::string(kLarge, '#') + "trailer"));
}

TEST_F(ConnectionBorrowedSendTest, OtherMemoryMayChangeAsSoonAsItIsSent) {
  std::string reply = pattern(kLarge, 2);
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    c.send(reply);
    overwrite(reply);
  };
  start();
  peer.send_all("x");
  EXPECT_TRUE(same_bytes(receive(peer, kLarge), pattern(kLarge, 2)));
}

TEST_F(ConnectionBorrowedSendTest, WhatASecondConnectionSendsOfItIsCopied) {
  Connection* second = nullptr;
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    EXPECT_TRUE(second->send(in.view()));
    overwrite(in.view());
    in.consume_all();
  };
  start();
  RawSocket other = connect();
  second = &connection();
  peer.send_all(pattern(kLarge));
  EXPECT_TRUE(same_bytes(receive(other, kLarge), pattern(kLarge)));
}

TEST_F(ConnectionBorrowedSendTest, WhatTheKernelRefusesIsCopiedBeforeAnythingElseIsReceived) {
  start_blocking();
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    c.send(in.view());
    in.consume_all();
  };
  const std::string bytes = pattern(3 * kLarge);
  peer.send_all(bytes);
  Connection& first = connection();
  ASSERT_TRUE(run_until([&] { return first.stats().bytes_received == bytes.size(); }));
  EXPECT_GT(first.queued_bytes(), 0u);
  receive_something_else();
  EXPECT_TRUE(same_bytes(receive(peer, bytes.size()), bytes));
}

TEST_F(ConnectionBorrowedSendTest, WhatIsBorrowedAfterAnEarlyFlushWasRefusedIsCopied) {
  start();
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    c.send(in.view());
    faults.on(Call::send, Fault::fail(EAGAIN), {.fd = c.native_handle()});
    c.flush();
    c.send(in.view());
    overwrite(in.view());
    in.consume_all();
  };
  const std::string bytes = pattern(kLarge);
  peer.send_all(bytes);
  EXPECT_TRUE(same_bytes(receive(peer, 2 * kLarge), bytes + bytes));
}

TEST_F(ConnectionBorrowedSendTest, MoreThanOneCallbackMaySendLeavesByAndByUnchanged) {
  start_blocking();
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    for (int i = 0; i < 200; ++i) c.send(in.view());
    in.consume_all();
  };
  const std::string bytes = pattern(kLarge);
  peer.send_all(bytes);
  Connection& first = connection();
  ASSERT_TRUE(run_until([&] { return first.stats().bytes_received == kLarge; }));
  EXPECT_GT(first.queued_bytes(), 0u);
  receive_something_else();
  std::string wanted;
  for (int i = 0; i < 200; ++i) wanted += bytes;
  EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
}

// Everything that can be queued, around what is borrowed, to a peer that takes it slowly.
TEST_F(ConnectionBorrowedSendTest, PiecesOfAllKindsArriveInOrderAtASlowReader) {
  std::mt19937 random(3);
  std::string wanted;
  const std::string content = pattern(10'000, 9);
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    while (!in.empty()) {
      const ByteView part =
          in.view().first(std::min<std::size_t>(in.size(), 1 + random() % 30'000));
      const std::string small = "<" + std::to_string(part.size()) + ">";
      const auto expect = [&](std::string_view more) { wanted += more; };
      switch (random() % 7) {
        case 0:
          c.send(part);
          expect(part.text());
          break;
        case 1:
          c.send_together(small, part, small);
          expect(small + std::string(part.text()) + small);
          break;
        case 2:
          c.send_together(part.first(part.size() / 2), SharedBytes(ByteView(content)),
                          part.from(part.size() / 2));
          expect(part.first(part.size() / 2).text());
          expect(content);
          expect(part.from(part.size() / 2).text());
          break;
        case 3:
          c.send_file(file_of(content), 10, 9'000);
          expect(std::string_view(content).substr(10, 9'000));
          c.send(part);
          expect(part.text());
          break;
        case 4: {
          c.send(part);
          expect(part.text());
          SendWriter writer = c.writer(small.size());
          std::memcpy(writer.room().data(), small.data(), small.size());
          writer.commit(small.size());
          expect(small);
          break;
        }
        case 5:
          c.send(part);
          expect(part.text());
          c.flush();
          break;
        default:
          c.send(std::string(part.text()));
          expect(part.text());
          break;
      }
      in.consume(part.size());
    }
  };
  start_with_small_buffers();
  std::string got;
  const std::string bytes = pattern(2'000'000, 4);
  std::string_view left = bytes;
  ASSERT_TRUE(run_until(
      [&] {
        left.remove_prefix(peer.send_some(left.substr(0, 1 + random() % 100'000)));
        got += peer.receive_some(1 + random() % 20'000);
        return left.empty() && connection().stats().bytes_received == bytes.size() &&
               got.size() == wanted.size();
      },
      60s))
      << left.size() << " left to send, got " << got.size() << " of " << wanted.size();
  EXPECT_TRUE(same_bytes(got, wanted));
}

TEST_F(ConnectionBorrowedSendTest, WithoutMemoryForACopyTheConnectionIsResetAtTheSend) {
  Mappings mappings;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    mappings.refuse(true);
    EXPECT_FALSE(c.send(in.view())) << "there must be room for what the kernel refuses";
    mappings.refuse(false);
    in.consume_all();
  };
  start();
  peer.send_all(pattern(kLarge));
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::not_enough_memory);
}

TEST_F(ConnectionBorrowedSendTest, CopyingWhatTheKernelRefusesNeedsNoMemory) {
  Mappings mappings;
  start();
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    c.send_together("header", in.view(), "trailer");
    in.consume_all();
    faults.on(Call::sendmsg, Fault::shorten(100), {.fd = c.native_handle()});
    mappings.refuse(true);
  };
  const std::string bytes = pattern(kLarge);
  peer.send_all(bytes);
  Connection& first = connection();
  ASSERT_TRUE(run_until([&] { return first.queued_bytes() > 0; }));
  mappings.refuse(false);
  receive_something_else();
  EXPECT_TRUE(same_bytes(receive(peer, kLarge + 13), "header" + bytes + "trailer"));
}

TEST_F(ConnectionBorrowedSendTest, WhatIsBorrowedStillArrivesWhenTheCallbackClosesOrEnds) {
  for (const bool closes : {true, false}) {
    start();
    recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
      faults.on(Call::send, Fault::shorten(3000), {.fd = c.native_handle()});
      c.send(in.view());
      closes ? c.close() : c.end();
      in.consume_all();
    };
    const std::string bytes = pattern(kLarge);
    peer.send_all(bytes);
    EXPECT_TRUE(same_bytes(receive(peer, kLarge), bytes));
    EXPECT_TRUE(sees_end(peer));
    peer.close();
    ASSERT_TRUE(run_until([&] { return recorder.live.empty(); }));
    EXPECT_EQ(recorder.reasons.back(), std::error_code());
  }
}

TEST_F(ConnectionBorrowedSendTest, WhatIsBorrowedIsLostWithAConnectionThatAbortsOrThrows) {
  loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  for (const bool throws : {true, false}) {
    std::uint64_t undelivered = 0;
    recorder.when_close = [&](Connection& c, std::error_code) {
      undelivered = c.stats().undelivered_bytes;
    };
    start();
    recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
      c.send(in.view());
      if (throws) throw std::runtime_error("after sending");
      c.abort();
    };
    peer.send_all(pattern(kLarge));
    ASSERT_TRUE(run_until([&] { return recorder.live.empty(); }));
    EXPECT_EQ(recorder.reasons.back(), throws ? error::handler_exception : error::aborted);
    EXPECT_GE(undelivered, kLarge);
    EXPECT_FALSE(sees_end(peer));
  }
}

TEST_F(ConnectionBorrowedSendTest, AFailedSendOfWhatIsBorrowedStillDeliversWhatHasArrived) {
  start();
  int times = 0;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    if (++times == 1) {
      faults.on(Call::send, Fault::fail(EPIPE), {.fd = c.native_handle()});
      c.send(in.view());
      peer.send_all("last words");
    } else {
      recorder.received += in.view().text();
    }
    in.consume_all();
  };
  peer.send_all(pattern(kLarge));
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.received, "last words");
  EXPECT_EQ(recorder.reasons[0], std::errc::broken_pipe);
}

TEST_F(ConnectionBorrowedSendTest, ReceivedBytesOfAnInputThatIsStoredAreCopied) {
  start();
  int times = 0;
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    EXPECT_EQ(in.size(), kLarge);
    if (++times == 1) {  // left over, and delivered again from where it is stored
      c.pause_reading();
      c.loop().defer([&c] { c.resume_reading(); });
      return;
    }
    c.send(in.view());
    overwrite(in.view());
    in.consume_all();
  };
  const std::string bytes = pattern(kLarge);
  peer.send_all(bytes);
  EXPECT_TRUE(same_bytes(receive(peer, kLarge), bytes));
}

}  // namespace
}  // namespace millrace::test
