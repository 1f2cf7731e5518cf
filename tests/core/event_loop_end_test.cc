// How a loop comes into being and goes: what waits in it then, and who still refers to it.
#include <millrace/event_loop.h>
#include <millrace/io_watcher.h>

#include "support/buried.h"
#include "support/flush_target.h"
#include "support/loop_test.h"
#include "support/process.h"
#include "support/socket_pair.h"

#include <cerrno>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>

namespace millrace::test {
namespace {

// What became of a task: it ran or not, and was destroyed once.
struct Fate {
  int ran = 0;
  int destroyed = 0;
};

class Traced {
 public:
  explicit Traced(Fate& fate) : fate_(&fate) {}
  Traced(Traced&& other) noexcept : fate_(std::exchange(other.fate_, nullptr)) {}
  Traced& operator=(Traced&&) = delete;
  ~Traced() {
    if (fate_) ++fate_->destroyed;
  }
  void operator()() { ++fate_->ran; }

 private:
  Fate* fate_;
};

// The fixture checks descriptors; the loops under test are the tests' own.
class LoopEndTest : public LoopTest {
 protected:
  void SetUp() override {
    LoopTest::SetUp();
    ours = std::make_unique<EventLoop>();
  }
  void TearDown() override {
    ours.reset();
    LoopTest::TearDown();
  }

