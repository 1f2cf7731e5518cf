// What callbacks of IoWatchers do to watchers, their own and others, while a batch of events is
// being worked on; and what happens after the peer has hung up.
#include <millrace/io_watcher.h>

#include "support/channel.h"
#include "support/loop_test.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace millrace::test {
namespace {

struct IoWatcherBatchTest : LoopTest {
  void turn() { loop().run_once(0ms); }
  void turns(int n) {
    while (n-- > 0) turn();
  }
};

TEST_F(IoWatcherBatchTest, IsDestroyedInsideItsOwnCallback) {
  const Channel pipe = Channel::pipe();
  int calls = 0;
  std::optional<IoWatcher> watcher;
  watcher.emplace(loop(), pipe.in.get(), Interest::read,
                  [&, kept = std::string(100, 'k')](IoEvents) {
                    watcher.reset();
                    ++calls;
                    EXPECT_EQ(kept, std::string(100, 'k')) << "what the callback holds lives on";
                  });
  pipe.write();
  turns(3);
  EXPECT_EQ(calls, 1);
}

TEST_F(IoWatcherBatchTest, LetsGoOfItsCallbackWhenTheIterationEnds) {
  const Channel pipe = Channel::pipe();
  const auto held = std::make_shared<int>(0);
  std::optional<IoWatcher> watcher;
  watcher.emplace(loop(), pipe.in.get(), Interest::read, [&, held](IoEvents) { watcher.reset(); });
  EXPECT_EQ(held.use_count(), 2);
  pipe.write();
  turn();
  EXPECT_EQ(held.use_count(), 1);
}

TEST_F(IoWatcherBatchTest, IsMovedInsideItsOwnCallback) {
  const Channel pipe = Channel::pipe();
  int calls = 0;
  std::optional<IoWatcher> before;
  std::optional<IoWatcher> after;
  before.emplace(loop(), pipe.in.get(), Interest::read, [&](IoEvents) {
    if (++calls > 1) return;
    after.emplace(std::move(*before));
    before.reset();
  });
  pipe.write();
  turns(3);
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(after->fd(), pipe.in.get());
}

TEST_F(IoWatcherBatchTest, IsReplacedInsideItsOwnCallback) {
  const Channel pipe = Channel::pipe();
  int first = 0;
  int second = 0;
  std::optional<IoWatcher> watcher;
  watcher.emplace(loop(), pipe.in.get(), Interest::read, [&](IoEvents) {
    ++first;
    watcher.reset();
    watcher.emplace(loop(), pipe.in.get(), Interest::read, [&](IoEvents) { ++second; });
  });
  pipe.write();
  turn();
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 0) << "a new watcher is first called in the next iteration";
  turn();
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 1);
}

TEST_F(IoWatcherBatchTest, IsReconfiguredInsideItsOwnCallback) {
  const Channel sockets = Channel::sockets();
  std::string seen;
  std::optional<IoWatcher> watcher;
  watcher.emplace(loop(), sockets.in.get(), Interest::read, [&](IoEvents events) {
    if (events.readable()) {
      seen += 'r';
      watcher->set_interest(Interest::write);
    } else {
      seen += 'w';
      watcher->set_interest(Interest::none);
    }
  });
  sockets.write();
  turns(5);
  EXPECT_EQ(seen, "rw");
}

TEST_F(IoWatcherBatchTest, IsDestroyedInsideTheCallbackOfAnotherOfTheSameBatch) {
  const Channel pipes[] = {Channel::pipe(), Channel::pipe()};
  std::optional<IoWatcher> watchers[2];
  int calls = 0;
  for (int i = 0; i < 2; ++i) {
    watchers[i].emplace(loop(), pipes[i].in.get(), Interest::read, [&, i](IoEvents) {
      ++calls;
      pipes[i].read();
      watchers[1 - i].reset();
    });
    pipes[i].write();
  }
  const auto stale = loop().stats().stale_events;
  turns(3);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(loop().stats().stale_events, stale + 1);
}

TEST_F(IoWatcherBatchTest, TheFirstOfManyDestroysAllOthers) {
  constexpr int kWatchers = 300;
  std::vector<Channel> pipes;
  std::vector<std::unique_ptr<IoWatcher>> watchers;
  int calls = 0;
  for (int i = 0; i < kWatchers; ++i) {
    pipes.push_back(Channel::pipe());
    watchers.push_back(
        std::make_unique<IoWatcher>(loop(), pipes.back().in.get(), Interest::read, [&](IoEvents) {
          ++calls;
          watchers.clear();
        }));
    pipes.back().write();
  }
  turns(2);
  EXPECT_EQ(calls, 1);
}

TEST_F(IoWatcherBatchTest, IsResumedInsideTheCallbackOfAnother) {
  const Channel pipes[] = {Channel::pipe(), Channel::pipe()};
  int calls = 0;
  IoWatcher paused(loop(), pipes[1].in.get(), Interest::none, [&](IoEvents) { ++calls; });
  const IoWatcher watcher(loop(), pipes[0].in.get(), Interest::read, [&](IoEvents) {
    pipes[0].read();
    paused.set_interest(Interest::read);
  });
  pipes[0].write();
  pipes[1].write();
  turn();
  EXPECT_EQ(calls, 0);
  turn();
  EXPECT_EQ(calls, 1);
}

