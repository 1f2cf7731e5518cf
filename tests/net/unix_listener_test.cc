// Listening on Unix sockets: names, the file of a path, stale ones, permissions, and the end.
#include <millrace/server.h>
#include <millrace/unix_connection.h>

#include "support/allocations.h"
#include "support/loop_test.h"
#include "support/socket_pair.h"
#include "support/sockets.h"
#include "support/unix_dir.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <fstream>
#include <functional>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace millrace::test {
namespace {

// A user and a group that own nothing here.
constexpr unsigned kNobody = 65534;

struct UnixListenerTest : LoopTest {
  void TearDown() override {
    accepted.clear();
    LoopTest::TearDown();
  }
  Listener listen(const SocketAddress& address, const ListenOptions& options = {}) {
    return Listener(
        loop(), address,
        [this](UniqueFd socket, const SocketAddress& peer) {
          accepted.emplace_back(std::move(socket));
          from.push_back(peer);
        },
        options);
  }
  Listener listen(const std::string& name, const ListenOptions& options = {}) {
    return listen(dir.address(name), options);
  }
  // Why listening there fails, with its text in `text`; no error if it does not.
  std::error_code failure_of(const SocketAddress& address, const ListenOptions& options = {}) {
    try {
      const Listener made = listen(address, options);
      return {};
    } catch (const std::system_error& e) {
      text = e.what();
      return e.code();
    }
  }
  std::error_code failure_of(const std::string& name, const ListenOptions& options = {}) {
    return failure_of(dir.address(name), options);
  }
  // Leaves a socket's file behind, as a process does that is killed.
  void leave_stale(const std::string& name, int type = SOCK_STREAM) const { bound(name, type); }
  // A socket of the test's own that is bound to that path, and does not listen.
  UniqueFd bound(const std::string& name, int type = SOCK_STREAM) const {
    UniqueFd socket(::socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    const SocketAddress address = dir.address(name);
    EXPECT_EQ(::bind(socket.get(), address.native(), address.native_size()), 0);
    return socket;
  }
  bool accepts(std::size_t n) {
    return run_until([&] { return accepted.size() == n; });
  }
  bool said(const std::string& part) const { return text.find(part) != std::string::npos; }
  // Runs `act` in a forked child that then ends without destructors.
  static void in_child(const std::function<void()>& act) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      act();
      ::_exit(0);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }

