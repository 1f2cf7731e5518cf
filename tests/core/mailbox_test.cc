#include "mailbox.h"

#include "support/process.h"

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace millrace::test {
namespace {

using Tasks = std::vector<Task>;

bool readable(int fd, int wait_ms = 0) {
  pollfd ready{fd, POLLIN, 0};
  return ::poll(&ready, 1, wait_ms) == 1;
}

// Posts to its box when it is destroyed: a box that destroys it under its lock hangs.
struct PostsWhenDestroyed {
  Mailbox* box;
  bool* accepted;
  PostsWhenDestroyed(Mailbox& b, bool& a) : box(&b), accepted(&a) {}
  PostsWhenDestroyed(PostsWhenDestroyed&& other) noexcept
      : box(std::exchange(other.box, nullptr)), accepted(other.accepted) {}
  PostsWhenDestroyed& operator=(PostsWhenDestroyed&&) = delete;
  ~PostsWhenDestroyed() {
    if (box) *accepted = box->post([] {});
  }
  void operator()() {}
};

TEST(Mailbox, TakeGivesWhatWasPostedInItsOrderAndLeavesTheBoxEmpty) {
  Mailbox box;
  EXPECT_FALSE(box.pending());
  std::vector<int> ran;
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(box.post([&ran, i] { ran.push_back(i); }));
  EXPECT_TRUE(box.pending());
  Tasks batch;
  box.take(batch);
  EXPECT_FALSE(box.pending());
  EXPECT_TRUE(ran.empty()) << "taking is not running";
  for (Task& task : batch) task();
  EXPECT_EQ(ran, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
  batch.clear();
  box.take(batch);
  EXPECT_TRUE(batch.empty());
}

TEST(Mailbox, NobodySleepsWithWorkOrAStopInTheBox) {
  Mailbox box;
  EXPECT_TRUE(box.prepare_to_sleep());
  box.awake();
  box.post([] {});
  EXPECT_FALSE(box.prepare_to_sleep());
  Tasks batch;
  box.take(batch);
  EXPECT_TRUE(box.prepare_to_sleep());
  box.awake();
  box.stop();
  EXPECT_FALSE(box.prepare_to_sleep());
  EXPECT_TRUE(box.stop_requested());
  box.clear_stop();
  EXPECT_TRUE(box.prepare_to_sleep());
}

TEST(Mailbox, ABoxWhoseLoopIsAwakeWritesNothing) {
  Mailbox box;
  for (int i = 0; i < 100; ++i) box.post([] {});
  box.stop();
  EXPECT_EQ(box.wakeups_written(), 0u);
  EXPECT_FALSE(readable(box.wake_fd()));
  box.clear_stop();
  EXPECT_FALSE(box.prepare_to_sleep());  // refused: that counts as awake too
  box.post([] {});
  EXPECT_EQ(box.wakeups_written(), 0u);
}

TEST(Mailbox, TheFirstPostOrStopToASleeperWritesOnce) {
  for (const bool by_stop : {false, true}) {
    Mailbox box;
    ASSERT_TRUE(box.prepare_to_sleep());
    for (int i = 0; i < 100; ++i) {
      if (by_stop) {
        box.stop();
      } else {
        box.post([] {});
      }
    }
    EXPECT_EQ(box.wakeups_written(), 1u);
    eventfd_t count = 0;
    ASSERT_EQ(::eventfd_read(box.wake_fd(), &count), 0);
    EXPECT_EQ(count, 1u);
  }
}

TEST(Mailbox, EachSleepIsEndedByAWriteOfItsOwn) {
  Mailbox box;
  Tasks batch;
  for (std::uint64_t sleeps = 1; sleeps <= 10; ++sleeps) {
    ASSERT_TRUE(box.prepare_to_sleep());
    box.post([] {});
    EXPECT_EQ(box.wakeups_written(), sleeps);
    box.awake();
    batch.clear();
    box.take(batch);
    EXPECT_EQ(batch.size(), 1u);
  }
}

// Nobody but us writes to it, but a full counter must not cost a wake-up: it is readable.
TEST(Mailbox, ADescriptorWhoseCounterIsFullWakesAllTheSame) {
  Mailbox box;
  const std::uint64_t full = UINT64_MAX - 1;
  ASSERT_EQ(::write(box.wake_fd(), &full, sizeof full), static_cast<ssize_t>(sizeof full));
  ASSERT_TRUE(box.prepare_to_sleep());
  EXPECT_TRUE(box.post([] {}));
  EXPECT_TRUE(readable(box.wake_fd()));
  EXPECT_TRUE(box.pending());
  box.awake();
  Tasks batch;
  box.take(batch);
  EXPECT_EQ(batch.size(), 1u);
}

TEST(Mailbox, StopKeepsErrno) {
  Mailbox box;
  ASSERT_TRUE(box.prepare_to_sleep());
  // A full counter makes the write fail, which still is a wake-up: the descriptor is readable.
  ASSERT_EQ(::eventfd_write(box.wake_fd(), ~eventfd_t{0} - 1), 0);
  errno = ENOTTY;
  box.stop();
  EXPECT_EQ(errno, ENOTTY);
  EXPECT_TRUE(readable(box.wake_fd()));
}

TEST(Mailbox, AClosedBoxRefusesAndDestroysWhatIsPosted) {
  Mailbox box;
  EXPECT_FALSE(box.closed());
  box.close();
  EXPECT_TRUE(box.closed());
  auto owned = std::make_shared<int>(1);
  const std::weak_ptr<int> watch = owned;
  EXPECT_FALSE(box.post([owned = std::move(owned)] {}));
  EXPECT_TRUE(watch.expired());
  EXPECT_FALSE(box.pending());
}

TEST(Mailbox, CloseDestroysWhatWaitsWithoutHoldingTheLock) {
  Mailbox box;
  bool accepted = true;
  box.post(PostsWhenDestroyed(box, accepted));
  box.close();
  EXPECT_FALSE(accepted);
  accepted = true;
  box.post(PostsWhenDestroyed(box, accepted));  // refused
  EXPECT_FALSE(accepted);
}

TEST(Mailbox, ANewWakeUpDescriptorLeavesTheOldOneAlone) {
  Mailbox box;
  const UniqueFd old(::dup(box.wake_fd()));
  box.reopen_wake_fd();
  ASSERT_TRUE(box.prepare_to_sleep());
  box.post([] {});
  EXPECT_TRUE(readable(box.wake_fd()));
  EXPECT_FALSE(readable(old.get()));
}

TEST(Mailbox, WithoutADescriptorThereIsNoBox) {
  const DescriptorLimit limit(0);
  EXPECT_THROW(Mailbox(), std::system_error);
}

TEST(Mailbox, TwoProducersAndASleepyConsumerLoseNothing) {
  constexpr int kEach = 100'000;
  Mailbox box;
  int next[2] = {0, 0};
  int wrong = 0;
  std::vector<std::thread> producers;
  for (int p = 0; p < 2; ++p) {
    producers.emplace_back([&, p] {
      for (int i = 0; i < kEach; ++i) {
        box.post([&, p, i] { wrong += next[p]++ != i; });
        if (i % 16 == 0) std::this_thread::yield();  // lets the consumer fall asleep
      }
    });
  }
  std::uint64_t tries = 0;  // to fall asleep; some end because something came just then
  Tasks batch;
  while (next[0] + next[1] < 2 * kEach) {
    // What the loop does, with poll() in place of the poller.
    ++tries;
    if (box.prepare_to_sleep()) {
      if (!readable(box.wake_fd(), 30'000)) {
        ADD_FAILURE() << "slept through a post";
        break;
      }
      eventfd_t count = 0;
      ::eventfd_read(box.wake_fd(), &count);
    }
    box.awake();
    box.take(batch);
    for (Task& task : batch) task();
    batch.clear();
  }
  for (std::thread& producer : producers) producer.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(box.wakeups_written(), tries);
}

TEST(Mailbox, ProducersThatMeetACloseAreToldForEachTask) {
  for (int round = 0; round < 200; ++round) {
    Mailbox box;
    std::atomic<int> accepted{0}, destroyed{0}, refused{0};
    struct Counted {
      std::atomic<int>* count;
      explicit Counted(std::atomic<int>& c) : count(&c) {}
      Counted(Counted&& other) noexcept : count(std::exchange(other.count, nullptr)) {}
      Counted& operator=(Counted&&) = delete;
      ~Counted() {
        if (count) ++*count;
      }
      void operator()() {}
    };
    std::atomic<int> started{0};
    std::vector<std::thread> producers;
    for (int p = 0; p < 2; ++p) {
      producers.emplace_back([&] {
        ++started;
        started.notify_one();
        while (box.post(Counted(destroyed))) ++accepted;
        ++refused;
      });
    }
    for (int seen = started; seen < 2; seen = started) started.wait(seen);
    box.close();
    for (std::thread& producer : producers) producer.join();
    EXPECT_EQ(refused, 2);
    EXPECT_EQ(destroyed, accepted + refused);
  }
}

}  // namespace
}  // namespace millrace::test