TEST_F(IoWatcherBatchTest, AReusedDescriptorNumberGetsNoEventOfTheOldOne) {
  constexpr std::size_t kChannels = 100;
  std::vector<Channel> old_pipes;
  std::vector<Channel> new_pipes;
  std::vector<std::unique_ptr<IoWatcher>> watchers(kChannels);
  int old_calls = 0;
  int new_calls = 0;
  const auto replace_all_but = [&](std::size_t except) {
    for (std::size_t i = 0; i < kChannels; ++i) {
      if (i == except) continue;
      watchers[i].reset();
      // Closes the old end, and the number belongs to the new one at once.
      const int number = old_pipes[i].in.get();
      ASSERT_EQ(::dup3(new_pipes[i].in.get(), number, O_CLOEXEC), number);
      watchers[i] = std::make_unique<IoWatcher>(loop(), number, Interest::read,
                                                [&](IoEvents) { ++new_calls; });
    }
  };
  for (std::size_t i = 0; i < kChannels; ++i) {
    old_pipes.push_back(Channel::pipe());
    new_pipes.push_back(Channel::pipe());
    watchers[i] = std::make_unique<IoWatcher>(loop(), old_pipes[i].in.get(), Interest::read,
                                              [&, i](IoEvents) {
                                                if (++old_calls == 1) replace_all_but(i);
                                                old_pipes[i].read();
                                              });
    old_pipes[i].write();
  }
  turn();
  EXPECT_EQ(old_calls, 1);
  EXPECT_EQ(new_calls, 0);
  for (const Channel& pipe : new_pipes) pipe.write();
  turn();
  EXPECT_EQ(old_calls, 1);
  EXPECT_EQ(new_calls, static_cast<int>(kChannels) - 1);
}

TEST_F(IoWatcherBatchTest, AHangUpIsToldOnceWhileNothingIsAskedFor) {
  Channel pipe = Channel::pipe();
  std::vector<IoEvents> seen;
  const IoWatcher watcher(loop(), pipe.in.get(), Interest::none,
                          [&](IoEvents events) { seen.push_back(events); });
  pipe.out.reset();
  turns(5);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_TRUE(seen[0].hangup());
  EXPECT_TRUE(seen[0].ended());
  EXPECT_LE(run_for(50ms), 3u) << "the loop spins";
}

TEST_F(IoWatcherBatchTest, AnErrorIsToldOnceWhileNothingIsAskedFor) {
  Channel pipe = Channel::pipe();
  int calls = 0;
  const IoWatcher watcher(loop(), pipe.out.get(), Interest::none, [&](IoEvents events) {
    EXPECT_TRUE(events.error());
    EXPECT_TRUE(events.ended());
    ++calls;
  });
  pipe.in.reset();
  turns(5);
  EXPECT_EQ(calls, 1);
  EXPECT_LE(run_for(50ms), 3u) << "the loop spins";
}

TEST_F(IoWatcherBatchTest, AHangUpIsToldAgainAfterSetInterest) {
  Channel pipe = Channel::pipe();
  int calls = 0;
  IoWatcher watcher(loop(), pipe.in.get(), Interest::none, [&](IoEvents) { ++calls; });
  pipe.out.reset();
  turns(3);
  EXPECT_EQ(calls, 1);
  watcher.set_interest(Interest::none);
  turns(3);
  EXPECT_EQ(calls, 2);
  watcher.set_interest(Interest::read);
  turns(3);
  EXPECT_EQ(calls, 5) << "level-triggered while something is asked for";
  watcher.set_interest(Interest::none);
  turns(3);
  EXPECT_EQ(calls, 6);
}

TEST_F(IoWatcherBatchTest, ItsCallbackMayAskAgainWhenAHangUpIsTold) {
  Channel pipe = Channel::pipe();
  pipe.write("rest");
  std::string received;
  std::optional<IoWatcher> watcher;
  watcher.emplace(loop(), pipe.in.get(), Interest::none, [&](IoEvents events) {
    if (!events.readable()) return watcher->set_interest(Interest::read);
    received += pipe.read();
    watcher.reset();
  });
  pipe.out.reset();
  turns(4);
  EXPECT_EQ(received, "rest");
}

TEST_F(IoWatcherBatchTest, AWatcherThatWasToldOfAHangUpEndsInOrder) {
  Channel pipe = Channel::pipe();
  std::optional<IoWatcher> watcher;
  int calls = 0;
  watcher.emplace(loop(), pipe.in.get(), Interest::none, [&](IoEvents) { ++calls; });
  pipe.out.reset();
  turn();
  watcher.reset();
  turn();
  const IoWatcher again(loop(), pipe.in.get(), Interest::none, [&](IoEvents) { ++calls; });
  turn();
  EXPECT_EQ(calls, 2);
}

TEST_F(IoWatcherBatchTest, NothingIsToldOfAClosedDescriptorWhoseCopyLives) {
  Channel pipe = Channel::pipe();
  const UniqueFd copy(::dup(pipe.in.get()));
  int calls = 0;
  std::optional<IoWatcher> watcher;
  watcher.emplace(loop(), pipe.in.get(), Interest::read, [&](IoEvents) { ++calls; });
  watcher.reset();
  pipe.in.reset();
  pipe.out.reset();
  turns(3);
  EXPECT_EQ(calls, 0);
  EXPECT_LE(run_for(50ms), 3u) << "the kernel still reports the copy";
}

TEST_F(IoWatcherBatchTest, WatchersComeAndGoInACallbackAndTheLoopThenRests) {
  const Channel pipe = Channel::pipe();
  const Channel quiet = Channel::pipe();
  std::optional<IoWatcher> other;
  std::optional<IoWatcher> watcher;
  watcher.emplace(loop(), pipe.in.get(), Interest::read, [&](IoEvents) {
    pipe.read();
    for (int i = 0; i < 2; ++i) {
      other.emplace(loop(), quiet.in.get(), Interest::read, [](IoEvents) { FAIL(); });
      watcher->set_interest(Interest::none);
      watcher->set_interest(Interest::read);
      other.reset();
    }
  });
  pipe.write();
  turn();
  EXPECT_LE(run_for(100ms), 3u);
}

}  // namespace
}  // namespace millrace::test
