#include <millrace/io_watcher.h>

#include "support/channel.h"
#include "support/loop_test.h"

#include <cerrno>
#include <climits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace millrace::test {
namespace {

struct IoWatcherTest : LoopTest {
  IoWatcherTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  void turn() { loop().run_once(0ms); }
  void turns(int n) {
    while (n-- > 0) turn();
  }
};

TEST_F(IoWatcherTest, TellsOfDataThatHasArrived) {
  const Channel pipe = Channel::pipe();
  std::string received;
  const IoWatcher watcher(loop(), pipe.in.get(), Interest::read, [&](IoEvents events) {
    EXPECT_TRUE(events.readable());
    EXPECT_FALSE(events.writable());
    EXPECT_FALSE(events.ended());
    received += pipe.read();
  });
  turn();
  EXPECT_EQ(received, "");
  pipe.write("hello");
  EXPECT_TRUE(run_until([&] { return received == "hello"; }));
}

TEST_F(IoWatcherTest, TellsOfRoomToWrite) {
  const Channel pipe = Channel::pipe();
  const std::string page(4096, 'x');
  while (::write(pipe.out.get(), page.data(), page.size()) > 0) {
  }
  int calls = 0;
  const IoWatcher watcher(loop(), pipe.out.get(), Interest::write, [&](IoEvents events) {
    EXPECT_TRUE(events.writable());
    ++calls;
  });
  turn();
  EXPECT_EQ(calls, 0) << "the pipe is full";
  std::string all(1 << 20, '\0');
  EXPECT_GT(::read(pipe.in.get(), all.data(), all.size()), 0);
  turn();
  EXPECT_EQ(calls, 1);
}

TEST_F(IoWatcherTest, TellsOfBothAtOnce) {
  const Channel sockets = Channel::sockets();
  sockets.write("x");
  int calls = 0;
  const IoWatcher watcher(loop(), sockets.in.get(), Interest::read_write, [&](IoEvents events) {
    EXPECT_TRUE(events.readable());
    EXPECT_TRUE(events.writable());
    ++calls;
  });
  turn();
  EXPECT_EQ(calls, 1);
}

TEST_F(IoWatcherTest, IsLevelTriggered) {
  const Channel pipe = Channel::pipe();
  int calls = 0;
  const IoWatcher watcher(loop(), pipe.in.get(), Interest::read, [&](IoEvents) { ++calls; });
  pipe.write();
  turns(3);
  EXPECT_EQ(calls, 3);
  pipe.read();
  turns(3);
  EXPECT_EQ(calls, 3);
}

TEST_F(IoWatcherTest, InterestNonePauses) {
  const Channel pipe = Channel::pipe();
  int calls = 0;
  IoWatcher watcher(loop(), pipe.in.get(), Interest::none, [&](IoEvents) { ++calls; });
  pipe.write();
  turns(3);
  EXPECT_EQ(calls, 0);
  watcher.set_interest(Interest::read);
  turn();
  EXPECT_EQ(calls, 1);
  watcher.set_interest(Interest::none);
  turns(3);
  EXPECT_EQ(calls, 1);
}

TEST_F(IoWatcherTest, TellsOnlyOfWhatWasAskedFor) {
  const Channel sockets = Channel::sockets();
  IoEvents last;
  IoWatcher watcher(loop(), sockets.in.get(), Interest::write, [&](IoEvents e) { last = e; });
  sockets.write();
  turn();
  EXPECT_TRUE(last.writable());
  EXPECT_FALSE(last.readable());
  watcher.set_interest(Interest::read);
  turn();
  EXPECT_FALSE(last.writable());
  EXPECT_TRUE(last.readable());
}

TEST_F(IoWatcherTest, TellsOfDataTogetherWithTheEndBehindIt) {
  Channel sockets = Channel::sockets();
  sockets.write("last words");
  sockets.out.reset();
  std::string received;
  const IoWatcher watcher(loop(), sockets.in.get(), Interest::read, [&](IoEvents events) {
    EXPECT_TRUE(events.readable());
    EXPECT_TRUE(events.hangup());
    EXPECT_TRUE(events.ended());
    received += sockets.read();
  });
  turn();
  EXPECT_EQ(received, "last words");
}

TEST_F(IoWatcherTest, AskingForTheSameAgainIsNoSystemCall) {
  const Channel pipe = Channel::pipe();
  IoWatcher watcher(loop(), pipe.in.get(), Interest::read, [](IoEvents) {});
  const Faults calls;
  for (int i = 0; i < 10; ++i) watcher.set_interest(Interest::read);
  EXPECT_EQ(calls.count(Call::epoll_ctl), 0u);
  watcher.set_interest(Interest::read_write);
  EXPECT_EQ(calls.count(Call::epoll_ctl), 1u);
}

// The error of watching `fd`, which must say so in words, too.
std::error_code refusal(EventLoop& loop, int fd) {
  try {
    const IoWatcher watcher(loop, fd, Interest::read, [](IoEvents) {});
  } catch (const std::system_error& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find("descriptor " + std::to_string(fd)), std::string::npos) << text;
    EXPECT_NE(text.find(e.code().message()), std::string::npos) << text;
    return e.code();
  }
  return {};
}

