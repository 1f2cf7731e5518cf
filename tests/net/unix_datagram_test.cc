#include <millrace/unix_datagram_socket.h>

#include "support/datagram_test.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

namespace millrace::test {
namespace {

using Texts = std::vector<std::string>;

struct UnixDatagramTest : DatagramTest {
  UnixDatagramTest() {
    char name[] = "/tmp/millrace-datagrams-XXXXXX";
    directory = ::mkdtemp(name);
  }
  ~UnixDatagramTest() override { std::filesystem::remove_all(directory); }

  UnixDatagramCallbacks keep_unix() {
    return {
        .on_datagram = [this](UnixDatagramSocket&, const Datagram& d) { keep_mail(d); },
        .on_drained = [this](UnixDatagramSocket&) { ++drained; },
        .on_error = [this](UnixDatagramSocket&, const DatagramError& e) { errors.push_back(e); }};
  }
  SocketAddress path(const std::string& name) const {
    return SocketAddress::unix_path(directory + "/" + name);
  }
  template <class Action>
  static std::error_code error_of(Action&& action) {
    try {
      action();
    } catch (const std::system_error& e) {
      return e.code();
    }
    return {};
  }
  // Sends until the kernel has no room, and then n more; how many in all.
  template <class Send>
  static Texts fill(DatagramSocket& socket, int n, Send&& send) {
    Texts sent;
    for (int left = n; left > 0;) {
      sent.push_back(std::to_string(sent.size()));
      EXPECT_TRUE(send(sent.back()));
      socket.flush();
      if (socket.queued_datagrams() > 0) --left;
    }
    return sent;
  }

