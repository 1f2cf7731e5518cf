// What a flush tells of the kernel: blocked, failed, cut anywhere; and SIGPIPE, which never comes.
#include "send_queue.h"
#include "support/random.h"
#include "support/send_queue_test.h"
#include "support/signal_test.h"

#include <cerrno>
#include <string>

namespace millrace::test {
namespace {

struct SendQueueFlushTest : SendQueueTest {};

TEST_F(SendQueueFlushTest, IsBlockedWhenTheKernelRefuses) {
  StreamPair pair(StreamPair::Kind::tiny_unix);
  append(std::string(1'000'000, 'x'));
  SendQueue::Flushed flushed = flush(pair.ours.fd());
  EXPECT_TRUE(flushed.blocked);
  EXPECT_EQ(flushed.error, 0);
  EXPECT_GT(flushed.bytes, 0u);
  flushed = flush(pair.ours.fd());
  EXPECT_TRUE(flushed.blocked);
  EXPECT_EQ(drain(pair), std::string(1'000'000, 'x'));
}

TEST_F(SendQueueFlushTest, IsNotBlockedWhenItsTurnIsUsedUp) {
  StreamPair pair;
  for (int i = 0; i < 48; ++i) append(std::string(kBlock, 'x'));
  std::string received;
  while (!queue.empty()) {
    const auto flushed = flush(pair.ours.fd());
    ASSERT_EQ(flushed.error, 0);
    // Empty, refused, or at least the 1 MiB of one turn.
    EXPECT_TRUE(flushed.blocked || queue.empty() || flushed.bytes >= std::size_t{1} << 20);
    received += receive(pair);
  }
  EXPECT_TRUE(received == std::string(48 * kBlock, 'x'));
}

TEST_F(SendQueueFlushTest, RefusalsAndInterruptionsLoseNothing) {
  StreamPair pair;
  Faults faults;
  append("in one block");
  faults.on(Call::send, Fault::fail(EINTR), {.times = 3});
  faults.on(Call::send, Fault::fail(EAGAIN));
  auto flushed = flush(pair.ours.fd());
  EXPECT_TRUE(flushed.blocked);
  EXPECT_EQ(flushed.bytes, 0u);
  EXPECT_EQ(faults.count(Call::send), 4u);
  queue.append(SharedBytes(ByteView(" and another")), pool);
  faults.on(Call::sendmsg, Fault::fail(EINTR), {.times = 2});
  faults.on(Call::sendmsg, Fault::fail(EAGAIN));
  flushed = flush(pair.ours.fd());
  EXPECT_TRUE(flushed.blocked);
  EXPECT_EQ(drain(pair), "in one block and another");
  append_file(file_of("a file"), 0, 6);
  faults.on(Call::sendfile, Fault::fail(EINTR), {.times = 2});
  faults.on(Call::sendfile, Fault::fail(EAGAIN));
  flushed = flush(pair.ours.fd());
  EXPECT_TRUE(flushed.blocked);
  EXPECT_EQ(drain(pair), "a file");
}

TEST_F(SendQueueFlushTest, TellsTheErrorOfTheCallThatFailedAndKeepsTheBytes) {
  StreamPair pair;
  for (const int error : {ECONNRESET, ENOBUFS, ENOMEM}) {
    Faults faults;
    append("one block");
    faults.on(Call::send, Fault::fail(error));
    EXPECT_EQ(flush(pair.ours.fd()).error, error);
    queue.append(SharedBytes(ByteView("shared")), pool);
    faults.on(Call::sendmsg, Fault::fail(error));
    EXPECT_EQ(flush(pair.ours.fd()).error, error);
    EXPECT_EQ(queue.bytes(), 15u);
    queue.clear(pool);
    append_file(file_of("file"), 0, 4);
    faults.on(Call::sendfile, Fault::fail(error));
    EXPECT_EQ(flush(pair.ours.fd()).error, error);
    EXPECT_EQ(queue.bytes(), 4u);
    queue.clear(pool);
  }
}

TEST_F(SendQueueFlushTest, WhatWentOutBeforeAnErrorIsCounted) {
  StreamPair pair;
  append("before");
  append_file(file_of("file"), 0, 4);
  Faults faults;
  faults.on(Call::sendfile, Fault::fail(ECONNRESET));
  const auto flushed = flush(pair.ours.fd());
  EXPECT_EQ(flushed.error, ECONNRESET);
  EXPECT_EQ(flushed.bytes, 6u);
  EXPECT_EQ(receive(pair), "before");
}

// The same queue of pieces of every kind, the first call of each kind cut after `cut` bytes.
TEST_F(SendQueueFlushTest, IsCutAnywhereAndGoesOnThere) {
  const std::string expected = "first shared file last";
  StreamPair pair;
  for (const Call call : {Call::sendmsg, Call::sendfile, Call::send}) {
    for (std::size_t cut = 1; cut < 14; ++cut) {
      append("first ");
      queue.append(SharedBytes(ByteView("shared ")), pool);
      append_file(file_of("--file --"), 2, 5);
      append("last");
      Faults faults;
      faults.on(call, Fault::shorten(cut), {.times = 3});
      EXPECT_EQ(drain(pair), expected) << "cut after " << cut;
    }
  }
}

TEST_F(SendQueueFlushTest, ByteByByteItStillArrives) {
  StreamPair pair;
  Faults faults;
  faults.on(Call::send, Fault::shorten(1), {.times = 10'000});
  faults.on(Call::sendmsg, Fault::shorten(1), {.times = 10'000});
  faults.on(Call::sendfile, Fault::shorten(1), {.times = 10'000});
  std::string expected;
  for (int i = 0; i < 50; ++i) {
    append("plain");
    queue.append(SharedBytes(ByteView("shared")), pool);
    append_file(file_of("file"), 0, 4);
    expected += "plainsharedfile";
  }
  EXPECT_EQ(drain(pair), expected);
}

TEST_F(SendQueueFlushTest, WhatIsGivenBehindTheQueueGoesWithItUncopied) {
  StreamPair pair;
  append("queued ");
  std::size_t taken = 99;
  const Faults calls;
  auto flushed = flush_with(pair.ours.fd(), {"first ", "second"}, &taken);
  EXPECT_EQ(taken, 12u);
  EXPECT_EQ(flushed.bytes, 19u);
  EXPECT_EQ(calls.count(Call::sendmsg) + calls.count(Call::send), 1u);
  flushed = flush_with(pair.ours.fd(), {ByteView(), "!"}, &taken);
  EXPECT_EQ(taken, 1u);
  flushed = flush_with(pair.ours.fd(), {}, &taken);
  EXPECT_EQ(taken, 0u);
  EXPECT_EQ(flushed.bytes, 0u);
  EXPECT_EQ(receive(pair), "queued first second!");
  EXPECT_EQ(pool.live_blocks(), 0u);
}

TEST_F(SendQueueFlushTest, WhatIsGivenBehindTheQueueIsTakenAsFarAsTheKernelTakesIt) {
  const std::string first = "first ";
  const std::string second = "second";
  StreamPair pair;
  for (std::size_t cut = 0; cut <= 19; ++cut) {
    append("queued ");
    Faults faults;
    if (cut > 0) {
      faults.on(Call::sendmsg, Fault::shorten(cut));
    } else {
      faults.on(Call::sendmsg, Fault::fail(EAGAIN));
    }
    std::size_t taken = 99;
    const auto flushed = flush_with(pair.ours.fd(), {first, second}, &taken);
    EXPECT_EQ(flushed.blocked, cut < 19) << cut;
    EXPECT_EQ(taken, cut > 7 ? cut - 7 : 0) << cut;
    EXPECT_EQ(queue.bytes(), cut < 7 ? 7 - cut : 0) << cut;
    append((first + second).substr(taken));
    EXPECT_EQ(drain(pair), "queued first second") << cut;
  }
}

TEST_F(SendQueueFlushTest, NothingIsTakenBehindAQueueThatFails) {
  StreamPair pair;
  append("queued");
  Faults faults;
  faults.on(Call::sendmsg, Fault::fail(ECONNRESET));
  std::size_t taken = 99;
  EXPECT_EQ(flush_with(pair.ours.fd(), {"more", {}}, &taken).error, ECONNRESET);
  EXPECT_EQ(taken, 0u);
  EXPECT_EQ(queue.bytes(), 6u);
}

TEST_F(SendQueueFlushTest, WhatIsGivenBehindManyPiecesAndFilesGoesLast) {
  StreamPair pair;
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    const std::string piece = std::to_string(i) + ",";
    queue.append(SharedBytes(ByteView(piece)), pool);
    expected += piece;
    if (i % 30 != 0) continue;
    append_file(file_of("file,"), 0, 5);
    expected += "file,";
  }
  std::size_t taken = 0;
  flush_with(pair.ours.fd(), {"first", "second"}, &taken);
  EXPECT_EQ(taken, 11u);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(receive(pair), expected + "firstsecond");
}

TEST_F(SendQueueFlushTest, AFileThatIsShorterThanPromisedIsAnError) {
  StreamPair pair;
  append_file(file_of("short"), 0, 100);
  auto flushed = flush(pair.ours.fd());
  EXPECT_EQ(flushed.error, EIO);
  EXPECT_EQ(flushed.bytes, 5u);
  EXPECT_EQ(receive(pair), "short");
  queue.clear(pool);
  append_file(file_of("short"), 5, 1);
  flushed = flush(pair.ours.fd());
  EXPECT_EQ(flushed.error, EIO);
  EXPECT_EQ(flushed.bytes, 0u);
}

TEST_F(SendQueueFlushTest, AFileThatShrinksWhileItIsSentIsAnError) {
  StreamPair pair(StreamPair::Kind::tiny_unix);
  UniqueFd file = file_of(std::string(1'000'000, 'f'));
  const UniqueFd other(::dup(file.get()));
  append_file(std::move(file), 0, 1'000'000);
  EXPECT_TRUE(flush(pair.ours.fd()).blocked);
  ASSERT_EQ(::ftruncate(other.get(), 10), 0);
  int error = 0;
  while (error == 0 && !queue.empty()) {
    receive(pair);
    error = flush(pair.ours.fd()).error;
  }
  EXPECT_EQ(error, EIO);
}

TEST_F(SendQueueFlushTest, WhatIsNoFileIsAnError) {
  StreamPair pair;
  append_file(UniqueFd(::open("/", O_RDONLY | O_CLOEXEC)), 0, 10);
  EXPECT_NE(flush(pair.ours.fd()).error, 0);
}

// The peer is gone and its reset has come: every further byte says EPIPE.
void break_pipe(StreamPair& pair) {
  pair.theirs.reset();
  char byte;
  while (::recv(pair.ours.fd(), &byte, 1, 0) == -1 && errno == EAGAIN) {
  }
}

TEST_F(SendQueueFlushTest, ABrokenPipeIsAnErrorAndNoSignal) {
  struct sigaction action {};
  ::sigaction(SIGPIPE, nullptr, &action);
  ASSERT_EQ(action.sa_handler, SIG_DFL) << "so that the signal would end this program";
  StreamPair pair;
  break_pipe(pair);
  append("one block");
  EXPECT_EQ(flush(pair.ours.fd()).error, EPIPE);
  queue.append(SharedBytes(ByteView("shared")), pool);
  EXPECT_EQ(flush(pair.ours.fd()).error, EPIPE);
  queue.clear(pool);
  append_file(file_of("file"), 0, 4);
  EXPECT_EQ(flush(pair.ours.fd()).error, EPIPE);
  EXPECT_FALSE(is_pending(SIGPIPE));
  EXPECT_FALSE(is_blocked(SIGPIPE));
  ::sigaction(SIGPIPE, nullptr, &action);
  EXPECT_EQ(action.sa_handler, SIG_DFL);
}

TEST_F(SendQueueFlushTest, ASignalOfSomebodyElseIsLeftPending) {
  StreamPair pair;
  break_pipe(pair);
  const Blocked blocked(SIGPIPE);
  ::raise(SIGPIPE);
  append_file(file_of("file"), 0, 4);
  EXPECT_EQ(flush(pair.ours.fd()).error, EPIPE);
  EXPECT_TRUE(is_pending(SIGPIPE));
  EXPECT_TRUE(is_blocked(SIGPIPE));
}

}  // namespace
}  // namespace millrace::test
