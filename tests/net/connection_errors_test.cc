// What ends a connection from outside: resets, failing calls, descriptors that are somebody else's.
#include <millrace/log.h>

#include "support/one_peer_test.h"

#include <algorithm>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace millrace::test {
namespace {

using Events = std::vector<std::string>;

struct ConnectionErrorsTest : OnePeerTest {
  static constexpr std::uint64_t kFew = 5;
};

TEST_F(ConnectionErrorsTest, AResetClosesWithConnectionReset) {
  start();
  peer.reset();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "close"}));
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(ConnectionErrorsTest, DataBeforeAResetIsDeliveredAndTheResetIsNotTakenForAnOrderlyEnd) {
  start();
  Faults faults;
  peer.send_all("5 left");
  peer.reset();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.received, "5 left");
  EXPECT_EQ(recorder.events, (Events{"open", "data", "close"}));
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
  // Asking for SO_ERROR would have eaten the error.
  EXPECT_EQ(faults.count(Call::getsockopt), 0u);
}

TEST_F(ConnectionErrorsTest, MuchDataBeforeAResetIsDeliveredWhole) {
  start();
  const std::string all = pattern(60'000);
  // Before the loop has read any of it.
  ASSERT_EQ(peer.send_some(all), all.size());
  peer.reset();
  ASSERT_TRUE(until_closed());
  EXPECT_TRUE(same_bytes(recorder.received, all));
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(ConnectionErrorsTest, AReplyToDataThatAResetFollowsDoesNotHideTheReset) {
  recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
    recorder.received += in.view().text();
    c.send(in.view());
    in.consume_all();
  };
  start();
  peer.send_all("hello");
  peer.reset();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.received, "hello");
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(ConnectionErrorsTest, APeerThatClosesWithUnreadDataIsAReset) {
  start();
  connection().send("never read");
  loop().run_once(0ms);
  run_for(5ms);
  peer.close();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events, (Events{"open", "close"}));
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(ConnectionErrorsTest, AResetWhileBytesWaitIsReportedAndTheyAreCountedAsLost) {
  std::size_t lost = 0;
  recorder.when_close = [&](Connection& c, std::error_code) { lost = c.stats().queued_bytes; };
  start_with_small_buffers();
  connection().send(pattern(1 << 20));
  run_for(10ms);
  peer.reset();
  EXPECT_LE(run_for(50ms), kFew);
  ASSERT_EQ(recorder.closed, 1);
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
  EXPECT_GT(lost, 900'000u);
}

TEST_F(ConnectionErrorsTest, AResetAfterOurFinIsAReset) {
  start();
  connection().end();
  ASSERT_TRUE(sees_end(peer));
  peer.send_all("data first");
  peer.reset();
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.received, "data first");
  EXPECT_EQ(recorder.reasons[0], std::errc::connection_reset);
}

TEST_F(ConnectionErrorsTest, ADescriptorThatIsGoneClosesTheConnectionAndTheLoopLivesOn) {
  start();
  RawSocket other = connect();
  Faults faults;
  faults.on(Call::recv, Fault::fail(EBADF), {.fd = recorder.last->native_handle()});
  other.send_all("x");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::bad_file_descriptor);
  peer.send_all("hello");
  EXPECT_TRUE(run_until([&] { return recorder.received == "hello"; }));
}

TEST_F(ConnectionErrorsTest,
       ADescriptorThatSomebodyClosesBehindOurBackEndsTheConnectionWithTheNextCall) {
  start_with_small_buffers();
  RawSocket others[3] = {connect(4096), connect(4096), connect(4096)};
  std::vector<Connection*> all(recorder.live.begin(), recorder.live.end());
  all[0]->send(pattern(1 << 20));  // waits for room
  all[1]->pause_reading();
  run_for(5ms);
  for (std::size_t i = 0; i < 3; ++i) ::close(all[i]->native_handle());
  EXPECT_LE(run_for(50ms), 10u) << "it spins";
  for (std::size_t i = 0; i < 3; ++i) {
    all[i]->send("x");
    all[i]->close();
  }
  // epoll has forgotten the one that waits for room: its deadline ends it.
  all[0]->abort();
  ASSERT_TRUE(until_closed(3));
  EXPECT_EQ(std::count(recorder.reasons.begin(), recorder.reasons.end(), system_error_code(EBADF)),
            2);
  EXPECT_LE(run_for(50ms), 10u);
  peer.send_some("x");
  for (RawSocket& other : others) other.send_some("x");
  EXPECT_TRUE(run_until([&] { return recorder.received.find('x') != std::string::npos; }));
}

TEST_F(ConnectionErrorsTest, AnEpollThatHasNoMemoryClosesThatConnectionOnly) {
  start_with_small_buffers();
  Connection& failing = connection();
  RawSocket other = connect();
  Faults faults;
  faults.on(Call::epoll_ctl, Fault::fail(ENOMEM), {.fd = failing.native_handle()});
  failing.send(pattern(1 << 20));  // needs to wait for room
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::not_enough_memory);
  EXPECT_EQ(recorder.detail, "epoll_ctl");
  connection().send("hello");
  EXPECT_EQ(receive(other, 5), "hello");
  other.close();
  EXPECT_TRUE(until_closed(2));
}

