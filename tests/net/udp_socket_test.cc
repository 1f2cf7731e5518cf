#include <millrace/udp_socket.h>

#include "support/datagram_test.h"

#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

namespace millrace::test {
namespace {

using Texts = std::vector<std::string>;

struct UdpSocketTest : DatagramTest {};

template <class Action>
std::system_error thrown_by(Action&& action) {
  try {
    action();
  } catch (const std::system_error& e) {
    return e;
  }
  ADD_FAILURE() << "nothing was thrown";
  return std::system_error(std::error_code());
}

TEST_F(UdpSocketTest, EchoesToWhoeverSends) {
  UdpSocket echo(loop(), {.on_datagram = [](UdpSocket& s, const Datagram& d) {
                   EXPECT_TRUE(s.send_to(d.from, d.bytes));
                 }});
  echo.bind("127.0.0.1:0");
  RawDatagrams one;
  RawDatagrams two;
  one.send_to(echo.address(), "from one");
  two.send_to(echo.address(), "from two");
  EXPECT_EQ(peer_receives(one, 1), Texts{"from one"});
  EXPECT_EQ(peer_receives(two, 1), Texts{"from two"});
  EXPECT_EQ(one.last_from, echo.address());
}

TEST_F(UdpSocketTest, EchoesOverIpv6) {
  UdpSocket echo(loop(),
                 {.on_datagram = [](UdpSocket& s, const Datagram& d) { s.reply(d, d.bytes); }});
  echo.bind("[::1]:0");
  RawDatagrams peer(SocketAddress::loopback_v6(0));
  peer.send_to(echo.address(), "six");
  EXPECT_EQ(peer_receives(peer, 1), Texts{"six"});
}

TEST_F(UdpSocketTest, OneOnTheIpv6WildcardServesIpv4TooUnlessToldNotTo) {
  UdpSocket both(loop(),
                 {.on_datagram = [](UdpSocket& s, const Datagram& d) { s.reply(d, d.bytes); }});
  both.bind("[::]:0");
  RawDatagrams peer;
  peer.send_to(SocketAddress::loopback(both.address().port()), "four");
  EXPECT_EQ(peer_receives(peer, 1), Texts{"four"});
  EXPECT_TRUE(both.send_to(peer.address(), "an IPv4 address as it is"));
  EXPECT_EQ(peer_receives(peer, 1), Texts{"an IPv4 address as it is"});

  UdpSocket only_six(loop(), {}, {.v6_only = true});
  only_six.bind("[::]:0");
  EXPECT_EQ(only_six.send_to(peer.address(), "x"), DatagramResult::wrong_family);
  UdpSocket only_four(loop(), {});
  only_four.bind(any_port);
  EXPECT_EQ(only_four.send_to(SocketAddress::loopback_v6(7), "x"), DatagramResult::wrong_family);
}

TEST_F(UdpSocketTest, WhatACallbackSendsLeavesInOneCallWhenItReturns) {
  RawDatagrams peer;
  std::uint64_t inside = 99;
  Faults faults;
  UdpSocket socket(loop(), {.on_datagram = [&](UdpSocket& s, const Datagram& d) {
                     for (int i = 0; i < 10; ++i) s.reply(d, std::to_string(i));
                     inside = faults.count(Call::sendmmsg);
                   }});
  socket.bind(any_port);
  peer.send_to(socket.address(), "go");
  EXPECT_EQ(peer_receives(peer, 10), (Texts{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}));
  EXPECT_EQ(inside, 0u);
  EXPECT_EQ(faults.count(Call::sendmmsg), 1u);
}

TEST_F(UdpSocketTest, WhatIsSentFromElsewhereLeavesAtTheEndOfTheIteration) {
  RawDatagrams peer;
  UdpSocket socket(loop(), {});
  socket.bind(any_port);
  EXPECT_TRUE(socket.send_to(peer.address(), "one"));
  EXPECT_TRUE(socket.send_to(peer.address(), "two"));
  EXPECT_EQ(peer.receive(), Texts());
  EXPECT_EQ(socket.queued_datagrams(), 2u);
  EXPECT_EQ(socket.queued_bytes(), 6u);
  turn();
  EXPECT_EQ(peer.receive(), (Texts{"one", "two"}));
  EXPECT_EQ(socket.queued_datagrams(), 0u);
}

TEST_F(UdpSocketTest, FlushSendsNow) {
  RawDatagrams peer;
  UdpSocket socket(loop(), {});
  socket.bind(any_port);
  socket.send_to(peer.address(), "now");
  socket.flush();
  EXPECT_EQ(peer.receive(), Texts{"now"});
}

TEST_F(UdpSocketTest, BurstsOf64LeaveBeforeTheCallbackReturns) {
  RawDatagrams peer;
  UdpSocket socket(loop(), {}, {.segmentation_offload = false});
  socket.bind(any_port);
  for (int i = 0; i < 64; ++i) socket.send_to(peer.address(), "x");
  EXPECT_EQ(peer.receive().size(), 64u);
}

TEST_F(UdpSocketTest, FourDatagramsAndAnEmptyOneInOneTurnAreFiveDatagrams) {
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  const RawDatagrams peer;
  for (const char* text : {"a", "bb", "", "ccc", "d"}) peer.send_to(socket.address(), text);
  const Faults faults;
  ASSERT_TRUE(receives(5));
  EXPECT_EQ(texts(), (Texts{"a", "bb", "", "ccc", "d"}));
  EXPECT_EQ(faults.count(Call::recvmmsg), 1u);
  EXPECT_EQ(socket.stats().received, 5u);
  EXPECT_EQ(socket.stats().bytes_received, 7u);
}

TEST_F(UdpSocketTest, SendsEmptyDatagrams) {
  RawDatagrams peer;
  UdpSocket socket(loop(), {});
  socket.connect(peer.address());
  EXPECT_TRUE(socket.send(""));
  EXPECT_TRUE(socket.send(""));
  EXPECT_EQ(peer_receives(peer, 2), (Texts{"", ""}));
}

TEST_F(UdpSocketTest, ADatagramIsAtMost65507BytesAndMoreIsRefusedAtOnce) {
  RawDatagrams peer;
  UdpSocket socket(loop(), {});
  socket.bind(any_port);
  const DatagramResult result = socket.send_to(peer.address(), std::string(65'508, 'x'));
  EXPECT_EQ(result, DatagramResult::too_large);
  EXPECT_EQ(result.error(), std::errc::message_size);
  EXPECT_EQ(socket.queued_datagrams(), 0u);
  EXPECT_TRUE(socket.send_to(peer.address(), std::string(65'507, 'x')));
  EXPECT_EQ(peer_receives(peer, 1).at(0).size(), 65'507u);
}

TEST_F(UdpSocketTest, ReceivesTheLargestWhole) {
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  const RawDatagrams peer;
  std::string large(65'507, '\0');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>(i * 7 / 3);
  peer.send_to(socket.address(), large);
  ASSERT_TRUE(receives(1));
  EXPECT_EQ(inbox[0].bytes, large);
  EXPECT_EQ(inbox[0].size_bytes, large.size());
  EXPECT_EQ(socket.stats().truncated, 0u);
}

TEST_F(UdpSocketTest, WhatIsCutOffSaysSoWithItsRealSize) {
  bool truncated = false;
  UdpSocket socket(loop(),
                   {.on_datagram =
                        [&](UdpSocket&, const Datagram& d) {
                          truncated |= d.truncated();
                          keep_mail(d);
                        }},
                   {.largest_datagram_bytes = 5});
  socket.bind(any_port);
  const RawDatagrams peer;
  peer.send_to(socket.address(), "12345");
  ASSERT_TRUE(receives(1));
  EXPECT_FALSE(truncated);
  peer.send_to(socket.address(), "123456789");
  ASSERT_TRUE(receives(2));
  EXPECT_TRUE(truncated);
  EXPECT_EQ(inbox[1].bytes, "12345");
  EXPECT_EQ(inbox[1].size_bytes, 9u);
  EXPECT_EQ(socket.stats().truncated, 1u);
}

TEST_F(UdpSocketTest, EachStateTakesTheSendThatFitsIt) {
  RawDatagrams peer;
  RawDatagrams other;
  UdpSocket socket(loop(), {});
  const auto expect = [&](DatagramResult send, DatagramResult send_to, const char* state) {
    EXPECT_EQ(socket.send("x"), send) << state;
    EXPECT_EQ(socket.send_to(peer.address(), "y"), send_to) << state;
  };
  expect(DatagramResult::closed, DatagramResult::closed, "new");
  EXPECT_EQ(socket.disconnect(), std::errc::not_connected);
  EXPECT_EQ(DatagramResult(DatagramResult::closed).error(), std::errc::bad_file_descriptor);

  socket.bind(any_port);
  expect(DatagramResult::no_destination, DatagramResult::sent, "bound");
  EXPECT_EQ(socket.disconnect(), std::errc::not_connected);
  EXPECT_EQ(DatagramResult(DatagramResult::no_destination).error(),
            std::errc::destination_address_required);
  const SocketAddress bound = socket.address();

  socket.connect(peer.address());
  EXPECT_TRUE(socket.is_connected());
  EXPECT_EQ(socket.peer(), peer.address());
  EXPECT_EQ(socket.address(), bound);
  expect(DatagramResult::sent, DatagramResult::connected, "connected");
  EXPECT_EQ(DatagramResult(DatagramResult::connected).error(), std::errc::already_connected);
  EXPECT_EQ(thrown_by([&] { socket.connect(other.address()); }).code(),
            std::errc::already_connected);

  EXPECT_FALSE(socket.disconnect());
  EXPECT_FALSE(socket.is_connected());
  EXPECT_EQ(socket.peer(), SocketAddress());
  EXPECT_EQ(socket.address(), bound);
  expect(DatagramResult::no_destination, DatagramResult::sent, "disconnected");
  EXPECT_EQ(socket.disconnect(), std::errc::not_connected);

  socket.connect(other.address());
  socket.close();
  EXPECT_FALSE(socket.is_connected());
  expect(DatagramResult::closed, DatagramResult::closed, "closed");
  EXPECT_EQ(peer_receives(peer, 3), (Texts{"y", "x", "y"}));
}

TEST_F(UdpSocketTest, AConnectedSocketReceivesFromItsPeerOnly) {
  RawDatagrams peer;
  const RawDatagrams stranger;
  UdpSocket socket(loop(), keep());
  socket.connect(peer.address());
  stranger.send_to(socket.address(), "stranger");
  peer.send_to(socket.address(), "peer");
  ASSERT_TRUE(receives(1));
  EXPECT_EQ(texts(), Texts{"peer"});
  EXPECT_EQ(inbox[0].from, peer.address());
}

TEST_F(UdpSocketTest, WhatCannotBeSetUpSaysWhyAndLeavesTheSocketAsItWas) {
  const RawDatagrams taken;
  UdpSocket socket(loop(), {});
  const auto in_use = thrown_by([&] { socket.bind(taken.address()); });
  EXPECT_EQ(in_use.code(), std::errc::address_in_use);
  EXPECT_NE(std::string(in_use.what()).find("bind " + taken.address().to_string()),
            std::string::npos);
  EXPECT_EQ(thrown_by([&] { socket.bind("192.0.2.1:0"); }).code(),
            std::errc::address_not_available);
  EXPECT_EQ(thrown_by([&] { socket.bind("nonsense"); }).code(), std::errc::invalid_argument);
  EXPECT_EQ(thrown_by([&] { socket.bind(SocketAddress()); }).code(),
            std::errc::address_family_not_supported);
  EXPECT_FALSE(socket.is_open());
  socket.bind(any_port);
  const auto twice = thrown_by([&] { socket.bind(any_port); });
  EXPECT_EQ(twice.code(), std::errc::invalid_argument);
  EXPECT_NE(std::string(twice.what()).find(socket.address().to_string()), std::string::npos);
}

TEST_F(UdpSocketTest, IsBoundAnewAfterClose) {
  UdpSocket socket(loop(), keep());
  const RawDatagrams peer;
  for (int i = 0; i < 3; ++i) {
    socket.bind(any_port);
    peer.send_to(socket.address(), "life");
    ASSERT_TRUE(receives(static_cast<std::size_t>(i) + 1));
    socket.close();
    EXPECT_EQ(socket.address(), SocketAddress());
    EXPECT_EQ(socket.fd(), -1);
    turn();
  }
}

TEST_F(UdpSocketTest, WhatWasSentLeavesThoughTheSocketIsDestroyed) {
  RawDatagrams peer;
  {
    UdpSocket socket(loop(), {});
    socket.connect(peer.address());
    socket.send("last words");
  }
  EXPECT_EQ(peer.receive(), Texts{"last words"});
}

TEST_F(UdpSocketTest, MayBeDestroyedInsideItsOwnCallback) {
  std::unique_ptr<UdpSocket> socket;
  int calls = 0;
  socket = std::make_unique<UdpSocket>(
      loop(), UdpCallbacks{.on_datagram = [&, alive = std::string("still here")](
                                              UdpSocket& s, const Datagram& d) {
        ++calls;
        s.reply(d, "bye");
        socket.reset();
        EXPECT_EQ(alive, "still here");
      }});
  socket->bind(any_port);
  RawDatagrams peer;
  for (int i = 0; i < 5; ++i) peer.send_to(socket->address(), "x");
  EXPECT_EQ(peer_receives(peer, 1), Texts{"bye"});
  run_for(5ms);
  EXPECT_EQ(calls, 1);
}

// libuv's test-watcher-cross-stop.
TEST_F(UdpSocketTest, AllOf2500MayBeDestroyedInTheCallbackOfOne) {
  constexpr std::size_t kSockets = 2500;
  if (raise_descriptor_limit(kSockets + 100) < kSockets + 100) {
    GTEST_SKIP() << "the process may not open 2,500 descriptors";
  }
  std::vector<std::unique_ptr<UdpSocket>> sockets;
  int calls = 0;
  const RawDatagrams peer;
  for (std::size_t i = 0; i < kSockets; ++i) {
    sockets.push_back(std::make_unique<UdpSocket>(
        loop(), UdpCallbacks{.on_datagram = [&](UdpSocket&, const Datagram&) {
          ++calls;
          sockets.clear();
        }}));
    sockets.back()->bind(any_port);
    peer.send_to(sockets.back()->address(), "x");
  }
  ASSERT_TRUE(run_until([&] { return calls > 0; }));
  turn();
  EXPECT_EQ(calls, 1);
}

// libuv's test-udp-mmsg: the handler closes at the 40th of a batch.
TEST_F(UdpSocketTest, ClosedInTheMiddleOfABatchItDeliversNoMore) {
  int calls = 0;
  UdpSocket socket(loop(),
                   {.on_datagram =
                        [&](UdpSocket& s, const Datagram&) {
                          if (++calls == 40) s.close();
                        }},
                   {.largest_datagram_bytes = 100});
  socket.bind(any_port);
  const RawDatagrams peer;
  for (int i = 0; i < 60; ++i) peer.send_to(socket.address(), "x");
  ASSERT_TRUE(run_until([&] { return calls == 40; }));
  run_for(5ms);
  EXPECT_EQ(calls, 40);
}

TEST_F(UdpSocketTest, ClosedAndBoundAgainInsideItsCallbackItDeliversNothingOfItsFormerLife) {
  std::vector<std::string> seen;
  const RawDatagrams peer;
  UdpSocket socket(loop(), {.on_datagram = [&](UdpSocket& s, const Datagram& d) {
                     seen.emplace_back(d.bytes.text());
                     if (seen.size() > 1) return;
                     s.close();
                     s.bind(any_port);
                     peer.send_to(s.address(), "new");
                   }});
  socket.bind(any_port);
  for (int i = 0; i < 5; ++i) peer.send_to(socket.address(), "old");
  ASSERT_TRUE(run_until([&] { return seen.size() >= 2; }));
  run_for(5ms);
  EXPECT_EQ(seen, (Texts{"old", "new"}));
}

TEST_F(UdpSocketTest, WhatACallbackThrowsGoesToTheHookAndTheOthersAreDelivered) {
  std::vector<std::string> kinds;
  loop().set_exception_hook(
      [&](std::exception_ptr, std::string_view kind) { kinds.emplace_back(kind); });
  UdpSocket socket(loop(), {.on_datagram = [&](UdpSocket&, const Datagram& d) {
                     keep_mail(d);
                     if (d.bytes == "bad") throw std::runtime_error("bad");
                   }});
  socket.bind(any_port);
  const RawDatagrams peer;
  for (const char* text : {"one", "bad", "two"}) peer.send_to(socket.address(), text);
  ASSERT_TRUE(receives(3));
  EXPECT_EQ(texts(), (Texts{"one", "bad", "two"}));
  EXPECT_EQ(kinds, Texts{"datagram"});
}

TEST_F(UdpSocketTest, WhilePausedTheKernelKeepsWhatArrives) {
  UdpSocket socket(loop(), keep());
  socket.bind(any_port);
  socket.pause_reading();
  EXPECT_TRUE(socket.reading_paused());
  const RawDatagrams peer;
  peer.send_to(socket.address(), "later");
  EXPECT_LT(run_for(20ms), 10u) << "it spins";
  EXPECT_TRUE(inbox.empty());
  socket.resume_reading();
  ASSERT_TRUE(receives(1));
}

TEST_F(UdpSocketTest, PausedInTheMiddleOfABatchItLosesNothing) {
  UdpSocket socket(loop(), {.on_datagram = [&](UdpSocket& s, const Datagram& d) {
                     keep_mail(d);
                     s.pause_reading();
                   }});
  socket.bind(any_port);
  const RawDatagrams peer;
  Texts sent;
  for (int i = 0; i < 10; ++i) {
    sent.push_back(std::to_string(i));
    peer.send_to(socket.address(), sent.back());
  }
  for (std::size_t n = 1; n <= 10; ++n) {
    ASSERT_TRUE(receives(n));
    run_for(2ms);
    ASSERT_EQ(inbox.size(), n) << "delivered while paused";
    EXPECT_EQ(inbox.back().from, peer.address());
    socket.resume_reading();
  }
  EXPECT_EQ(texts(), sent);
  EXPECT_EQ(socket.stats().received, 10u);
}

TEST_F(UdpSocketTest, WithoutOnDatagramNothingIsReadAndNothingSpins) {
  UdpSocket socket(loop(), {});
  socket.bind(any_port);
  const RawDatagrams peer;
  peer.send_to(socket.address(), "nobody reads this");
  EXPECT_LT(run_for(20ms), 10u);
}

TEST_F(UdpSocketTest, AFloodedSocketLetsTheOthersHaveTheirTurn) {
  std::uint64_t flood_turns = 0;
  std::uint64_t most_in_a_turn = 0;
  std::uint64_t in_this_turn = 0;
  std::uint64_t iteration = 0;
  UdpSocket flooded(loop(),
                    {.on_datagram =
                         [&](UdpSocket& s, const Datagram&) {
                           const std::uint64_t now = s.loop().stats().iterations;
                           if (std::exchange(iteration, now) != now) {
                             in_this_turn = 0;
                             ++flood_turns;
                           }
                           most_in_a_turn = std::max(most_in_a_turn, ++in_this_turn);
                         }},
                    {.receive_buffer_bytes = 200'000});
  flooded.bind(any_port);
  UdpSocket other(loop(), keep());
  other.bind(any_port);
  const RawDatagrams peer;
  for (int i = 0; i < 200; ++i) peer.send_to(flooded.address(), "flood");
  peer.send_to(other.address(), "me too");
  turn();
  EXPECT_EQ(inbox.size(), 1u);
  EXPECT_EQ(in_this_turn, 64u);
  ASSERT_TRUE(run_until([&] { return flooded.stats().received == 200; }));
  EXPECT_EQ(most_in_a_turn, 64u);
}

TEST_F(UdpSocketTest, CountsWhatTheKernelHadNoRoomFor) {
  UdpSocket socket(loop(), keep(), {.receive_buffer_bytes = 4096});
  socket.bind(any_port);
  const RawDatagrams peer;
  for (int i = 0; i < 100; ++i) peer.send_to(socket.address(), std::string(1000, 'x'));
  run_for(5ms);
  EXPECT_GT(socket.stats().missed, 0u);
  EXPECT_EQ(socket.stats().missed + socket.stats().received, 100u);
  const std::uint64_t missed = socket.stats().missed;
  socket.close();
  EXPECT_EQ(socket.stats().missed, missed);
}

TEST_F(UdpSocketTest, AReplyLeavesFromTheAddressThatWasAsked) {
  UdpSocket server(loop(),
                   {.on_datagram =
                        [&](UdpSocket& s, const Datagram& d) {
                          keep_mail(d);
                          s.reply(d, d.bytes);
                        }},
                   {.local_address = true});
  server.bind("0.0.0.0:0");
  RawDatagrams peer;
  const std::uint16_t port = server.address().port();
  for (const std::uint32_t host : {0x7f000001u, 0x7f000002u, 0x7f00000au}) {
    const SocketAddress asked = SocketAddress::ipv4(host, port);
    peer.send_to(asked, "which one");
    EXPECT_EQ(peer_receives(peer, 1), Texts{"which one"});
    EXPECT_EQ(peer.last_from, asked);
    EXPECT_EQ(inbox.back().local, asked);
    EXPECT_NE(inbox.back().interface, 0u);
  }
}

TEST_F(UdpSocketTest, AReplyLeavesFromTheAddressThatWasAskedOverADualStackSocketToo) {
  UdpSocket server(loop(),
                   {.on_datagram = [&](UdpSocket& s, const Datagram& d) { s.reply(d, d.bytes); }},
                   {.local_address = true});
  server.bind("[::]:0");
  const std::uint16_t port = server.address().port();
  RawDatagrams peer;
  const SocketAddress asked = SocketAddress::ipv4(0x7f000003, port);
  peer.send_to(asked, "four");
  EXPECT_EQ(peer_receives(peer, 1), Texts{"four"});
  EXPECT_EQ(peer.last_from, asked);
  RawDatagrams six(SocketAddress::loopback_v6(0));
  six.send_to(SocketAddress::loopback_v6(port), "six");
  EXPECT_EQ(peer_receives(six, 1), Texts{"six"});
  EXPECT_EQ(six.last_from, SocketAddress::loopback_v6(port));
}

TEST_F(UdpSocketTest, AForkedChildThatDestroysItSendsNothingAndDisturbsNobody) {
  RawDatagrams peer;
  auto socket = std::make_unique<UdpSocket>(loop(), keep());
  socket->bind(any_port);
  socket->send_to(peer.address(), "once");
  const pid_t child = ::fork();
  if (child == 0) {
    socket.reset();
    ::_exit(0);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_EQ(peer.receive(), Texts());
  EXPECT_EQ(peer_receives(peer, 1), Texts{"once"});
  peer.send_to(socket->address(), "still watched");
  EXPECT_TRUE(receives(1));
}

TEST_F(UdpSocketTest, SeveralSocketsShareAPortWhenAllAskForIt) {
  const DatagramOptions options{.reuse_port = true};
  UdpSocket one(loop(), keep(), options);
  one.bind(any_port);
  UdpSocket two(loop(), keep(), options);
  two.bind(one.address());
  for (int i = 0; i < 32; ++i) RawDatagrams().send_to(one.address(), "x");
  ASSERT_TRUE(receives(32));
  EXPECT_EQ(one.stats().received + two.stats().received, 32u);
}

TEST_F(UdpSocketTest, WithoutMemoryForTheQueueItThrowsAndGoesOn) {
  RawDatagrams peer;
  UdpSocket socket(loop(), {});
  socket.bind(any_port);
  Faults faults;
  faults.on(Call::mmap, Fault::fail(ENOMEM), {.times = 100});
  EXPECT_THROW(socket.send_to(peer.address(), "x"), std::bad_alloc);
  EXPECT_EQ(socket.queued_datagrams(), 0u);
}

}  // namespace
}  // namespace millrace::test