  UnixDir dir;
  std::vector<RawSocket> accepted;
  std::vector<SocketAddress> from;
  std::string text;
};

TEST_F(UnixListenerTest, ListensOnAPathAndTellsIt) {
  const Listener listener = listen("s");
  EXPECT_EQ(listener.address(), dir.address("s"));
  EXPECT_TRUE(S_ISSOCK(dir.status("s").st_mode));
  RawSocket peer = RawSocket::connect_to(listener.address());
  ASSERT_TRUE(accepts(1));
  EXPECT_EQ(from[0].to_string(), SocketAddress::unix_abstract({}).to_string()) << "has no name";
  peer.send_all("hello");
  EXPECT_EQ(receive(accepted[0], 5), "hello");
}

TEST_F(UnixListenerTest, TellsTheNameOfAPeerThatHasOne) {
  const Listener listener = listen("s");
  RawSocket peer(bound("peer"));
  const SocketAddress to = listener.address();
  ASSERT_EQ(::connect(peer.fd(), to.native(), to.native_size()), 0);
  ASSERT_TRUE(accepts(1));
  EXPECT_EQ(from[0], dir.address("peer"));
}

TEST_F(UnixListenerTest, AnAbstractNameMakesNoFileAndMayHoldAnyByte) {
  const SocketAddress name = SocketAddress::unix_abstract(std::string("millrace\0 \n\xff", 12) +
                                                          std::to_string(::getpid()));
  const Listener listener = listen(name);
  EXPECT_EQ(listener.address(), name);
  const RawSocket peer = RawSocket::connect_to(name);
  EXPECT_TRUE(accepts(1));
  EXPECT_EQ(failure_of(name), std::errc::address_in_use);
  EXPECT_TRUE(said(name.to_string())) << text;
  EXPECT_TRUE(dir.names().empty());
}

TEST_F(UnixListenerTest, WithoutANameTheKernelGivesOne) {
  const Listener one = listen(SocketAddress::parse("unix:@"));
  const Listener other = listen(SocketAddress::parse("unix:@"));
  EXPECT_FALSE(one.address().abstract_name().empty());
  EXPECT_NE(one.address(), other.address());
  const RawSocket peer = RawSocket::connect_to(SocketAddress::parse(one.address().to_string()));
  EXPECT_TRUE(accepts(1));
}

TEST_F(UnixListenerTest, WhatIsWrongWithAPathIsSaidWithThePath) {
  EXPECT_EQ(failure_of("missing/s"), std::errc::no_such_file_or_directory);
  EXPECT_TRUE(said("bind unix:" + dir.path("missing/s"))) << text;
  std::ofstream(dir.path("file")) << "precious";
  EXPECT_EQ(failure_of("file/s"), std::errc::not_a_directory);
  EXPECT_TRUE(said(dir.path("file/s"))) << text;
  Server server(loop(), recorder);
  for (const std::string& bad : {std::string("unix:"), "unix:/" + std::string(107, 'x')}) {
    try {
      server.listen(bad);
      ADD_FAILURE() << bad;
    } catch (const std::system_error& e) {
      text = e.what();
      EXPECT_TRUE(said(bad)) << text;
    }
  }
}

TEST_F(UnixListenerTest, APathOfTheGreatestLengthIsTakenAndOneByteMoreIsRefused) {
  const std::string longest(107 - dir.path().size() - 1, 'n');
  {
    const Listener listener = listen(longest);
    EXPECT_EQ(listener.address().path(), dir.path(longest));
    const RawSocket peer = RawSocket::connect_to(listener.address());
    EXPECT_TRUE(accepts(1));
  }
  EXPECT_FALSE(dir.has(longest));
  EXPECT_THROW(SocketAddress::unix_path(dir.path(longest + "n")), std::system_error);
}

TEST_F(UnixListenerTest, WhatIsNoSocketIsNeverTouched) {
  std::ofstream(dir.path("file")) << "precious";
  EXPECT_EQ(failure_of("file"), std::errc::address_in_use);
  EXPECT_TRUE(said("unix:" + dir.path("file") + " (there is a file that is not a socket)")) << text;
  EXPECT_EQ(dir.status("file").st_size, 8);
  // A link is not followed: neither to where nothing is, nor to a stale socket.
  leave_stale("stale");
  for (const char* target : {"nowhere", "stale"}) {
    ASSERT_EQ(::symlink(dir.path(target).c_str(), dir.path("link").c_str()), 0);
    EXPECT_EQ(failure_of("link"), std::errc::address_in_use);
    EXPECT_TRUE(S_ISLNK(dir.status("link").st_mode));
    ::unlink(dir.path("link").c_str());
  }
  EXPECT_TRUE(dir.has("stale"));
  EXPECT_EQ(dir.names().size(), 2u) << "something was left behind";
}

TEST_F(UnixListenerTest, ASocketThatIsListenedOnStaysAndTheErrorSaysSo) {
  const Listener first = listen("s");
  const ino_t inode = dir.status("s").st_ino;
  EXPECT_EQ(failure_of("s"), std::errc::address_in_use);
  EXPECT_TRUE(said("unix:" + dir.path("s") + " (a socket is bound to it)")) << text;
  EXPECT_EQ(dir.status("s").st_ino, inode);
  run_for(10ms);
  EXPECT_TRUE(accepted.empty()) << "finding out has connected to the other one";
  const RawSocket peer = RawSocket::connect_to(first.address());
  EXPECT_TRUE(accepts(1));
  EXPECT_EQ(dir.names(), std::vector<std::string>{"s"});
}

TEST_F(UnixListenerTest, ASocketThatIsBoundAndNotYetListenedOnIsNotStale) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    const std::string name = "s" + std::to_string(type);
    const UniqueFd other = bound(name, type);
    EXPECT_EQ(failure_of(name), std::errc::address_in_use);
    EXPECT_TRUE(said("a socket is bound to it")) << text;
    EXPECT_TRUE(dir.has(name));
  }
}