TEST_F(IoWatcherTest, RefusesWhatCannotBeWatchedAndTheLoopIsIntact) {
  const Channel pipe = Channel::pipe();
  int calls = 0;
  const IoWatcher watcher(loop(), pipe.in.get(), Interest::read, [&](IoEvents) {
    ++calls;
    pipe.read();
  });
  const UniqueFd file(::memfd_create("regular", MFD_CLOEXEC));
  const int closed = ::dup(file.get());
  ::close(closed);
  EXPECT_EQ(refusal(loop(), file.get()), std::errc::operation_not_permitted);
  EXPECT_EQ(refusal(loop(), closed), std::errc::bad_file_descriptor);
  EXPECT_EQ(refusal(loop(), INT_MAX), std::errc::bad_file_descriptor);
  EXPECT_EQ(refusal(loop(), -1), std::errc::bad_file_descriptor);
  EXPECT_EQ(refusal(loop(), pipe.in.get()), std::errc::file_exists);
  pipe.write();
  turns(3);
  EXPECT_EQ(calls, 1) << "the first watcher is as before";
}

TEST_F(IoWatcherTest, ARefusedWatcherLeavesNothingBehind) {
  const auto held = std::make_shared<int>(0);
  EXPECT_THROW(IoWatcher(loop(), -1, Interest::read, [held](IoEvents) {}), std::system_error);
  turn();
  EXPECT_EQ(held.use_count(), 1);
}

TEST_F(IoWatcherTest, AFailedChangeIsThrownAndChangesNothing) {
  const Channel pipe = Channel::pipe();
  int calls = 0;
  IoWatcher watcher(loop(), pipe.in.get(), Interest::read, [&](IoEvents) { ++calls; });
  Faults faults;
  faults.on(Call::epoll_ctl, Fault::fail(ENOMEM));
  try {
    watcher.set_interest(Interest::none);
    FAIL() << "nothing thrown";
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), std::errc::not_enough_memory);
    EXPECT_NE(std::string(e.what()).find(std::to_string(pipe.in.get())), std::string::npos);
  }
  pipe.write();
  turn();
  EXPECT_EQ(calls, 1);
}

TEST_F(IoWatcherTest, NeitherClosesNorKeepsItsDescriptor) {
  const Channel pipe = Channel::pipe();
  {
    const IoWatcher watcher(loop(), pipe.in.get(), Interest::read, [](IoEvents) {});
    EXPECT_EQ(watcher.fd(), pipe.in.get());
  }
  turn();
  EXPECT_NE(::fcntl(pipe.in.get(), F_GETFD), -1);
  const IoWatcher again(loop(), pipe.in.get(), Interest::read, [](IoEvents) {});
}

TEST_F(IoWatcherTest, MovesWithItsCallback) {
  const Channel pipe = Channel::pipe();
  int calls = 0;
  IoWatcher first(loop(), pipe.in.get(), Interest::read, [&](IoEvents) { ++calls; });
  IoWatcher second = std::move(first);
  EXPECT_EQ(first.fd(), -1);
  EXPECT_EQ(second.fd(), pipe.in.get());
  IoWatcher& same = second;
  second = std::move(same);
  pipe.write();
  turn();
  EXPECT_EQ(calls, 1);
}

TEST_F(IoWatcherTest, EndsWhatItWatchedWhenAnotherIsMovedIntoIt) {
  const Channel old_pipe = Channel::pipe();
  const Channel new_pipe = Channel::pipe();
  int old_calls = 0;
  int new_calls = 0;
  IoWatcher watcher(loop(), old_pipe.in.get(), Interest::read, [&](IoEvents) { ++old_calls; });
  IoWatcher other(loop(), new_pipe.in.get(), Interest::read, [&](IoEvents) { ++new_calls; });
  watcher = std::move(other);
  old_pipe.write();
  new_pipe.write();
  turns(2);
  EXPECT_EQ(old_calls, 0);
  EXPECT_EQ(new_calls, 2);
}

TEST_F(IoWatcherTest, WhatItsCallbackThrowsGoesToTheHookAndItWatchesOn) {
  const Channel pipe = Channel::pipe();
  std::vector<std::string> kinds;
  loop().set_exception_hook(
      [&](std::exception_ptr, std::string_view kind) { kinds.emplace_back(kind); });
  const IoWatcher watcher(loop(), pipe.in.get(), Interest::read,
                          [](IoEvents) { throw std::runtime_error("asked for"); });
  pipe.write();
  turns(2);
  EXPECT_EQ(kinds, (std::vector<std::string>{"I/O", "I/O"}));
}

TEST_F(IoWatcherTest, WithoutACallbackAborts) {
  EXPECT_DEATH(IoWatcher(loop(), 0, Interest::read, nullptr), "an IoWatcher needs a callback");
}

TEST_F(IoWatcherTest, UsingOneThatWasMovedFromAborts) {
  const Channel pipe = Channel::pipe();
  IoWatcher first(loop(), pipe.in.get(), Interest::read, [](IoEvents) {});
  const IoWatcher second = std::move(first);
  EXPECT_DEATH(first.set_interest(Interest::none), "an IoWatcher that was moved from");
}

}  // namespace
}  // namespace millrace::test
