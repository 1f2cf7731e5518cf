#include <millrace/io_target.h>

#include "support/channel.h"
#include "support/probe.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <string>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace millrace::test {
namespace {

struct IoTargetTest : ProbeTest {};

TEST_F(IoTargetTest, IsNotAttachedAtFirst) {
  Probe* probe = make();
  EXPECT_FALSE(probe->attached());
  EXPECT_FALSE(probe->silenced());
  EXPECT_EQ(probe->fd(), -1);
  EXPECT_EQ(probe->interest(), Interest::none);
  EXPECT_EQ(&probe->loop(), &loop());
  EXPECT_EQ(probe->detach_and_release(), -1);
  probe->detach();
  probe->silence();
  probe->detach_and_close();
  EXPECT_EQ(probe->set_interest(Interest::read), 0);
}

TEST_F(IoTargetTest, AttachWatchesADescriptor) {
  const Channel pipe = Channel::pipe();
  Probe* probe = make();
  EXPECT_EQ(probe->attach(pipe.in.get(), Interest::read), 0);
  EXPECT_TRUE(probe->attached());
  EXPECT_EQ(probe->fd(), pipe.in.get());
  EXPECT_EQ(probe->interest(), Interest::read);
  pipe.write();
  turns(2);
  EXPECT_EQ(probe->events.size(), 2u) << "level-triggered";
  EXPECT_TRUE(probe->events[0].readable());
}

TEST_F(IoTargetTest, AttachSaysWhyItCannot) {
  const Channel pipe = Channel::pipe();
  const UniqueFd file(::memfd_create("regular", MFD_CLOEXEC));
  Probe* first = make();
  Probe* probe = make();
  ASSERT_EQ(first->attach(pipe.in.get(), Interest::read), 0);
  EXPECT_EQ(probe->attach(file.get(), Interest::read), EPERM);
  EXPECT_EQ(probe->attach(INT_MAX, Interest::read), EBADF);
  EXPECT_EQ(probe->attach(-1, Interest::read), EBADF);
  EXPECT_EQ(probe->attach(pipe.in.get(), Interest::read), EEXIST);
  for (const int error : {ENOMEM, ENOSPC}) {
    Faults faults;
    faults.on(Call::epoll_ctl, Fault::fail(error));
    EXPECT_EQ(probe->attach(pipe.out.get(), Interest::write), error);
  }
  EXPECT_FALSE(probe->attached());
  EXPECT_EQ(probe->attach(pipe.out.get(), Interest::write), 0);
}

TEST_F(IoTargetTest, SetInterestIsASystemCallOnlyWhenItDiffers) {
  const Channel sockets = Channel::sockets();
  Probe* probe = make();
  ASSERT_EQ(probe->attach(sockets.in.get(), Interest::read), 0);
  const Faults calls;
  EXPECT_EQ(probe->set_interest(Interest::read), 0);
  EXPECT_EQ(calls.count(Call::epoll_ctl), 0u);
  EXPECT_EQ(probe->set_interest(Interest::read | Interest::write), 0);
  EXPECT_EQ(probe->interest(), Interest::read_write);
  EXPECT_EQ(probe->set_interest(Interest::read_write), 0);
  EXPECT_EQ(calls.count(Call::epoll_ctl), 1u);
  turns(1);
  ASSERT_EQ(probe->events.size(), 1u);
  EXPECT_TRUE(probe->events[0].writable());
}

TEST_F(IoTargetTest, AFailedSetInterestChangesNothing) {
  const Channel pipe = Channel::pipe();
  Probe* probe = make();
  ASSERT_EQ(probe->attach(pipe.in.get(), Interest::read), 0);
  Faults faults;
  faults.on(Call::epoll_ctl, Fault::fail(ENOMEM));
  EXPECT_EQ(probe->set_interest(Interest::none), ENOMEM);
  EXPECT_EQ(probe->interest(), Interest::read);
  pipe.write();
  turns(1);
  EXPECT_EQ(probe->events.size(), 1u);
}

TEST_F(IoTargetTest, ASilencedTargetIsToldNothingNotEvenOfAHangUp) {
  Channel pipe = Channel::pipe();
  Probe* probe = make();
  ASSERT_EQ(probe->attach(pipe.in.get(), Interest::read), 0);
  probe->silence();
  EXPECT_TRUE(probe->silenced());
  EXPECT_TRUE(probe->attached());
  EXPECT_EQ(probe->interest(), Interest::none);
  EXPECT_EQ(probe->fd(), pipe.in.get());
  probe->silence();
  pipe.write();
  pipe.out.reset();
  turns(3);
  EXPECT_TRUE(probe->events.empty());
  EXPECT_LE(run_for(50ms), 3u) << "the loop spins";
}

TEST_F(IoTargetTest, SetInterestEndsTheSilence) {
  Channel pipe = Channel::pipe();
  Probe* probe = make();
  ASSERT_EQ(probe->attach(pipe.in.get(), Interest::read), 0);
  probe->silence();
  pipe.write();
  pipe.out.reset();
  EXPECT_EQ(probe->set_interest(Interest::none), 0);
  EXPECT_FALSE(probe->silenced());
  turns(1);
  ASSERT_EQ(probe->events.size(), 1u);
  EXPECT_TRUE(probe->events[0].hangup());
  EXPECT_FALSE(probe->events[0].readable());
  probe->silence();
  EXPECT_EQ(probe->set_interest(Interest::read), 0);
  turns(1);
  ASSERT_EQ(probe->events.size(), 2u);
  EXPECT_TRUE(probe->events[1].readable());
}

TEST_F(IoTargetTest, HangUpIsToldWhateverTheInterest) {
  for (const Interest interest : {Interest::none, Interest::read, Interest::read_write}) {
    Channel sockets = Channel::sockets();
    Probe* probe = make();
    ASSERT_EQ(probe->attach(sockets.in.get(), interest), 0);
    sockets.out.reset();
    turns(1);
    ASSERT_GE(probe->events.size(), 1u);
    EXPECT_TRUE(probe->events.back().hangup());
    probe->detach();
  }
}

TEST_F(IoTargetTest, AfterDetachNothingIsTold) {
  const Channel pipe = Channel::pipe();
  Probe* probe = make();
  ASSERT_EQ(probe->attach(pipe.in.get(), Interest::read), 0);
  pipe.write();
  probe->detach();
  EXPECT_FALSE(probe->attached());
  EXPECT_EQ(probe->fd(), -1);
  turns(2);
  EXPECT_TRUE(probe->events.empty());
  EXPECT_EQ(pipe.read(), "x") << "the descriptor stays open";
}

TEST_F(IoTargetTest, DetachAndReleaseGivesTheDescriptorUp) {
  const Channel pipe = Channel::pipe();
  Probe* probe = make();
  ASSERT_EQ(probe->attach(pipe.in.get(), Interest::read), 0);
  EXPECT_EQ(probe->detach_and_release(), pipe.in.get());
  EXPECT_EQ(probe->detach_and_release(), -1);
  ASSERT_EQ(probe->attach(pipe.in.get(), Interest::read), 0);
  probe->silence();
  EXPECT_EQ(probe->detach_and_release(), pipe.in.get()) << "also while silenced";
  pipe.write();
  turns(1);
  EXPECT_TRUE(probe->events.empty());
}

TEST_F(IoTargetTest, DetachAndCloseCloses) {
  for (const bool shared : {false, true}) {
    Channel pipe = Channel::pipe();
    Probe* probe = make();
    const int fd = pipe.in.release();
    ASSERT_EQ(probe->attach(fd, Interest::read), 0);
    probe->detach_and_close(shared);
    EXPECT_FALSE(probe->attached());
    EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
    const Faults calls;
    probe->detach_and_close(shared);
    EXPECT_EQ(calls.count(Call::close), 0u) << "there is nothing to close any more";
  }
}

TEST_F(IoTargetTest, AClosedDescriptorWithACopyElsewhereIsNotHeardOfAgain) {
  Channel pipe = Channel::pipe();
  const UniqueFd copy(::dup(pipe.in.get()));
  Probe* probe = make();
  ASSERT_EQ(probe->attach(pipe.in.release(), Interest::read), 0);
  probe->detach_and_close(true);
  pipe.write();
  turns(2);
  EXPECT_TRUE(probe->events.empty());
  EXPECT_LE(run_for(50ms), 3u) << "the loop spins";
}

TEST_F(IoTargetTest, OneTargetDetachesAnotherOfTheSameBatch) {
  const Channel pipes[] = {Channel::pipe(), Channel::pipe()};
  Probe* probes[] = {make(), make()};
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(probes[i]->attach(pipes[i].in.get(), Interest::read), 0);
    probes[i]->when_io = [&, i](IoEvents) { probes[1 - i]->detach(); };
    pipes[i].write();
  }
  const auto before = loop().stats();
  turns(1);
  EXPECT_EQ(probes[0]->events.size() + probes[1]->events.size(), 1u);
  EXPECT_EQ(loop().stats().io_events, before.io_events + 1);
  EXPECT_EQ(loop().stats().stale_events, before.stale_events + 1);
}

