// What Unix stream sockets do, on both kernels; see kernel_conformance_test.h.
#include "unix_conformance_test.h"

#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace millrace::test {
namespace {

TEST_P(UnixConformanceTest, NobodyListeningRefuses) {
  EXPECT_EQ(said(connect_at(local(), name())).error, ECONNREFUSED);
}

TEST_P(UnixConformanceTest, AFullBacklogSaysTryAgain) {
  const Name at = name();
  const UniqueFd listening = listen_at(at, 0);
  const UniqueFd first = local();
  EXPECT_EQ(connect_at(first, at), 0);
  const UniqueFd second = local();
  EXPECT_EQ(said(connect_at(second, at)).error, EAGAIN);
  const UniqueFd accepted = accept(listening);
  EXPECT_EQ(connect_at(second, at), 0);
}

TEST_P(UnixConformanceTest, BytesThenEnd) {
  Pair pair = unix_pair();
  EXPECT_SAYS(send(pair.client, "hello"), 5, 0);
  EXPECT_EQ(events(pair.server), EPOLLIN | EPOLLOUT);
  pair.client.reset();
  EXPECT_EQ(events(pair.server), EPOLLIN | EPOLLOUT | EPOLLHUP | EPOLLRDHUP);
  EXPECT_EQ(receive(pair.server), "hello");
  EXPECT_EQ(receive(pair.server), "");
  EXPECT_SAYS(send(pair.server, "x"), -1, EPIPE);
}

TEST_P(UnixConformanceTest, HalfCloseLeavesTheOtherDirection) {
  const Pair pair = unix_pair();
  ASSERT_EQ(::shutdown(pair.client.get(), SHUT_WR), 0);
  EXPECT_EQ(events(pair.server), EPOLLIN | EPOLLOUT | EPOLLRDHUP);
  EXPECT_EQ(receive(pair.server), "");
  EXPECT_SAYS(send(pair.server, "x"), 1, 0);
  EXPECT_EQ(receive(pair.client), "x");
}

TEST_P(UnixConformanceTest, ClosingWithUnreadBytesResets) {
  Pair pair = unix_pair();
  send(pair.client, "unread");
  pair.server.reset();
  EXPECT_EQ(events(pair.client) & (EPOLLERR | EPOLLHUP), EPOLLERR | EPOLLHUP);
  EXPECT_EQ(receive(pair.client), "error ECONNRESET");
  EXPECT_EQ(receive(pair.client), "");
}

TEST_P(UnixConformanceTest, AFullQueueBlocksUntilThePeerReads) {
  const Pair pair = unix_pair();
  set_buffers(pair.client, 4096);
  const std::size_t taken = fill(pair.client);
  EXPECT_GT(taken, 0u);
  EXPECT_EQ(events(pair.client), 0u);
  EXPECT_GT(queued(pair.client, SIOCOUTQ), 0);
  std::size_t got = 0;
  while (got < taken) {
    const std::string part = receive(pair.server, 4096);
    if (part.empty() || part.starts_with("error")) break;
    got += part.size();
  }
  EXPECT_EQ(got, taken);
  EXPECT_TRUE(has(pair.client, EPOLLOUT));
  EXPECT_EQ(queued(pair.client, SIOCOUTQ), 0);
}

// Names.

TEST_P(UnixConformanceTest, ANameIsTakenOnceAndFreeWhenItsSocketIsClosed) {
  const Name at = name();
  UniqueFd first = listen_at(at);
  EXPECT_EQ(bind_at(local(), at).error, EADDRINUSE);
  first.reset();
  EXPECT_EQ(bind_at(local(), at).error, 0);
}

TEST_P(UnixConformanceTest, APathIsTakenUntilItsFileIsRemovedNotUntilItsSocketIsClosed) {
  const Name at = named(path());
  UniqueFd first = listen_at(at);
  EXPECT_EQ(bind_at(local(), at).error, EADDRINUSE);
  EXPECT_EQ(connect_at(local(), at), 0);
  first.reset();
  EXPECT_EQ(bind_at(local(), at).error, EADDRINUSE);
  EXPECT_EQ(said(connect_at(local(), at)).error, ECONNREFUSED) << "nobody listens";
}

TEST_P(UnixConformanceTest, TheFileOfASocketCanBeLookedAtAndRemoved) {
  const Name at = named(path());
  UniqueFd first = listen_at(at);
  struct stat found {};
  ASSERT_EQ(::lstat(path().c_str(), &found), 0);
  EXPECT_TRUE(S_ISSOCK(found.st_mode));
  EXPECT_EQ(found.st_uid, ::geteuid());
  EXPECT_EQ(said(::open(path().c_str(), O_RDWR | O_CLOEXEC)).error, ENXIO);
  const UniqueFd file(::open(path().c_str(), O_PATH | O_CLOEXEC));
  struct stat same {};
  ASSERT_EQ(::fstat(file.get(), &same), 0);
  EXPECT_EQ(same.st_ino, found.st_ino);
  const std::string by_descriptor = "/proc/self/fd/" + std::to_string(file.get());
  EXPECT_EQ(::chmod(by_descriptor.c_str(), 0600), 0);
  ASSERT_EQ(::lstat(path().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777u, 0600u);

  ASSERT_EQ(::unlink(path().c_str()), 0);
  EXPECT_EQ(said(::unlink(path().c_str())).error, ENOENT);
  EXPECT_EQ(said(::lstat(path().c_str(), &found)).error, ENOENT);
  EXPECT_EQ(said(connect_at(local(), at)).error, ENOENT) << "though it still listens";
  const UniqueFd second = listen_at(at);
  ASSERT_EQ(::lstat(path().c_str(), &found), 0);
  EXPECT_NE(found.st_ino, same.st_ino);
  first.reset();
  EXPECT_EQ(connect_at(local(), at), 0);
}

TEST_P(UnixConformanceTest, ASocketSaysBeforeItIsBoundWhichModeItsFileHas) {
  const UniqueFd bound = local();
  ASSERT_EQ(::fchmod(bound.get(), 0700), 0);
  ASSERT_EQ(bind_at(bound, named(path())).error, 0);
  struct stat found {};
  ASSERT_EQ(::lstat(path().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777u, 0700u);
}

TEST_P(UnixConformanceTest, AFileIsLockedOnceUntilItIsClosed) {
  const auto open = [&] { return UniqueFd(::open(path().c_str(), O_RDWR | O_CREAT, 0600)); };
  UniqueFd first = open();
  const UniqueFd second = open();
  EXPECT_EQ(::flock(first.get(), LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(said(::flock(second.get(), LOCK_EX | LOCK_NB)).error, EWOULDBLOCK);
  first.reset();
  EXPECT_EQ(::flock(second.get(), LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(bind_at(local(), named(path())).error, EADDRINUSE) << "no socket, but in the way";
  EXPECT_EQ(said(connect_at(local(), named(path()))).error, ECONNREFUSED);
}

TEST_P(UnixConformanceTest, ADuplicateIsTheSameSocket) {
  Pair pair = unix_pair();
  UniqueFd copy(::fcntl(pair.client.get(), F_DUPFD_CLOEXEC, 0));
  pair.client.reset();
  EXPECT_FALSE(is_last(pair.server));
  EXPECT_SAYS(send(copy, "x"), 1, 0);
  copy.reset();
  EXPECT_TRUE(is_last(pair.server));
}

TEST_P(UnixConformanceTest, WhatIsNotThereIsToldFromWhatDoesNotListen) {
  EXPECT_EQ(said(connect_at(local(), named(path()))).error, ENOENT);
  EXPECT_EQ(bind_at(local(), named(path("missing/socket"))).error, ENOENT);
  const UniqueFd bound = local();
  ASSERT_EQ(bind_at(bound, named(path())).error, 0);
  EXPECT_EQ(said(connect_at(local(), named(path()))).error, ECONNREFUSED);
}

TEST_P(UnixConformanceTest, ASocketOfAnotherTypeIsNoListener) {
  const UniqueFd by_path = bound_datagram(named(path()));
  EXPECT_EQ(said(connect_at(local(), named(path()))).error, EPROTOTYPE);
  const Name at = name();
  const UniqueFd abstract = bound_datagram(at);
  EXPECT_EQ(said(connect_at(local(), at)).error, ECONNREFUSED) << "types have names of their own";
  EXPECT_EQ(bind_at(local(), at).error, 0);
}

TEST_P(UnixConformanceTest, ASocketIsBoundOnce) {
  const UniqueFd bound = local();
  ASSERT_EQ(bind_at(bound, name()).error, 0);
  EXPECT_EQ(bind_at(bound, name()).error, EINVAL);
}

TEST_P(UnixConformanceTest, ListeningNeedsAName) {
  EXPECT_EQ(said(::listen(local().get(), 1)).error, EINVAL);
}

TEST_P(UnixConformanceTest, AnEmptyNameAsksTheKernelForOne) {
  const UniqueFd one = local();
  const UniqueFd other = local();
  ASSERT_EQ(bind_at(one, named("")).error, 0);
  ASSERT_EQ(bind_at(other, named("")).error, 0);
  const std::string given = name_of(one, ::getsockname);
  ASSERT_EQ(given.size(), 6u) << "NUL and five hexadecimal digits";
  EXPECT_EQ(given[0], '\0');
  EXPECT_NE(given, name_of(other, ::getsockname));
  ASSERT_EQ(::listen(one.get(), 1), 0);
  EXPECT_EQ(connect_at(local(), named(given)), 0);
}

TEST_P(UnixConformanceTest, ANameMayHoldAnyBytes) {
  std::string odd(std::string("\0a\0b", 4) + std::to_string(::getpid()));
  const UniqueFd listening = listen_at(named(odd));
  EXPECT_EQ(connect_at(local(), named(odd)), 0);
  odd[2] = 'x';
  EXPECT_EQ(said(connect_at(local(), named(odd))).error, ECONNREFUSED);
}

TEST_P(UnixConformanceTest, BothEndsAreToldTheListenersNameAndTheClientHasNone) {
  const Name at = named(path());
  const UniqueFd listening = listen_at(at);
  const UniqueFd client = local();
  ASSERT_EQ(connect_at(client, at), 0);
  const UniqueFd server = accept(listening);
  const std::string with_nul = path() + std::string(1, '\0');
  EXPECT_EQ(name_of(client, ::getpeername), with_nul);
  EXPECT_EQ(name_of(server, ::getsockname), with_nul);
  EXPECT_EQ(name_of(client, ::getsockname), "");
  EXPECT_EQ(name_of(server, ::getpeername), "");
}

TEST_P(UnixConformanceTest, AConnectedSocketDoesNotConnectAgain) {
  const Name at = name();
  const UniqueFd listening = listen_at(at);
  const UniqueFd client = local();
  ASSERT_EQ(connect_at(client, at), 0);
  EXPECT_EQ(said(connect_at(client, at)).error, EISCONN);
}

TEST_P(UnixConformanceTest, TheCredentialsOfThePeerAreKnown) {
  const Pair pair = unix_pair();
  for (const UniqueFd* each : {&pair.client, &pair.server}) {
    ucred peer{};
    socklen_t size = sizeof peer;
    ASSERT_EQ(::getsockopt(each->get(), SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
    EXPECT_EQ(peer.pid, ::getpid());
    EXPECT_EQ(peer.uid, ::geteuid());
    EXPECT_EQ(peer.gid, ::getegid());
  }
  ucred nobody{};
  socklen_t size = sizeof nobody;
  ASSERT_EQ(::getsockopt(local().get(), SOL_SOCKET, SO_PEERCRED, &nobody, &size), 0);
  EXPECT_EQ(nobody.pid, 0);
  EXPECT_EQ(nobody.uid, static_cast<uid_t>(-1));
}

TEST_P(UnixConformanceTest, WhoeverWaitsAtAListenerThatIsClosedIsReset) {
  const Name at = name();
  UniqueFd listening = listen_at(at);
  const UniqueFd client = local();
  ASSERT_EQ(connect_at(client, at), 0);
  listening.reset();
  EXPECT_EQ(receive(client), "error ECONNRESET");
  EXPECT_EQ(receive(client), "");
}

TEST_P(UnixConformanceTest, ASocketCanBeAskedWhatItIs) {
  const Pair pair = unix_pair();
  const auto ask = [](const UniqueFd& fd, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    EXPECT_EQ(::getsockopt(fd.get(), SOL_SOCKET, name, &value, &size), 0);
    return value;
  };
  EXPECT_EQ(ask(pair.client, SO_TYPE), SOCK_STREAM);
  EXPECT_EQ(ask(pair.client, SO_DOMAIN), AF_UNIX);
  EXPECT_EQ(ask(pair.client, SO_ACCEPTCONN), 0);
  EXPECT_EQ(ask(listen_at(name()), SO_ACCEPTCONN), 1);
  EXPECT_EQ(ask(local(SOCK_DGRAM), SO_TYPE), SOCK_DGRAM);
  EXPECT_EQ(ask(tcp(), SO_DOMAIN), AF_INET);
}

// Descriptors.

TEST_P(UnixConformanceTest, ADescriptorArrivesAndIsTheSameFile) {
  const Pair pair = unix_pair();
  UniqueFd passed = event(7);
  EXPECT_SAYS(pass(pair.client, "x", {passed.get()}), 1, 0);
  passed.reset();
  const Got got = take(pair.server);
  EXPECT_EQ(got.bytes, "x");
  EXPECT_EQ(got.flags, 0);
  ASSERT_EQ(got.descriptors.size(), 1u);
  EXPECT_EQ(value_of(got.descriptors[0]), 7u);
}

TEST_P(UnixConformanceTest, SeveralArriveInOrder) {
  const Pair pair = unix_pair();
  const UniqueFd one = event(1);
  const UniqueFd two = event(2);
  pass(pair.client, "x", {one.get(), two.get(), one.get()});
  const Got got = take(pair.server);
  ASSERT_EQ(got.descriptors.size(), 3u);
  EXPECT_EQ(value_of(got.descriptors[1]), 2u);
  EXPECT_EQ(value_of(got.descriptors[2]), 1u);
  EXPECT_EQ(value_of(got.descriptors[0]), 0u) << "the same, which was read";
}

TEST_P(UnixConformanceTest, WhatWasSentBeforeAndTheMessageArriveTogetherAndNothingBeyond) {
  const Pair pair = unix_pair();
  const UniqueFd passed = event(1);
  send(pair.client, "before ");
  pass(pair.client, "with", {passed.get()});
  send(pair.client, " after");
  const Got first = take(pair.server);
  EXPECT_EQ(first.bytes, "before with");
  EXPECT_EQ(first.descriptors.size(), 1u);
  const Got second = take(pair.server);
  EXPECT_EQ(second.bytes, " after");
  EXPECT_TRUE(second.descriptors.empty());
}

TEST_P(UnixConformanceTest, TwoMessagesWithDescriptorsAreTwoReceives) {
  const Pair pair = unix_pair();
  const UniqueFd one = event(1);
  const UniqueFd two = event(2);
  pass(pair.client, "a", {one.get()});
  pass(pair.client, "b", {two.get()});
  const Got first = take(pair.server);
  const Got second = take(pair.server);
  EXPECT_EQ(first.bytes, "a");
  EXPECT_EQ(second.bytes, "b");
  ASSERT_EQ(first.descriptors.size(), 1u);
  ASSERT_EQ(second.descriptors.size(), 1u);
  EXPECT_EQ(value_of(first.descriptors[0]), 1u);
  EXPECT_EQ(value_of(second.descriptors[0]), 2u);
}

TEST_P(UnixConformanceTest, DescriptorsComeWithTheFirstByteOfTheirMessage) {
  const Pair pair = unix_pair();
  const UniqueFd passed = event(1);
  pass(pair.client, "abc", {passed.get()});
  const Got first = take(pair.server, 1);
  EXPECT_EQ(first.bytes, "a");
  EXPECT_EQ(first.descriptors.size(), 1u);
  send(pair.client, "def");
  const Got second = take(pair.server);
  EXPECT_EQ(second.bytes, "bcdef") << "the rest is like any other bytes";
  EXPECT_TRUE(second.descriptors.empty());
}

TEST_P(UnixConformanceTest, AReceiveWithoutRoomForDescriptorsClosesThem) {
  const Pair pair = unix_pair();
  Pair other = unix_pair();
  pass(pair.client, "x", {other.server.get()});
  other.server.reset();
  EXPECT_FALSE(is_last(other.client)) << "it is under way";
  EXPECT_EQ(receive(pair.server), "x");
  EXPECT_TRUE(is_last(other.client));
}

TEST_P(UnixConformanceTest, AReceiveWithRoomForFewerClosesTheRestAndSaysSo) {
  const Pair pair = unix_pair();
  Pair other = unix_pair();
  const UniqueFd passed = event(1);
  pass(pair.client, "x", {passed.get(), other.server.get()});
  other.server.reset();
  const Got got = take(pair.server, 100, 1);
  EXPECT_EQ(got.flags, MSG_CTRUNC);
  EXPECT_EQ(got.descriptors.size(), 1u);
  EXPECT_TRUE(is_last(other.client));
  pass(pair.client, "x", {passed.get()});
  EXPECT_EQ(take(pair.server, 100, 0).flags, MSG_CTRUNC);
}

TEST_P(UnixConformanceTest, APeekGivesDescriptorsAndLeavesThem) {
  const Pair pair = unix_pair();
  const UniqueFd passed = event(1);
  pass(pair.client, "x", {passed.get()});
  EXPECT_EQ(take(pair.server, 100, 16, MSG_PEEK).descriptors.size(), 1u);
  EXPECT_EQ(take(pair.server).descriptors.size(), 1u);
}

TEST_P(UnixConformanceTest, DescriptorsThatNobodyReceivesAreClosedWithTheirSocket) {
  Pair pair = unix_pair();
  Pair other = unix_pair();
  pass(pair.client, "x", {other.server.get()});
  other.server.reset();
  pair.server.reset();
  EXPECT_TRUE(is_last(other.client));
  EXPECT_EQ(receive(pair.client), "error ECONNRESET") << "the byte was not read";
}

TEST_P(UnixConformanceTest, DescriptorsNeedAByteToTravelWith) {
  const Pair pair = unix_pair();
  Pair other = unix_pair();
  EXPECT_SAYS(pass(pair.client, "", {other.server.get()}), 0, 0);
  other.server.reset();
  EXPECT_TRUE(is_last(other.client));
  EXPECT_EQ(take(pair.server).bytes, "error EAGAIN");
}

TEST_P(UnixConformanceTest, TooManyDescriptorsOrOneThatIsClosedAreRefused) {
  const Pair pair = unix_pair();
  const UniqueFd passed = event(1);
  EXPECT_SAYS(pass(pair.client, "x", std::vector<int>(254, passed.get())), -1, EINVAL);
  EXPECT_SAYS(pass(pair.client, "x", std::vector<int>(253, passed.get())), 1, 0);
  EXPECT_EQ(take(pair.server, 100, 253).descriptors.size(), 253u);
  UniqueFd closed = event(1);
  const int number = closed.get();
  closed.reset();
  EXPECT_SAYS(pass(pair.client, "x", {passed.get(), number}), -1, EBADF);
  EXPECT_EQ(take(pair.server).bytes, "error EAGAIN");
}

TEST_P(UnixConformanceTest, AWatchedFileThatIsUnderWayIsWatchedStill) {
  const Pair pair = unix_pair();
  UniqueFd passed = event(1);
  const UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event wanted{};
  wanted.events = EPOLLIN;
  ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, passed.get(), &wanted), 0);
  pass(pair.client, "x", {passed.get()});
  passed.reset();
  epoll_event found{};
  EXPECT_EQ(::epoll_wait(epoll.get(), &found, 1, 0), 1) << "of a descriptor that is closed";
  EXPECT_EQ(receive(pair.server), "x");
  EXPECT_EQ(::epoll_wait(epoll.get(), &found, 1, 0), 0);
}

TEST_P(UnixConformanceTest, AStreamCannotBeDisconnectedNorReset) {
  Pair pair = unix_pair();
  const sockaddr nowhere{AF_UNSPEC, {}};
  EXPECT_EQ(said(::connect(pair.client.get(), &nowhere, sizeof nowhere)).error, EINVAL);
  EXPECT_SAYS(send(pair.client, "last"), 4, 0);
  reset_on_close(pair.client);
  pair.client.reset();
  EXPECT_EQ(receive(pair.server), "last");
  EXPECT_EQ(receive(pair.server), "");
}

TEST_P(UnixConformanceTest, WhoReadsNoMoreEndsThePeersSending) {
  const Pair pair = unix_pair();
  ASSERT_EQ(::shutdown(pair.client.get(), SHUT_RD), 0);
  EXPECT_SAYS(send(pair.server, "x"), -1, EPIPE);
  EXPECT_SAYS(send(pair.client, "x"), 1, 0);
  EXPECT_EQ(receive(pair.server), "x");
}

TEST_P(UnixConformanceTest, AConnectedSocketTakesNoAddress) {
  const Pair pair = unix_pair();
  EXPECT_SAYS(send_to(pair.client, name(), "x"), -1, EISCONN);
  EXPECT_SAYS(send_to(local(), name(), "x"), -1, EOPNOTSUPP);
}

INSTANTIATE_TEST_SUITE_P(Kernels, UnixConformanceTest, ::testing::Bool(), kernel_name);

}  // namespace
}  // namespace millrace::test
