// When an IoTarget is flushed, and when it is destroyed.
#include <millrace/io_target.h>

#include "support/channel.h"
#include "support/probe.h"

#include <stdexcept>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

struct IoTargetPhasesTest : ProbeTest {};

TEST_F(IoTargetPhasesTest, AskingForAFlushTwiceIsAskingOnce) {
  Probe* probe = make();
  probe->request_flush();
  EXPECT_TRUE(probe->flush_requested());
  probe->request_flush();
  turns(1);
  EXPECT_EQ(probe->flushes, 1);
  EXPECT_FALSE(probe->flush_requested());
  turns(2);
  EXPECT_EQ(probe->flushes, 1);
}

TEST_F(IoTargetPhasesTest, IsFlushedWithoutBeingAttachedAndInTheOrderOfAsking) {
  Probe* probes[] = {make(), make(), make()};
  std::string order;
  for (int i : {2, 0, 1}) {
    probes[i]->when_flushed = [&order, i] { order += std::to_string(i); };
    probes[i]->request_flush();
  }
  turns(1);
  EXPECT_EQ(order, "201");
}

TEST_F(IoTargetPhasesTest, IsFlushedAfterIoTimersAndTasksAndBuriedAfterThat) {
  const Channel pipe = Channel::pipe();
  Probe* probe = make();
  ASSERT_EQ(probe->attach(pipe.in.get(), Interest::read), 0);
  std::vector<std::string> order;
  const Timer timer = loop().after(0ms, [&] { order.emplace_back("timer"); });
  loop().post([&] { order.emplace_back("task"); });
  probe->when_io = [&](IoEvents) {
    order.emplace_back("io");
    probe->request_flush();
    loop().defer([&] { order.emplace_back("deferred"); });
  };
  probe->when_flushed = [&] {
    order.emplace_back("flush");
    bury(probe);
  };
  probe->when_destroyed = [&] { order.emplace_back("burial"); };
  pipe.write();
  turns(1);
  EXPECT_EQ(order,
            (std::vector<std::string>{"io", "timer", "task", "deferred", "flush", "burial"}));
}

TEST_F(IoTargetPhasesTest, AFlushAskedForInATaskComesInTheSameIteration) {
  Probe* probe = make();
  loop().post([&] { probe->request_flush(); });
  turns(1);
  EXPECT_EQ(probe->flushes, 1);
}

TEST_F(IoTargetPhasesTest, AFlushAskedForWhileThatPhaseRunsComesInTheNextIteration) {
  Probe* probe = make();
  Probe* other = make();
  probe->when_flushed = [&] {
    if (probe->flushes == 1) other->request_flush();
    if (probe->flushes < 3) probe->request_flush();
  };
  probe->request_flush();
  turns(1);
  EXPECT_EQ(probe->flushes, 1);
  EXPECT_EQ(other->flushes, 0);
  turns(1);
  EXPECT_EQ(probe->flushes, 2);
  EXPECT_EQ(other->flushes, 1);
  turns(2);
  EXPECT_EQ(probe->flushes, 3);
  EXPECT_EQ(other->flushes, 1);
}

TEST_F(IoTargetPhasesTest, TheLoopDoesNotSleepWhileAFlushIsAskedFor) {
  Probe* probe = make();
  probe->when_flushed = [&] {
    if (probe->flushes == 1) probe->request_flush();
  };
  probe->request_flush();
  const auto start = Clock::now();
  loop().run_once(60s);
  loop().run_once(60s);
  EXPECT_EQ(probe->flushes, 2);
  EXPECT_LT(Clock::now() - start, 50s);
}

TEST_F(IoTargetPhasesTest, IsDestroyedWhenTheIterationEndsAndNotBefore) {
  Probe* probe = make();
  Probe* other = make();
  other->when_flushed = [&] { EXPECT_EQ(destroyed, 0); };
  loop().post([&] {
    bury(probe);
    other->request_flush();
    EXPECT_EQ(destroyed, 0);
  });
  loop().post([&] { EXPECT_EQ(destroyed, 0); });
  turns(1);
  EXPECT_EQ(destroyed, 1);
  EXPECT_EQ(other->flushes, 1);
}

TEST_F(IoTargetPhasesTest, IsBuriedOnce) {
  Probe* probe = make();
  probe->bury();
  probe->bury();
  turns(2);
  EXPECT_EQ(destroyed, 1);
}

TEST_F(IoTargetPhasesTest, OneBuriedOutsideOfTheLoopIsDestroyedByTheNextIteration) {
  make()->bury();
  EXPECT_EQ(destroyed, 0);
  turns(1);
  EXPECT_EQ(destroyed, 1);
}

TEST_F(IoTargetPhasesTest, TheLoopDoesNotSleepBesideAnOpenGrave) {
  make()->bury();
  const auto start = Clock::now();
  loop().run_once(60s);
  EXPECT_EQ(destroyed, 1);
  EXPECT_LT(Clock::now() - start, 50s);
}