TEST_F(IoTargetTest, OneTargetSilencesAnotherOfTheSameBatch) {
  const Channel pipes[] = {Channel::pipe(), Channel::pipe()};
  Probe* probes[] = {make(), make()};
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(probes[i]->attach(pipes[i].in.get(), Interest::read), 0);
    probes[i]->when_io = [&, i](IoEvents) { probes[1 - i]->silence(); };
    pipes[i].write();
  }
  turns(1);
  EXPECT_EQ(probes[0]->events.size() + probes[1]->events.size(), 1u);
}

TEST_F(IoTargetTest, DetachesClosesAndBuriesItselfInItsOwnCallback) {
  Channel pipe = Channel::pipe();
  Probe* probe = make();
  ASSERT_EQ(probe->attach(pipe.in.release(), Interest::read), 0);
  probe->when_io = [&](IoEvents) {
    probe->detach_and_close();
    bury(probe);
    EXPECT_EQ(destroyed, 0);
  };
  pipe.write();
  turns(1);
  EXPECT_EQ(destroyed, 1);
}

struct IoTargetDeathTest : IoTargetTest {
  IoTargetDeathTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

// In a process that has not forked: after a fork() there may be copies that nobody knows of.
TEST_F(IoTargetDeathTest, ClosingSparesTheSystemCallThatRemovesTheRegistration) {
  const auto calls_of = [this](bool shared, bool forked) {
    Channel pipe = Channel::pipe();
    Probe* probe = make();
    if (probe->attach(pipe.in.release(), Interest::read) != 0) std::_Exit(100);
    if (forked && ::fork() == 0) std::_Exit(0);
    const Faults calls;
    probe->detach_and_close(shared);
    std::_Exit(static_cast<int>(calls.count(Call::epoll_ctl)));
  };
  EXPECT_EXIT(calls_of(false, false), ::testing::ExitedWithCode(0), "");
  EXPECT_EXIT(calls_of(true, false), ::testing::ExitedWithCode(1), "");
  EXPECT_EXIT(calls_of(false, true), ::testing::ExitedWithCode(1), "");
}

TEST_F(IoTargetDeathTest, AttachingTwiceAborts) {
  const Channel pipe = Channel::pipe();
  Probe* probe = make();
  ASSERT_EQ(probe->attach(pipe.in.get(), Interest::read), 0);
  EXPECT_DEATH(static_cast<void>(probe->attach(pipe.out.get(), Interest::read)),
               "a target that is already watched");
}

TEST_F(IoTargetDeathTest, BuryingOneThatIsStillWatchedAborts) {
  const Channel pipe = Channel::pipe();
  Probe* probe = make();
  ASSERT_EQ(probe->attach(pipe.in.get(), Interest::read), 0);
  EXPECT_DEATH(probe->bury(), "a target that is still watched");
}

TEST_F(IoTargetTest, WhoTakesThePlaceOfADeadOneGetsNoEventOfADescriptorThatHasACopy) {
  const Channel old_pipe = Channel::pipe();
  const Channel new_pipe = Channel::pipe();
  Probe* first = make();
  const void* place = first;
  const int copy = ::dup(old_pipe.in.get());
  ASSERT_EQ(first->attach(copy, Interest::read), 0);
  ::close(copy);    // behind its back:
  first->detach();  // the kernel no longer knows the number, and the registration lives on
  first->bury();
  loop().run_once(0ms);
  Probe* second = make();
  for (int i = 0; second != place && i < 1000; ++i) second = make();
  ASSERT_EQ(static_cast<const void*>(second), place);
  ASSERT_EQ(second->attach(new_pipe.in.get(), Interest::read), 0);
  ASSERT_EQ(::write(old_pipe.out.get(), "x", 1), 1);
  const auto stale = loop().stats().stale_events;
  loop().run_once(0ms);
  EXPECT_EQ(loop().stats().stale_events, stale + 1);
  EXPECT_TRUE(second->events.empty());
}

}  // namespace
}  // namespace millrace::test
