// Proofs of defects found by reading the newest code; each expects what the headers promise.
#include <millrace/listener.h>
#include <millrace/pipe.h>
#include <millrace/send_writer.h>

#include "support/captured_log.h"
#include "support/pipe_test.h"
#include "support/sockets.h"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace millrace::test {
namespace {

using ReviewTest = OnePeerTest;
using ReviewPipeTest = PipeTest;

// A stream that was cut must not look complete: not when the server of its source drains either.
TEST_F(ReviewPipeTest, ADrainDoesNotCutAStreamThatStillRuns) {
  open_piped(small_buffers(), 4096);
  const std::string all = pattern(300'000);
  std::string_view rest = all;
  std::string got;
  bool drained = false;
  ASSERT_TRUE(run_until([&] {
    if (!rest.empty()) {
      rest.remove_prefix(left.send_some(rest));
      if (rest.size() < 200'000 && !drained) {
        drained = true;
        server->drain(1h);
      }
      if (rest.empty()) left.end();
    }
    got += right.receive_some(5000);
    return right.at_end();
  }));
  EXPECT_TRUE(same_bytes(got, all));
}

TEST_F(ReviewPipeTest, ADrainOfTheSinksServerDoesNotCutTheStreamEither) {
  open_piped(small_buffers(), 4096);
  const std::string all = pattern(300'000);
  std::string_view rest = all;
  std::string got;
  bool drained = false;
  ASSERT_TRUE(run_until([&] {
    if (!rest.empty()) {
      rest.remove_prefix(left.send_some(rest));
      if (rest.size() < 200'000 && !drained) {
        drained = true;
        right_server->drain(1h);
      }
      if (rest.empty()) left.end();
    }
    got += right.receive_some(5000);
    return right.at_end();
  }));
  EXPECT_TRUE(same_bytes(got, all));
}

// What waits with a source because of its sink is no fault of its peer.
TEST_F(ReviewPipeTest, BackpressureDoesNotCountAgainstReceiveBytes) {
  ServerOptions options = small_buffers();
  options.connection.limits.high_watermark_bytes = 10'000;
  options.connection.limits.receive_bytes = 1'000;
  open(options, 4096);
  const std::string before = pattern(100'000);
  EXPECT_FALSE(b.get()->send(before));
  left.send_all(pattern(3'000, 2));
  pipe(*a.get(), *b.get());
  EXPECT_TRUE(same_bytes(receive(right, 103'000), before + pattern(3'000, 2)));
  EXPECT_EQ(recorder.closed, 0);
}

TEST_F(ReviewPipeTest, CalledTwiceIsTheCallersMistake) {
  open_piped();
  EXPECT_DEATH(pipe(*a.get(), *b.get()), "pipe: a connection that has a pipe");
}

// Connection::close(): everything queued still arrives; a stream that was cut must not look
// complete.
TEST_F(ReviewPipeTest, ALocalCloseDoesNotLoseWhatWaitsForTheSink) {
  ServerOptions options = small_buffers();
  options.connection.limits.high_watermark_bytes = 10'000;
  open(options, 4096);
  const std::string before = pattern(100'000);
  EXPECT_FALSE(b.get()->send(before));
  left.send_all("behind it");
  pipe(*a.get(), *b.get());
  ASSERT_TRUE(run_until([&] { return a.get()->unconsumed() == "behind it"; }));
  a.get()->close();
  left.end();
  ASSERT_TRUE(until_closed());
  const std::string got = receive(right, 100'009);
  EXPECT_TRUE(same_bytes(got, before + "behind it"));
  EXPECT_FALSE(right.at_end() && got.size() < 100'009) << "cut, and looks complete";
}

TEST_F(ReviewPipeTest, AnOwnerMayGoWhileAWriterOfItsConnectionIsOpen) {
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    in.consume_all();
    SendWriter writer = b.get()->writer(100'000);
    right_server.reset();
    std::fill(writer.room().begin(), writer.room().end(), std::byte{1});
    EXPECT_TRUE(writer.commit(100'000) == SendResult::closed);
  };
  open();
  left.send_all("x");
  EXPECT_TRUE(run_until([&] { return right_recorder.closed == 1; }));
}

// The deadline of a drain counts for whoever comes while it lasts, also when nobody was there.
TEST_F(ReviewTest, AListenerThatIsOpenedRightAfterADrainOfNobodyServes) {
  listen();
  std::vector<DrainResult> results;
  server->drain(1h, [&](DrainResult r) { results.push_back(r); });
  server->listen(SocketAddress::loopback(0));
  peer = RawSocket::connect_to(server->address());
  recorder.when_drain = [](Connection&) {};
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    c.send(in.view());
    in.consume_all();
  };
  peer.send_all("x");
  EXPECT_EQ(receive(peer, 1), "x");
}

TEST_F(ReviewTest, OneMessageOfAWriterIsCountedOnce) {
  ServerOptions options;
  options.connection.limits = {
      .high_watermark_bytes = 10, .send_queue_bytes = 20, .overflow = Overflow::drop_newest};
  start(options);
  SendWriter writer = connection().writer(100);
  writer.commit(0);
  writer.commit(50);
  EXPECT_EQ(connection().stats().dropped_messages, 1u);
}

// SendResult: a message larger than the hard limit never fits and must not be tried again.
TEST_F(ReviewTest, TryingWhatNeverFitsIsToldSoAndDoesNotSpin) {
  ServerOptions options;
  options.connection.limits = {.high_watermark_bytes = 10, .send_queue_bytes = 20};
  int tries = 0;
  recorder.when_drained = [&](Connection& c) {
    ++tries;
    c.try_send(std::string(21, '.'));
  };
  start(options);
  EXPECT_TRUE(connection().try_send(std::string(21, '.')) == SendResult::too_large);
  EXPECT_LE(run_for(20ms), 2u);
  EXPECT_EQ(tries, 0);
}

// ConnectionLimits: a send queue never grows beyond send_queue_bytes.
TEST_F(ReviewTest, AWriterOffersNoMoreRoomThanTheHardLimitLeaves) {
  ServerOptions options;
  options.connection.limits = {.high_watermark_bytes = 10, .send_queue_bytes = 100};
  std::size_t queued = 0;
  recorder.when_open = [&](Connection& c) {
    SendWriter writer = c.writer(10);
    writer.commit(writer.room().size());
    queued = c.queued_bytes();
  };
  start(options);
  EXPECT_GE(queued, 10u);
  EXPECT_LE(queued, 100u);
}

// What the handler before expected is nothing to the next one.
TEST_F(ReviewTest, ANewHandlerDoesNotWaitForWhatTheOldOneExpected) {
  recorder.when_data = [](Connection&, ReceiveBuffer& in) {
    in.consume_all();
    in.expect(100);
  };
  start();
  peer.send_all("old");
  ASSERT_TRUE(run_until([&] { return recorder.events.back() == "data"; }));
  struct Next : ConnectionHandler {
    void on_data(Connection&, ReceiveBuffer& in) override {
      got += in.view().text();
      in.consume_all();
    }
    std::string got;
  } next;
  connection().set_handler(next);
  peer.send_all("new");
  EXPECT_TRUE(run_until([&] { return next.got == "new"; }, 500ms));
  server.reset();
  recorder.live.clear();
  recorder.opened = recorder.closed;
}

// DrainResult::cut: aborted at the deadline, whatever their on_close does.
TEST_F(ReviewTest, ADrainBegunInOnCloseOfOneThatWasCutDoesNotCallTheOthersFinished) {
  std::vector<DrainResult> results;
  recorder.when_drain = [](Connection&) {};
  recorder.when_close = [&](Connection&, std::error_code) {
    if (recorder.closed == 1) server->drain(1h);
  };
  start();
  std::vector<RawSocket> more;
  for (int i = 0; i < 2; ++i) more.push_back(connect());
  server->drain(1ms, [&](DrainResult r) { results.push_back(r); });
  ASSERT_TRUE(run_until([&] { return !results.empty(); }));
  EXPECT_EQ(results[0].cut, 3u);
  EXPECT_EQ(results[0].finished, 0u);
}

// After fork() the child can close its copy without disturbing the parent (and the other way
// round).
TEST_F(ReviewTest, StoppingInAForkedChildLeavesTheParentsQueueAlone) {
  listen();
  server->stop_accepting();  // only the second one is shared
  Server shared(loop(), recorder);
  shared.listen(SocketAddress::loopback(0));
  peer = RawSocket::connect_to(shared.address());
  const pid_t child = ::fork();
  if (child == 0) {
    shared.stop_accepting();
    ::_exit(0);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_GT(longest_queue(shared.address()), 1000u)
      << "the backlog is the socket's, not the copy's";
  EXPECT_TRUE(run_until([&] { return recorder.opened == 1; }, 500ms)) << "taken by the child";
}

TEST_F(ReviewTest, StoppingInTheParentLeavesTheQueueToTheChildren) {
  Server shared(loop(), recorder);
  shared.listen(SocketAddress::loopback(0));
  const SocketAddress address = shared.address();
  int go[2];
  ASSERT_EQ(::pipe2(go, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char c;
    ::close(go[1]);
    const bool heard = ::read(go[0], &c, 1) == 0;
    ::_exit(heard && longest_queue(address) > 1000 ? 0 : 1);
  }
  ::close(go[0]);
  shared.stop_accepting();
  ::close(go[1]);
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "the child's queue has no room";
}

}  // namespace
}  // namespace millrace::test