  const SocketAddress autobind = SocketAddress::unix_abstract("");
  std::string directory;
};

TEST_F(UnixDatagramTest, EchoesOverPathsAndAbstractNames) {
  for (const SocketAddress& address : {path("echo"), autobind}) {
    UnixDatagramSocket echo(loop(), {.on_datagram = [](UnixDatagramSocket& s, const Datagram& d) {
                              EXPECT_TRUE(s.reply(d, d.bytes));
                            }});
    echo.bind(address);
    RawDatagrams peer(path("peer"));
    peer.send_to(echo.address(), "hello");
    EXPECT_EQ(peer_receives(peer, 1), Texts{"hello"});
    EXPECT_EQ(peer.last_from, echo.address());
    ::unlink((directory + "/peer").c_str());
  }
}

TEST_F(UnixDatagramTest, AnAbstractNameMayHoldAnyBytes) {
  using namespace std::string_literals;
  const SocketAddress name =
      SocketAddress::unix_abstract("millrace\0"s + std::to_string(::getpid()) + "\0x"s);
  UnixDatagramSocket receiver(loop(), keep_unix());
  receiver.bind(name);
  EXPECT_EQ(receiver.address(), name);
  UnixDatagramSocket sender(loop(), {});
  sender.connect(name);
  EXPECT_TRUE(sender.send("x"));
  ASSERT_TRUE(receives(1));
  EXPECT_EQ(inbox[0].from, SocketAddress());
}

TEST_F(UnixDatagramTest, WhoHasNoNameCannotBeAnswered) {
  DatagramResult result = DatagramResult::sent;
  UnixDatagramSocket echo(loop(), {.on_datagram = [&](UnixDatagramSocket& s, const Datagram& d) {
                            keep_mail(d);
                            result = s.reply(d, d.bytes);
                          }});
  echo.bind(autobind);
  UnixDatagramSocket nameless(loop(), {});
  nameless.connect(echo.address());
  nameless.send("who am I?");
  ASSERT_TRUE(receives(1));
  EXPECT_EQ(result, DatagramResult::wrong_family);
}

// libuv and Linux: a connected socket is told by EPOLLOUT when its peer has room again.
TEST_F(UnixDatagramTest, WhenTheQueueOfTheConnectedPeerIsFullTheRestWaitsAndLeavesInOrder) {
  RawDatagrams peer(path("peer"));
  UnixDatagramSocket socket(loop(), keep_unix());
  socket.connect(peer.address());
  const Texts sent = fill(socket, 20, [&](const std::string& text) { return socket.send(text); });
  EXPECT_LT(run_for(20ms), 10u) << "it spins";
  EXPECT_EQ(socket.queued_datagrams(), 20u);
  EXPECT_EQ(peer_receives(peer, sent.size()), sent);
  EXPECT_TRUE(errors.empty());
}

// The kernel calls one that is not connected writable whatever the receiver's queue.
TEST_F(UnixDatagramTest, WhenTheQueueOfAnyReceiverIsFullTheRestWaitsWithoutSpinning) {
  RawDatagrams peer(path("peer"));
  UnixDatagramSocket socket(loop(), keep_unix());
  socket.bind(autobind);
  const Texts sent = fill(
      socket, 20, [&](const std::string& text) { return socket.send_to(peer.address(), text); });
  EXPECT_LT(run_for(50ms), 30u) << "it spins";
  EXPECT_EQ(socket.queued_datagrams(), 20u);
  EXPECT_EQ(peer_receives(peer, sent.size()), sent);
  EXPECT_TRUE(errors.empty());
}

// EPOLLOUT tells of the peer: it would come at once, over and over.
TEST_F(UnixDatagramTest, WhenTheQueueOfAnotherThanThePeerIsFullTheRestWaitsWithoutSpinning) {
  RawDatagrams peer(path("peer"));
  RawDatagrams other(path("other"));
  UnixDatagramSocket socket(loop(), keep_unix());
  socket.bind(autobind);
  other.send_to(socket.address(), "question");
  ASSERT_TRUE(receives(1));
  Datagram question;
  question.from = inbox[0].from;
  socket.connect(peer.address());
  const Texts sent =
      fill(socket, 20, [&](const std::string& text) { return socket.reply(question, text); });
  EXPECT_LT(run_for(50ms), 30u) << "it spins";
  EXPECT_EQ(socket.queued_datagrams(), 20u);
  EXPECT_EQ(peer_receives(other, sent.size()), sent);
  EXPECT_TRUE(socket.send("news"));
  EXPECT_EQ(peer_receives(peer, 1), Texts{"news"});
}

// Whoever sends them could use up all that we may have.
TEST_F(UnixDatagramTest, DescriptorsThatComeWithADatagramAreNotTakenWhateverTheOptions) {
  UnixDatagramSocket socket(loop(), keep_unix(), {.local_address = true, .receive_offload = true});
  socket.bind(autobind);
  const RawDatagrams peer(path("peer"));
  const auto before = open_descriptors();
  const SocketAddress to = socket.address();
  char byte = 'x';
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_name = const_cast<sockaddr*>(to.native());
  message.msg_namelen = to.native_size();
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int attached = STDIN_FILENO;
  std::memcpy(CMSG_DATA(header), &attached, sizeof attached);
  ASSERT_EQ(::sendmsg(peer.fd(), &message, 0), 1);
  ASSERT_TRUE(receives(1));
  EXPECT_EQ(inbox[0].bytes, "x");
  EXPECT_EQ(open_descriptors(), before);
}

TEST_F(UnixDatagramTest, OptionsOfIpDoNotChangeHowMuchIsReceived) {
  UnixDatagramSocket socket(loop(), keep_unix(),
                            {.largest_datagram_bytes = 128 * 1024, .receive_offload = true});
  socket.bind(autobind);
  const RawDatagrams peer(path("peer"));
  peer.send_to(socket.address(), std::string(100'000, 'x'));
  ASSERT_TRUE(receives(1));
  EXPECT_EQ(inbox[0].bytes.size(), 100'000u);
}

TEST_F(UnixDatagramTest, AFullQueueOfOurOwnRefusesUntilThereIsRoom) {
  RawDatagrams peer(path("peer"));
  UnixDatagramSocket socket(loop(), keep_unix(), {.queue_datagrams = 4});
  socket.connect(peer.address());
  const Texts sent = fill(socket, 4, [&](const std::string& text) { return socket.send(text); });
  EXPECT_EQ(socket.send("one too many"), DatagramResult::refused);
  EXPECT_EQ(peer_receives(peer, sent.size()), sent);
  EXPECT_TRUE(run_until([&] { return drained == 1; }));
}

TEST_F(UnixDatagramTest, AReceiverThatIsGoneIsAnErrorAndTheSocketGoesOn) {
  UnixDatagramSocket socket(loop(), keep_unix());
  socket.bind(autobind);
  RawDatagrams peer(path("alive"));
  socket.send_to(path("nobody"), "lost");
  socket.send_to(peer.address(), "arrives");
  EXPECT_EQ(peer_receives(peer, 1), Texts{"arrives"});
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].code, std::errc::no_such_file_or_directory);
  EXPECT_EQ(errors[0].destination, path("nobody"));
}

TEST_F(UnixDatagramTest, APeerThatGoesIsReportedAndDoesNotSpin) {
  auto peer = std::make_unique<RawDatagrams>(path("peer"));
  UnixDatagramSocket socket(loop(), keep_unix());
  socket.connect(peer->address());
  peer.reset();
  socket.send("anybody?");
  ASSERT_TRUE(run_until([&] { return !errors.empty(); }));
  EXPECT_EQ(errors.back().code, std::errc::connection_refused);
  EXPECT_EQ(errors.back().destination, path("peer"));
  EXPECT_LT(run_for(20ms), 10u);
  EXPECT_EQ(socket.stats().send_failures, 1u);
  ::unlink((directory + "/peer").c_str());
  RawDatagrams successor(path("peer"));
  EXPECT_FALSE(socket.disconnect());
  socket.connect(successor.address());
  socket.send("you then");
  EXPECT_EQ(peer_receives(successor, 1), Texts{"you then"});
}

// The queue of errors is IP's: asked of a Unix socket for it, the kernel gives a datagram. The
// error is that the peer has turned to somebody else.
TEST_F(UnixDatagramTest, AnErrorTakesNoDatagramWithItAndDoesNotSpin) {
  UnixDatagramSocket socket(loop(), keep_unix());
  socket.bind(path("us"));
  const RawDatagrams peer(path("peer"));
  const RawDatagrams other(path("other"));
  const auto connect_peer_to = [&](const SocketAddress& to) {
    EXPECT_EQ(::connect(peer.fd(), to.native(), to.native_size()), 0);
  };
  connect_peer_to(socket.address());
  socket.connect(path("peer"));
  socket.pause_reading();
  socket.send("never read");
  socket.flush();
  EXPECT_EQ(::send(peer.fd(), "before I go", 11, 0), 11);
  connect_peer_to(path("other"));
  ASSERT_TRUE(run_until([&] { return !errors.empty(); }));
  EXPECT_EQ(errors[0].code, std::errc::connection_reset);
  EXPECT_EQ(errors[0].destination, path("peer"));
  EXPECT_LT(run_for(20ms), 10u) << "it spins";
  socket.resume_reading();
  ASSERT_TRUE(receives(1));
  EXPECT_EQ(texts(), Texts{"before I go"});
}

TEST_F(UnixDatagramTest, DatagramsLargerThanUdpKnowsPass) {
  UnixDatagramSocket receiver(loop(), keep_unix(), {.largest_datagram_bytes = 200'000});
  receiver.bind(autobind);
  UnixDatagramSocket sender(loop(), {});
  sender.connect(receiver.address());
  std::string large(150'000, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 7 / 3);
  EXPECT_TRUE(sender.send(large));
  ASSERT_TRUE(receives(1));
  EXPECT_EQ(inbox[0].bytes, large);
  EXPECT_EQ(sender.send(std::string(400'000, 'x')), DatagramResult::too_large)
      << "more than the send buffer";
}

TEST_F(UnixDatagramTest, RemovesItsFileAndAForkedChildDoesNot) {
  auto socket = std::make_unique<UnixDatagramSocket>(loop(), keep_unix());
  socket->bind(path("us"));
  const pid_t child = ::fork();
  if (child == 0) {
    socket.reset();
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(std::filesystem::exists(directory + "/us"));
  socket->close();
  EXPECT_FALSE(std::filesystem::exists(directory + "/us"));
  socket->bind(path("us"));
  EXPECT_TRUE(std::filesystem::exists(directory + "/us"));
  socket.reset();
  EXPECT_FALSE(std::filesystem::exists(directory + "/us"));
}

TEST_F(UnixDatagramTest, AStaleFileIsReplacedAndALivingSocketIsNot) {
  { const RawDatagrams stale(path("us")); }
  ASSERT_TRUE(std::filesystem::exists(directory + "/us"));
  UnixDatagramSocket socket(loop(), keep_unix());
  socket.bind(path("us"));
  const RawDatagrams peer(path("peer"));
  peer.send_to(path("us"), "alive");
  ASSERT_TRUE(receives(1));
  UnixDatagramSocket second(loop(), {});
  EXPECT_EQ(error_of([&] { second.bind(path("us")); }), std::errc::address_in_use);
  EXPECT_FALSE(second.is_open());
  peer.send_to(path("us"), "still alive");
  EXPECT_TRUE(receives(2));
}

TEST_F(UnixDatagramTest, WhatCannotBeSetUpSaysWhy) {
  UnixDatagramSocket socket(loop(), {});
  EXPECT_EQ(error_of([&] { socket.connect(path("nobody")); }),
            std::errc::no_such_file_or_directory);
  EXPECT_EQ(error_of([&] { socket.bind("127.0.0.1:0"); }), std::errc::address_family_not_supported);
  EXPECT_EQ(error_of([&] { socket.bind("unix:"); }), std::errc::invalid_argument);
  { const RawDatagrams stale(path("stale")); }
  EXPECT_EQ(error_of([&] { socket.connect(path("stale")); }), std::errc::connection_refused);
  socket.bind(autobind);
  EXPECT_EQ(error_of([&] { socket.bind(autobind); }), std::errc::invalid_argument);
  EXPECT_EQ(socket.send_to(SocketAddress::loopback(9), "x"), DatagramResult::wrong_family);
}

TEST_F(UnixDatagramTest, DisconnectedItCanSendToAnybody) {
  RawDatagrams one(path("one"));
  RawDatagrams two(path("two"));
  UnixDatagramSocket socket(loop(), {});
  socket.bind(path("us"));
  socket.connect(one.address());
  EXPECT_TRUE(socket.send("to one"));
  EXPECT_EQ(socket.send_to(two.address(), "x"), DatagramResult::connected);
  EXPECT_FALSE(socket.disconnect());
  EXPECT_TRUE(socket.send_to(two.address(), "to two"));
  EXPECT_EQ(peer_receives(one, 1), Texts{"to one"});
  EXPECT_EQ(peer_receives(two, 1), Texts{"to two"});
  EXPECT_EQ(two.last_from, path("us"));
}

}  // namespace
}  // namespace millrace::test