  std::unique_ptr<EventLoop> ours;
};

TEST_F(LoopEndTest, TasksThatStillWaitAreDestroyedUnrun) {
  Fate posted, deferred;
  ours->post(Traced(posted));
  ours->defer(Traced(deferred));
  ours.reset();
  EXPECT_EQ(posted.ran + deferred.ran, 0);
  EXPECT_EQ(posted.destroyed, 1);
  EXPECT_EQ(deferred.destroyed, 1);
}

TEST_F(LoopEndTest, TheRestOfALongQueueIsDestroyedUnrun) {
  Fate fate;
  constexpr int kTasks = 20'000;
  for (int i = 0; i < kTasks; ++i) ours->post(Traced(fate));
  ours->run_once(0ms);
  EXPECT_EQ(fate.destroyed, fate.ran);
  EXPECT_LT(fate.ran, kTasks);
  const int ran = fate.ran;
  ours.reset();
  EXPECT_EQ(fate.ran, ran);
  EXPECT_EQ(fate.destroyed, kTasks);
}

TEST_F(LoopEndTest, WhatATaskLeavesBehindInTheIterationThatStopsIsDestroyedUnrun) {
  Fate posted, deferred;
  ours->post([&] {
    ours->post(Traced(posted));
    ours->defer([&] { ours->defer(Traced(deferred)); });
    ours->stop();
  });
  ours->run();
  ours.reset();
  EXPECT_EQ(posted.ran + deferred.ran, 0);
  EXPECT_EQ(posted.destroyed, 1);
  EXPECT_EQ(deferred.destroyed, 1);
}

TEST_F(LoopEndTest, ActiveTimersAreCancelledAndMayOutliveTheLoop) {
  Fate fate;
  Timer once(*ours, Traced(fate));
  once.start(0ms);
  Timer often = ours->every(1ms, Traced(fate));
  Timer far = ours->after(10h, Traced(fate));
  ours.reset();
  for (const Timer* timer : {&once, &often, &far}) EXPECT_FALSE(timer->active());
  const Timer moved = std::move(once);
  EXPECT_EQ(fate.ran, 0);
}

TEST_F(LoopEndTest, TimersThatAreDueButWaitForTheirTurnAreCancelledToo) {
  int fired = 0;
  std::vector<Timer> timers;
  for (int i = 0; i < 30'000; ++i) timers.push_back(ours->after(0ms, [&] { ++fired; }));
  ours->run_once(0ms);
  const int before = fired;
  ASSERT_LT(before, 30'000);
  ours.reset();
  EXPECT_EQ(fired, before);
  for (const Timer& timer : timers) ASSERT_FALSE(timer.active());
}

TEST_F(LoopEndTest, ATaskThatIsDestroyedUnrunMayOwnATimerAndAReferenceToItsLoop) {
  int fired = 0;
  ours->post([timer = ours->after(0ms, [&] { ++fired; }), ref = ours->ref()] {});
  ours->defer([timer = ours->after(0ms, [&] { ++fired; }), ref = ours->ref()] {});
  ours.reset();
  EXPECT_EQ(fired, 0);
}

TEST_F(LoopEndTest, WhatIsDestroyedWithTheLoopMayAskItForMoreWhichIsNotRun) {
  struct Asks {
    EventLoop* loop;
    Fate* fate;
    Asks(EventLoop& l, Fate& f) : loop(&l), fate(&f) {}
    Asks(Asks&& other) noexcept : loop(std::exchange(other.loop, nullptr)), fate(other.fate) {}
    Asks& operator=(Asks&&) = delete;
    ~Asks() {
      if (!loop) return;
      loop->post(Traced(*fate));
      loop->defer(Traced(*fate));
      loop->services().bury(std::make_unique<Buried<Traced>>(*fate));
      EXPECT_FALSE(loop->ref().post(Traced(*fate)));
      EXPECT_FALSE(loop->ref().alive());
      loop->stop();
      const Timer timer = loop->after(0ms, Traced(*fate));
    }
    void operator()() {}
  };
  Fate fate;
  ours->post(Asks(*ours, fate));
  ours->defer(Asks(*ours, fate));
  ours->services().bury(std::make_unique<Buried<Asks>>(*ours, fate));
  ours.reset();
  EXPECT_EQ(fate.ran, 0);
  EXPECT_EQ(fate.destroyed, 3 * 5);
}

TEST_F(LoopEndTest, APostWhileTheLoopIsBeingDestroyedIsRefusedAndItsTaskDestroyed) {
  struct PostsWhenItDies {
    PostsWhenItDies(EventLoop* l, Fate& f, int& r) : loop(l), fate(f), refused(r) {}
    PostsWhenItDies(PostsWhenItDies&& other) noexcept
        : loop(std::exchange(other.loop, nullptr)), fate(other.fate), refused(other.refused) {}
    PostsWhenItDies& operator=(PostsWhenItDies&&) = delete;
    ~PostsWhenItDies() {
      if (loop && !loop->post(Traced(fate))) ++refused;
    }
    void operator()() {}
    EventLoop* loop;
    Fate& fate;
    int& refused;
  };
  Fate fate;
  int refused = 0;
  EXPECT_TRUE(ours->post(PostsWhenItDies(ours.get(), fate, refused)));
  EXPECT_TRUE(ours->post(PostsWhenItDies(ours.get(), fate, refused)));
  ours.reset();
  EXPECT_EQ(refused, 2);
  EXPECT_EQ(fate.ran, 0);
  EXPECT_EQ(fate.destroyed, 2);
}

TEST_F(LoopEndTest, WhatIsPostedAfterAStopWaitsForTheNextRunOrGoesWithTheLoop) {
  Fate first, second;
  ours->post([&] { ours->stop(); });
  ours->run();
  EXPECT_TRUE(ours->post(Traced(first)));
  ours->stop();
  EXPECT_TRUE(ours->post(Traced(first)));
  ours->run();  // the stop is still due: it runs nothing
  EXPECT_EQ(first.ran, 0);
  EXPECT_EQ(first.destroyed, 0);
  ours->run_once(0ms);
  EXPECT_EQ(first.ran, 2);
  EXPECT_EQ(first.destroyed, 2);
  ours->stop();
  EXPECT_TRUE(ours->post(Traced(second)));
  ours.reset();
  EXPECT_EQ(second.ran, 0);
  EXPECT_EQ(second.destroyed, 1);
}

TEST_F(LoopEndTest, TheBuriedAreDestroyedAndNotFlushed) {
  int flushed = 0;
  Fate fate;
  FlushTarget* target = FlushTarget::make(*ours, [&flushed, traced = Traced(fate)] { ++flushed; });
  target->ask();
  target->end();
  ours.reset();
  EXPECT_EQ(flushed, 0);
  EXPECT_EQ(fate.destroyed, 1);
}

TEST_F(LoopEndTest, AWatcherThatEndsBeforeItsLoopLeavesNoEventBehind) {
  SocketPair pair;
  pair.send("x");
  int calls = 0;
  {
    const IoWatcher watcher(*ours, pair.ours(), Interest::read, [&](IoEvents) { ++calls; });
  }
  ours->run_once(0ms);
  ours.reset();
  EXPECT_EQ(calls, 0);
}

TEST_F(LoopEndTest, AReferenceToALoopThatIsGoneRefusesAndDestroysTheTask) {
  const LoopRef ref = ours->ref();
  EXPECT_TRUE(ref.alive());
  ours.reset();
  EXPECT_FALSE(ref.alive());
  Fate fate;
  EXPECT_FALSE(ref.post(Traced(fate)));
  EXPECT_EQ(fate.ran, 0);
  EXPECT_EQ(fate.destroyed, 1);
  ref.stop();
  const LoopRef copy = ref;
  EXPECT_FALSE(copy.post([] {}));
}

TEST_F(LoopEndTest, AReferenceDoesNotTakeAnotherLoopForItsOwn) {
  LoopRef ref = ours->ref();
  ours = nullptr;
  ours = std::make_unique<EventLoop>();     // likely at the same address, with the same descriptors
  static_cast<void>(ours->next_timeout());  // whoever posts now has to wake it
  EXPECT_FALSE(ref.post([] {}));
  ref.stop();
  bool ran = false;
  EXPECT_TRUE(ours->ref().post([&] { ran = true; }));
  EXPECT_EQ(ours->stats().wakeups_written, 1u);
  ours->run_once(0ms);
  EXPECT_TRUE(ran) << "the other loop's stop must not count";
}

TEST_F(LoopEndTest, AReferenceToALivingLoopPostsAndStopsLikeTheLoop) {
  const LoopRef ref = ours->ref();
  int ran = 0;
  EXPECT_TRUE(ref.post([&] {
    ++ran;
    ref.stop();
  }));
  ours->run();
  EXPECT_EQ(ran, 1);
  EXPECT_TRUE(ref.alive());
}

TEST_F(LoopEndTest, AReferenceOfNoLoopIsHarmless) {
  const LoopRef none;
  Fate fate;
  EXPECT_FALSE(none.post(Traced(fate)));
  EXPECT_EQ(fate.destroyed, 1);
  EXPECT_FALSE(none.alive());
  none.stop();
}

TEST_F(LoopEndTest, ManyLoopsInARowLeaveNothingBehind) {
  for (int i = 0; i < 500; ++i) {
    EventLoop one;
    one.post([] {});
    const Timer timer = one.after(1us, [&] { one.stop(); });
    one.run();
  }
}

TEST_F(LoopEndTest, TheDescriptorsOfALoopAreClosedOnExec) {
  const auto before = open_descriptors();
  EventLoop one;
  const Timer timer = one.after(1ms, [&] { one.stop(); });
  one.run();
  int made = 0;
  for (const auto& [fd, what] : open_descriptors()) {
    if (before.count(fd)) continue;
    ++made;
    EXPECT_TRUE(::fcntl(fd, F_GETFD) & FD_CLOEXEC) << what;
    EXPECT_TRUE(::fcntl(fd, F_GETFL) & O_NONBLOCK || what.find("eventpoll") != std::string::npos)
        << what;
  }
  EXPECT_GE(made, 2);
}

TEST_F(LoopEndTest, ALoopThatCannotHaveItsDescriptorsThrowsAndLeavesNone) {
  const auto before = open_descriptors();
  int loops_made = 0;
  for (int room = 0; loops_made == 0; ++room) {
    ASSERT_LT(room, 10);
    std::optional<EventLoop> one;
    const DescriptorLimit limit(room);
    try {
      one.emplace();
      ++loops_made;
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), std::error_code(EMFILE, std::system_category())) << e.what();
    }
  }
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(LoopEndTest, ALoopForWhichEpollHasNoRoomThrowsAndLeavesNone) {
  const auto before = open_descriptors();
  for (const std::uint64_t taken : {0u, 1u}) {  // the timer's descriptor, the one that wakes it up
    Faults faults;
    faults.on(Call::epoll_ctl, Fault::fail(ENOSPC), {.skip = taken});
    try {
      EventLoop one;
      ADD_FAILURE() << "made though epoll takes only " << taken;
    } catch (const std::system_error& e) {
      EXPECT_EQ(e.code(), std::error_code(ENOSPC, std::system_category())) << e.what();
    }
  }
  EXPECT_EQ(open_descriptors(), before);
}

using LoopEndDeathTest = LoopEndTest;

TEST_F(LoopEndDeathTest, DestroyingALoopInItsOwnCallbackIsRefused) {
  EXPECT_DEATH(
      {
        auto own = std::make_unique<EventLoop>();
        own->post([&] { own.reset(); });
        own->run_once(0ms);
      },
      "destroyed from inside one of its own callbacks");
}

TEST_F(LoopEndDeathTest, AWatcherThatOutlivesItsLoopIsFoundInDebugBuilds) {
  EXPECT_DEATH(
      {
        auto own = std::make_unique<EventLoop>();
        const SocketPair pair;
        const IoWatcher watcher(*own, pair.ours(), Interest::read, [](IoEvents) {});
        own.reset();
      },
      "objects outlived their loop");
}

}  // namespace
}  // namespace millrace::test
