// Files on their way out of a connection.
#include "support/one_peer_test.h"

#include <csignal>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

namespace millrace::test {
namespace {

// A file of the given content that has no name.
UniqueFd file_of(std::string_view content, int open_again_as = O_RDWR) {
  UniqueFd made(::memfd_create("content", MFD_CLOEXEC));
  EXPECT_TRUE(made);
  while (!content.empty()) {
    const ssize_t n = ::write(made.get(), content.data(), content.size());
    if (n <= 0) throw std::runtime_error("cannot write the file");
    content.remove_prefix(static_cast<std::size_t>(n));
  }
  if (open_again_as == O_RDWR) return made;
  const std::string path = "/proc/self/fd/" + std::to_string(made.get());
  return UniqueFd(::open(path.c_str(), open_again_as | O_CLOEXEC));
}

struct ConnectionSendFileTest : OnePeerTest {
  bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }
  Faults faults;
};

TEST_F(ConnectionSendFileTest, ALargeFileReachesASlowReaderByteForByte) {
  const std::string content = pattern(8 << 20);
  start_with_small_buffers();
  connection().send_file(file_of(content), 0, content.size());
  ASSERT_TRUE(run_until([&] { return connection().stats().bytes_sent > 0; }));
  EXPECT_GT(connection().queued_bytes(), 7u << 20);
  EXPECT_TRUE(same_bytes(receive(peer, content.size()), content));
  EXPECT_EQ(connection().stats().bytes_sent, content.size());
  EXPECT_EQ(connection().queued_bytes(), 0u);
}

TEST_F(ConnectionSendFileTest, FilesAndBytesKeepTheirOrder) {
  const std::string content = pattern(300'000);
  recorder.when_open = [&](Connection& c) {
    c.send("header");
    c.send_file(file_of(content), 0, content.size());
    c.send("between");
    c.send_file(file_of(content), 1000, 5);
    c.send_file(file_of(content), content.size() - 7, 7);
    c.send("trailer");
  };
  start();
  const std::string wanted = "header" + content + "between" + content.substr(1000, 5) +
                             content.substr(content.size() - 7) + "trailer";
  EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
}

TEST_F(ConnectionSendFileTest, NothingOfAFileIsAnEmptySendAndClosesIt) {
  start();
  UniqueFd file = file_of("content");
  const int number = file.get();
  EXPECT_TRUE(connection().send_file(std::move(file), 3, 0));
  EXPECT_FALSE(is_open(number));
  EXPECT_EQ(connection().queued_bytes(), 0u);
  connection().send("x");
  EXPECT_EQ(receive(peer, 1), "x");
}

TEST_F(ConnectionSendFileTest, TheFileIsClosedOnceItIsSent) {
  start();
  UniqueFd file = file_of("content");
  const int number = file.get();
  connection().send_file(std::move(file), 0, 7);
  EXPECT_TRUE(is_open(number));
  EXPECT_EQ(receive(peer, 7), "content");
  EXPECT_FALSE(is_open(number));
}

TEST_F(ConnectionSendFileTest, TheFileIsClosedWithAConnectionThatEndsBefore) {
  start_with_small_buffers();
  const std::string content = pattern(1 << 20);
  UniqueFd file = file_of(content);
  const int number = file.get();
  connection().send_file(std::move(file), 0, content.size());
  ASSERT_TRUE(run_until([&] { return connection().stats().bytes_sent > 0; }));
  connection().abort();
  ASSERT_TRUE(until_closed());
  EXPECT_FALSE(is_open(number));
}

TEST_F(ConnectionSendFileTest, OnAConnectionThatNoLongerSendsTheFileIsClosedAtOnce) {
  start();
  connection().end();
  UniqueFd file = file_of("content");
  const int number = file.get();
  EXPECT_FALSE(connection().send_file(std::move(file), 0, 7));
  EXPECT_FALSE(is_open(number));
  EXPECT_TRUE(sees_end(peer));
}

TEST_F(ConnectionSendFileTest, AFileThatIsShorterThanPromisedClosesWithEio) {
  start();
  connection().send_file(file_of("content"), 0, 100);
  EXPECT_EQ(receive(peer, 7), "content");
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::io_error);
}

TEST_F(ConnectionSendFileTest, AFileThatCannotBeReadClosesWithItsError) {
  start();
  connection().send_file(file_of("content", O_WRONLY), 0, 7);
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(recorder.reasons[0], std::errc::bad_file_descriptor);
}

TEST_F(ConnectionSendFileTest, ShortInterruptedAndRefusedCallsLoseNothing) {
  const std::string content = pattern(20'000);
  start();
  const int fd = connection().native_handle();
  for (int i = 0; i < 20; ++i) {
    faults.on(Call::sendfile, Fault::shorten(1), {.fd = fd});
    faults.on(Call::sendfile, Fault::fail(EINTR), {.fd = fd});
    faults.on(Call::sendfile, Fault::shorten(777), {.fd = fd});
    faults.on(Call::sendfile, Fault::fail(EAGAIN), {.fd = fd});
  }
  connection().send_file(file_of(content), 0, content.size());
  connection().send("end");
  EXPECT_TRUE(same_bytes(receive(peer, content.size() + 3), content + "end"));
}

TEST_F(ConnectionSendFileTest, AFileCountsAgainstTheWatermarksButNotAgainstTheHardCap) {
  ServerOptions options = small_buffers();
  options.connection.limits.high_watermark_bytes = 10'000;
  options.connection.limits.send_queue_bytes = 100'000;
  start(options, 4096);
  const std::string content = pattern(1 << 20);
  EXPECT_FALSE(connection().send_file(file_of(content), 0, content.size()));
  EXPECT_GT(connection().queued_bytes(), 900'000u);
  EXPECT_TRUE(same_bytes(receive(peer, content.size()), content));
  EXPECT_TRUE(run_until([&] { return recorder.drained == 1; }));
  EXPECT_TRUE(connection().is_open());
}

TEST_F(ConnectionSendFileTest, AFileDoesNotCountAgainstTheHardCapOfWhatFollowsIt) {
  ServerOptions options;
  options.connection.limits.send_queue_bytes = 100'000;
  start_with_small_buffers(options);
  const std::string content = pattern(1 << 20);
  connection().send_file(file_of(content), 0, content.size());
  connection().send("the next header");
  ASSERT_TRUE(connection().is_open());
  const std::string wanted = content + "the next header";
  EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
}

TEST_F(ConnectionSendFileTest, ARangeThatNoFileHasAbortsWithEinval) {
  constexpr std::uint64_t kLargest = std::uint64_t{1} << 62;
  constexpr std::uint64_t kAll = std::numeric_limits<std::uint64_t>::max();
  const std::pair<std::uint64_t, std::uint64_t> ranges[] = {
      {0, kAll}, {kAll, 1}, {kAll, kAll}, {1, kLargest}, {kLargest, 1}};
  int closed = 0;
  for (const auto& [offset, length] : ranges) {
    start();
    connection().send("not delivered");
    UniqueFd file = file_of("content");
    const int number = file.get();
    EXPECT_FALSE(connection().send_file(std::move(file), offset, length));
    EXPECT_FALSE(is_open(number));
    EXPECT_EQ(recorder.closed, closed) << "from inside send_file()";
    ASSERT_TRUE(until_closed(++closed));
    EXPECT_EQ(recorder.reasons.back(), std::errc::invalid_argument);
    EXPECT_EQ(receive(peer, 1), "");
    EXPECT_EQ(peer.last_error(), ECONNRESET);
  }
}

TEST_F(ConnectionSendFileTest, AFileToAPeerThatIsGoneRaisesNoSignal) {
  struct sigaction before {};
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(SIGPIPE, &standard, &before);
  start();
  recorder.when_peer_end = [](Connection&) {};
  peer.close();
  ASSERT_TRUE(run_until([&] { return recorder.peer_ended == 1; }));
  const std::string content = pattern(10'000);
  ASSERT_TRUE(run_until([&] {
    if (recorder.last) connection().send_file(file_of(content), 0, content.size());
    return recorder.closed == 1;
  }));
  EXPECT_TRUE(recorder.reasons[0] == std::errc::broken_pipe ||
              recorder.reasons[0] == std::errc::connection_reset)
      << recorder.reasons[0].message();
  sigset_t pending;
  ::sigpending(&pending);
  EXPECT_FALSE(::sigismember(&pending, SIGPIPE));
  ::sigaction(SIGPIPE, &before, nullptr);
}

TEST_F(ConnectionSendFileTest, CloseSendsTheWholeFileBeforeTheEnd) {
  const std::string content = pattern(2 << 20);
  start_with_small_buffers();
  connection().send_file(file_of(content), 0, content.size());
  connection().close();
  EXPECT_TRUE(same_bytes(receive(peer, content.size()), content));
  EXPECT_TRUE(sees_end(peer));
}

}  // namespace
}  // namespace millrace::test