TEST_F(UnixListenerTest, AStaleSocketIsReplaced) {
  for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
    leave_stale("s", type);
    const Listener listener = listen("s");
    const RawSocket peer = RawSocket::connect_to(listener.address());
    EXPECT_TRUE(accepts(1));
    EXPECT_EQ(dir.names(), std::vector<std::string>{"s"}) << "something was left behind";
    accepted.clear();
  }
}

TEST_F(UnixListenerTest, AStaleSocketStaysWhereReplacingIsOff) {
  leave_stale("s");
  ListenOptions options;
  options.path.replace_stale = false;
  EXPECT_EQ(failure_of("s", options), std::errc::address_in_use);
  EXPECT_TRUE(dir.has("s"));
}

TEST_F(UnixListenerTest, AStaleSocketOfAnotherUserIsNotTouched) {
  if (::geteuid() != 0) GTEST_SKIP() << "giving a file to another user needs root";
  leave_stale("s");
  ASSERT_EQ(::chown(dir.path("s").c_str(), kNobody, kNobody), 0);
  EXPECT_EQ(failure_of("s"), std::errc::address_in_use);
  EXPECT_TRUE(said("there is a socket of user 65534")) << text;
  EXPECT_TRUE(dir.has("s"));
}

TEST_F(UnixListenerTest, WhileAnotherProcessReplacesAStaleSocketItIsInUse) {
  leave_stale("s");
  const std::string lock = dir.path("s.millrace-lock");
  const UniqueFd other(::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
  EXPECT_EQ(failure_of("s"), std::errc::address_in_use);
  EXPECT_TRUE(said("another process is just taking it")) << text;
  EXPECT_TRUE(dir.has("s"));
  // One that was killed at that has left its lock, and no more: that holds nobody up.
  ASSERT_EQ(::flock(other.get(), LOCK_UN), 0);
  const Listener listener = listen("s");
  EXPECT_EQ(dir.names(), std::vector<std::string>{"s"});
}

// Many at once, again and again: one of them has it, and nobody removes what it has bound.
TEST_F(UnixListenerTest, OfManyProcessesThatFindAStaleSocketOneGetsIt) {
  constexpr int kStarters = 8;
  leave_stale("s");  // and then, each round, what the one before has left
  for (int round = 0; round < 20; ++round) {
    SocketPair gate;
    std::vector<pid_t> children;
    int results[2];
    ASSERT_EQ(::pipe(results), 0);
    const UniqueFd told(results[0]);
    UniqueFd tell(results[1]);
    for (int i = 0; i < kStarters; ++i) {
      children.push_back(::fork());
      ASSERT_GE(children.back(), 0);
      if (children.back() != 0) continue;
      gate.close_peer();
      char byte;
      ::fcntl(gate.ours(), F_SETFL, 0);
      static_cast<void>(::recvfrom(gate.ours(), &byte, 1, 0, nullptr, nullptr));  // all at once
      EventLoop own;
      char got = 'n';
      try {
        Listener listener(own, dir.address("s"), [](UniqueFd, const SocketAddress&) {});
        got = 'y';
        static_cast<void>(!::write(tell.get(), &got, 1));
        for (;;) ::pause();  // killed: what it has bound stays
      } catch (const std::system_error&) {
        static_cast<void>(!::write(tell.get(), &got, 1));
      }
      ::_exit(0);
    }
    gate.close_peer();
    gate.close_ours();
    int winners = 0;
    for (int i = 0; i < kStarters; ++i) {
      char got = 0;
      ASSERT_EQ(::read(told.get(), &got, 1), 1);
      winners += got == 'y';
    }
    EXPECT_EQ(winners, 1);
    RawSocket peer;
    EXPECT_NO_THROW(peer = RawSocket::connect_to(dir.address("s"))) << "who listens has no path";
    for (const pid_t child : children) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }
}

TEST_F(UnixListenerTest, TheFileHasTheModeThatIsAskedForWhateverTheUmask) {
  const mode_t before = ::umask(0077);
  for (const unsigned mode : {0600u, 0660u, 0666u, 0777u, 0u}) {
    ListenOptions options;
    options.path.mode = mode;
    const Listener listener = listen("s", options);
    EXPECT_EQ(dir.mode("s"), mode);
  }
  EXPECT_EQ(::umask(before), 0077u) << "the umask is the process's";
}

TEST_F(UnixListenerTest, WithoutAModeItIsWhatTheUmaskLeaves) {
  const mode_t before = ::umask(0027);
  const Listener listener = listen("s");
  ::umask(before);
  EXPECT_EQ(dir.mode("s"), 0750u);
}

TEST_F(UnixListenerTest, OwnerAndGroupAreSetAndThePermissionsHold) {
  if (::geteuid() != 0) GTEST_SKIP() << "giving a file to another user needs root";
  ASSERT_EQ(::chmod(dir.path().c_str(), 0755), 0);
  ListenOptions options;
  options.path = {.mode = 0660, .owner = kNobody, .group = kNobody};
  const Listener listener = listen("s", options);
  EXPECT_EQ(dir.status("s").st_uid, kNobody);
  EXPECT_EQ(dir.status("s").st_gid, kNobody);
  EXPECT_EQ(dir.mode("s"), 0660u);
  const auto connect_as = [&](unsigned user) {
    in_child([&] {
      const bool allowed = user == kNobody;
      if (::setgid(user) != 0 || ::setuid(user) != 0) ::_exit(2);
      const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
      const SocketAddress to = dir.address("s");
      const int result = ::connect(socket.get(), to.native(), to.native_size());
      ::_exit((result == 0) == allowed && (allowed || errno == EACCES) ? 0 : 1);
    });
  };
  connect_as(kNobody);
  connect_as(kNobody - 1);
}

TEST_F(UnixListenerTest, AnOwnerThatMayNotBeSetLeavesNoFile) {
  in_child([&] {
    if (::geteuid() == 0 && (::chmod(dir.path().c_str(), 0777) != 0 || ::setuid(kNobody) != 0)) {
      ::_exit(2);
    }
    ListenOptions options;
    options.path.owner = 0;
    EventLoop own;
    try {
      const Listener listener(
          own, dir.address("s"), [](UniqueFd, const SocketAddress&) {}, options);
    } catch (const std::system_error& e) {
      const bool clear = std::string(e.what()).find("chown unix:" + dir.path("s")) == 0;
      ::_exit(e.code() == std::errc::operation_not_permitted && clear ? 0 : 3);
    }
    ::_exit(4);
  });
  EXPECT_FALSE(dir.has("s"));
}

TEST_F(UnixListenerTest, WithoutADescriptorForItsPermissionsItLeavesNoFile) {
  in_child([&] {
    EventLoop own;
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 64;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    std::vector<UniqueFd> all;
    while (all.empty() || all.back()) all.emplace_back(::dup(0));
    all.resize(all.size() - 2);  // one is left: for the socket
    ListenOptions options;
    options.path = {.mode = 0600, .group = ::getegid()};
    try {
      const Listener listener(
          own, dir.address("s"), [](UniqueFd, const SocketAddress&) {}, options);
    } catch (const std::system_error& e) {
      const bool later = std::string(e.what()).find("open ") == 0;
      ::_exit(e.code() == std::errc::too_many_files_open && later && !dir.has("s") ? 0 : 3);
    }
    ::_exit(4);
  });
}

TEST_F(UnixListenerTest, WithoutMemoryItLeavesNoFile) {
  const SocketAddress address = dir.address("s");
  bool reached = true;
  for (std::uint64_t n = 0; reached; ++n) {
    const NoMemory limit(n, 1);
    try {
      const Listener listener = listen(address);
    } catch (const std::bad_alloc&) {
    }
    reached = limit.reached();
    EXPECT_FALSE(dir.has("s")) << "after " << n;
  }
}

TEST_F(UnixListenerTest, ThatItIsInUseIsToldWhereNoLockCanBeMade) {
  in_child([&] {
    if (::geteuid() == 0 && (::chmod(dir.path().c_str(), 0777) != 0 || ::setuid(kNobody) != 0)) {
      ::_exit(2);
    }
    ::mkdir(dir.path("closed").c_str(), 0700);
    const UniqueFd in_closed = bound("closed/s");
    ::chmod(dir.path("closed").c_str(), 0500);
    const bool told = failure_of("closed/s") == std::errc::address_in_use && said("is bound to it");
    ::chmod(dir.path("closed").c_str(), 0700);
    ::_exit(told ? 0 : 3);
  });
}

TEST_F(UnixListenerTest, TheFileGoesWithTheListenerAndWhenItStops) {
  { const Listener listener = listen("s"); }
  EXPECT_FALSE(dir.has("s"));
  Listener listener = listen("s");
  Listener moved = std::move(listener);
  EXPECT_TRUE(dir.has("s"));
  moved.stop();
  EXPECT_FALSE(dir.has("s"));
  const Listener next = listen("s");
  moved = listen("other");
  EXPECT_TRUE(dir.has("s")) << "it belongs to another one by now";
}

TEST_F(UnixListenerTest, AFileThatHasTakenItsPlaceIsNotRemoved) {
  std::optional<Listener> first(listen("s"));
  ::unlink(dir.path("s").c_str());
  const Listener second = listen("s");
  first.reset();
  EXPECT_TRUE(dir.has("s"));
  const RawSocket peer = RawSocket::connect_to(second.address());
  EXPECT_TRUE(accepts(1));
}

TEST_F(UnixListenerTest, TheFileStaysWhereRemovingIsOff) {
  ListenOptions options;
  options.path.remove_at_end = false;
  { const Listener listener = listen("s", options); }
  EXPECT_TRUE(dir.has("s"));
}

TEST_F(UnixListenerTest, AForkedChildDoesNotRemoveTheFile) {
  std::optional<Listener> listener(listen("s"));
  in_child([&] {
    loop().reinit_after_fork();
    listener->stop();
    listener.reset();
  });
  EXPECT_TRUE(dir.has("s"));
  const RawSocket peer = RawSocket::connect_to(listener->address());
  EXPECT_TRUE(accepts(1));
}

TEST_F(UnixListenerTest, StoppingHandsOverWhoHasConnectedByThen) {
  Listener listener = listen("s");
  const auto peers = connect_peers(listener.address(), 10);
  listener.stop();
  EXPECT_EQ(listener.waiting(), 10u);
  EXPECT_TRUE(accepts(10));
  EXPECT_EQ(listener.stats().dropped, 0u);
}

TEST_F(UnixListenerTest, WhoHasConnectedAndClosedBeforeIsAcceptedAllTheSame) {
  Listener listener = listen("s");
  for (int i = 0; i < 10; ++i) RawSocket::connect_to(listener.address()).close();
  ASSERT_TRUE(accepts(10));
  for (RawSocket& one : accepted) EXPECT_TRUE(sees_end(one));
}

TEST_F(UnixListenerTest, WhatItAcceptsHasTheBufferSizesThatWereAskedFor) {
  ListenOptions options;
  options.socket.send_buffer_bytes = 16 * 1024;
  const Listener listener = listen("s", options);
  const RawSocket peer = RawSocket::connect_to(listener.address());
  ASSERT_TRUE(accepts(1));
  EXPECT_EQ(socket_option(accepted[0].fd(), SOL_SOCKET, SO_SNDBUF), 32 * 1024);
}

}  // namespace
}  // namespace millrace::test