TEST_F(IoTargetPhasesTest, ABuriedOneIsNotFlushedWhicheverCameFirst) {
  int flushes = 0;
  Probe* asked_first = make();
  asked_first->when_flushed = [&] { ++flushes; };
  asked_first->request_flush();
  asked_first->bury();
  Probe* buried_first = make();
  buried_first->when_flushed = [&] { ++flushes; };
  buried_first->bury();
  buried_first->request_flush();
  turns(2);
  EXPECT_EQ(flushes, 0);
  EXPECT_EQ(destroyed, 2);
}

TEST_F(IoTargetPhasesTest, ADeadOneIsNotFlushedInTheNextIteration) {
  Probe* probe = make();
  probe->when_flushed = [&] {
    probe->request_flush();  // for the next iteration, which it does not live to see
    probe->bury();
  };
  probe->request_flush();
  turns(3);
  EXPECT_EQ(destroyed, 1);
}

TEST_F(IoTargetPhasesTest, OneIsBuriedInTheFlushOfAnotherBeforeItsOwn) {
  Probe* first = make();
  Probe* second = make();
  int second_flushes = 0;
  first->when_flushed = [&] { second->bury(); };
  second->when_flushed = [&] { ++second_flushes; };
  first->request_flush();
  second->request_flush();
  turns(2);
  EXPECT_EQ(second_flushes, 0);
  EXPECT_EQ(destroyed, 1);
}

TEST_F(IoTargetPhasesTest, ADestructorMayBuryAnotherWhichDiesInTheSameIteration) {
  Probe* first = make();
  Probe* second = make();
  first->when_destroyed = [&] { second->bury(); };
  first->bury();
  turns(1);
  EXPECT_EQ(destroyed, 2);
}

TEST_F(IoTargetPhasesTest, ADestructorMayAskForTheFlushOfAnother) {
  Probe* first = make();
  Probe* second = make();
  first->when_destroyed = [&] { second->request_flush(); };
  first->bury();
  turns(1);
  EXPECT_EQ(second->flushes, 0);
  loop().run_once(60s);
  EXPECT_EQ(second->flushes, 1);
}

TEST_F(IoTargetPhasesTest, ADestructorMayAskForTheFlushOfOneThatDiesWithIt) {
  Probe* first = make();
  Probe* second = make();
  first->when_destroyed = [&] {
    second->request_flush();
    second->bury();
  };
  first->bury();
  turns(3);
  EXPECT_EQ(destroyed, 2);
}

TEST_F(IoTargetPhasesTest, WhatHandlersThrowGoesToTheHook) {
  const Channel pipe = Channel::pipe();
  std::vector<std::string> kinds;
  loop().set_exception_hook(
      [&](std::exception_ptr, std::string_view kind) { kinds.emplace_back(kind); });
  Probe* probe = make();
  Probe* other = make();
  ASSERT_EQ(probe->attach(pipe.in.get(), Interest::read), 0);
  probe->when_io = [&](IoEvents) {
    probe->request_flush();
    other->request_flush();
    throw std::runtime_error("in I/O");
  };
  probe->when_flushed = [] { throw std::runtime_error("in flush"); };
  pipe.write();
  turns(1);
  EXPECT_EQ(kinds, (std::vector<std::string>{"I/O", "flush"}));
  EXPECT_EQ(other->flushes, 1) << "the others have their turn";
}

TEST_F(IoTargetPhasesTest, AFlushThatMakesManyOthersDisturbsNoneThatIsStillDue) {
  std::vector<Probe*> probes;
  for (int i = 0; i < 10; ++i) probes.push_back(make());
  std::vector<Probe*> made;
  for (Probe* probe : probes) {
    probe->when_flushed = [&] {
      for (int i = 0; i < 1000; ++i) made.push_back(make());
    };
    probe->request_flush();
  }
  turns(1);
  for (Probe* probe : probes) EXPECT_EQ(probe->flushes, 1);
  for (Probe* probe : probes) probe->bury();
  for (Probe* probe : made) probe->bury();
  turns(1);
}

TEST_F(IoTargetPhasesTest, ManyAreFlushedAndBuriedAtOnce) {
  constexpr int kProbes = 3000;
  std::vector<Probe*> probes;
  for (int i = 0; i < kProbes; ++i) probes.push_back(make());
  int flushes = 0;
  for (Probe* probe : probes) {
    probe->when_flushed = [&flushes, probe] {
      ++flushes;
      probe->bury();
    };
    probe->request_flush();
  }
  turns(1);
  EXPECT_EQ(flushes, kProbes);
  EXPECT_EQ(destroyed, kProbes);
}

}  // namespace
}  // namespace millrace::test