TEST_F(ConnectionErrorsTest, AConnectionThatEpollCannotTakeIsRefusedAndCounted) {
  listen();
  loop().run_once(0ms);
  Faults faults;
  faults.on(Call::epoll_ctl, Fault::fail(ENOSPC));
  std::vector<std::string> lines;
  log::set_sink([&](log::Level, std::string_view line) { lines.emplace_back(line); });
  RawSocket refused = RawSocket::connect_to(server->address());
  EXPECT_TRUE(run_until([&] { return server->stats().refused == 1; }));
  log::set_sink({});
  EXPECT_EQ(lines.size(), 1u);
  EXPECT_EQ(recorder.opened, 0);
  peer = connect();
  peer.send_all("hello");
  EXPECT_TRUE(run_until([&] { return recorder.received == "hello"; }));
}

TEST_F(ConnectionErrorsTest, AFailingCloseIsNotRepeated) {
  for (const int error : {EINTR, EIO}) {
    start();
    const int closed = recorder.closed;
    Faults faults;
    const int fd = connection().native_handle();
    faults.on(Call::close, Fault::fail(error), {.fd = fd, .times = 10});
    connection().abort();
    const std::uint64_t closes =
        calls_during(faults, Call::close, [&] { until_closed(closed + 1); });
    EXPECT_EQ(closes, 1u);
    EXPECT_EQ(recorder.reasons.back(), error::aborted);
  }
}

TEST_F(ConnectionErrorsTest, AForgottenCopyOfTheDescriptorFiresForNobody) {
  start();
  const UniqueFd copy(::fcntl(connection().native_handle(), F_DUPFD_CLOEXEC, 0));
  connection().close();
  ASSERT_TRUE(sees_end(peer));
  peer.end();
  ASSERT_TRUE(until_closed());
  const std::uint64_t stale = loop().stats().stale_events;
  // The socket lives on in the copy, readable for ever.
  EXPECT_LE(run_for(50ms), kFew);
  EXPECT_EQ(loop().stats().stale_events, stale);
}

TEST_F(ConnectionErrorsTest, AConnectionClosedInTheSameBatchGetsNoDataAfterwards) {
  for (const bool by_abort : {false, true}) {
    listen();
    RawSocket first = connect();
    Connection* const one = recorder.last;
    RawSocket second = connect();
    Connection* const two = recorder.last;
    const int closed = recorder.closed;
    recorder.received.clear();
    recorder.when_data = [&](Connection& c, ReceiveBuffer& in) {
      recorder.received += in.view().text();
      in.consume_all();
      Connection& other = &c == one ? *two : *one;
      by_abort ? other.abort() : other.close();
    };
    // Both are readable when the loop looks.
    first.send_all("x");
    second.send_all("x");
    run_for(5ms);
    EXPECT_EQ(recorder.received, "x") << "the second one was closed by the first";
    first.close();
    second.close();
    ASSERT_TRUE(until_closed(closed + 2));
  }
}

TEST_F(ConnectionErrorsTest, ASocketThatTakesTheNumberOfOneClosedInTheSameBatchSeesNoEventOfIt) {
  // Destroying the server closes at once, unlike close() and abort(), which take effect when the
  // callbacks of this phase have run.
  Recorder victims;
  auto doomed = std::make_unique<Server>(loop(), victims);
  doomed->listen(SocketAddress::loopback(0));
  RawSocket victim_peer = RawSocket::connect_to(doomed->address());
  ASSERT_TRUE(run_until([&] { return victims.opened == 1; }));
  const int number = victims.last->native_handle();
  start();
  RawSocket listener = RawSocket::listen();
  UniqueFd reused;
  recorder.when_data = [&](Connection&, ReceiveBuffer& in) {
    in.consume_all();
    if (!doomed) return;
    doomed.reset();
    reused.reset(::fcntl(listener.fd(), F_DUPFD_CLOEXEC, number));
  };
  victims.when_data = [&](Connection&, ReceiveBuffer& in) { in.consume_all(); };
  // The killer's event is before the victim's: it became readable first.
  peer.send_all("x");
  victim_peer.send_all("x");
  loop().run_once(0ms);
  EXPECT_EQ(reused.get(), number);
  EXPECT_EQ(victims.events, (Events{"open", "close"}));
  EXPECT_EQ(victims.reasons[0], error::owner_destroyed);
  EXPECT_LE(run_for(20ms), kFew);
}

TEST_F(ConnectionErrorsTest, AnOnDataThatAbortsWhileRoomIsReportedTooSendsNothingMore) {
  start_with_small_buffers();
  connection().send(pattern(100'000));
  run_for(10ms);
  ASSERT_GT(connection().queued_bytes(), 0u);
  recorder.when_data = [](Connection& c, ReceiveBuffer& in) {
    in.consume_all();
    c.abort();
  };
  Faults faults;
  // Readable and writable in one event.
  while (!peer.receive_some().empty()) {
  }
  peer.send_all("x");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], error::aborted);
}

TEST_F(ConnectionErrorsTest, AnOnDrainedThatAbortsGetsNoDataAfterwards) {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 1000;
  recorder.when_data = [](Connection&, ReceiveBuffer&) {};
  start(options);
  peer.send_all("left over");
  ASSERT_TRUE(run_until([&] { return recorder.events.size() == 2; }));
  recorder.when_drained = [](Connection& c) { c.abort(); };
  connection().send(pattern(2000));
  connection().pause_reading();
  connection().resume_reading();  // the rest is due, and so is on_drained
  peer.send_all("and more");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.events.back(), "close");
  EXPECT_EQ(recorder.events[recorder.events.size() - 2], "drained");
}

}  // namespace
}  // namespace millrace::test
