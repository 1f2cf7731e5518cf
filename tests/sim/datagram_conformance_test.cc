// What datagram sockets do, UDP and Unix, on both kernels; see kernel_conformance_test.h.
#include "unix_conformance_test.h"

#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace millrace::test {
namespace {

class UdpConformanceTest : public KernelConformanceTest {
 protected:
  // What recvmsg() said, and its control messages.
  struct Got {
    std::string bytes;  // "error ..." if it failed
    int flags = 0;
    std::uint16_t from = 0;  // port
    std::optional<std::uint32_t> local;
    int segment = 0;
    std::optional<std::uint32_t> missed;
    std::optional<sock_extended_err> error;
  };

  static UniqueFd udp(int domain = AF_INET) {
    UniqueFd made(::socket(domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    EXPECT_TRUE(made);
    return made;
  }
  static UniqueFd bound() {
    UniqueFd made = udp();
    EXPECT_EQ(bind_to(made, 0), 0);
    return made;
  }
  static std::uint16_t closed_port() { return port_of(bound()); }
  static UniqueFd connected_to(std::uint16_t port) {
    UniqueFd made = udp();
    EXPECT_EQ(connect_to(made, port), 0);
    return made;
  }
  static void set(const UniqueFd& fd, int level, int name, int value = 1) {
    EXPECT_EQ(::setsockopt(fd.get(), level, name, &value, sizeof value), 0);
  }
  static Said send_to(const UniqueFd& fd, std::uint16_t port, std::string_view bytes,
                      std::uint16_t segment = 0) {
    sockaddr_in to = loopback(port);
    return send_to(fd, to, bytes, segment);
  }
  template <class Address>
  static Said send_to(const UniqueFd& fd, Address& to, std::string_view bytes,
                      std::uint16_t segment = 0) {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof segment)] = {};
    msghdr message{};
    message.msg_name = &to;
    message.msg_namelen = sizeof to;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (segment > 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* head = CMSG_FIRSTHDR(&message);
      head->cmsg_level = SOL_UDP;
      head->cmsg_type = UDP_SEGMENT;
      head->cmsg_len = CMSG_LEN(sizeof segment);
      std::memcpy(CMSG_DATA(head), &segment, sizeof segment);
    }
    return said(::sendmsg(fd.get(), &message, MSG_NOSIGNAL));
  }
  template <class T>
  static T data(const cmsghdr* from) {
    T value{};
    std::memcpy(&value, CMSG_DATA(from), sizeof value);
    return value;
  }
  static Got take(const UniqueFd& fd, std::size_t n = 1000, int flags = 0) {
    std::string bytes(n, '\0');
    iovec part{bytes.data(), n};
    alignas(cmsghdr) char control[512];
    sockaddr_in6 from{};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    Got got;
    const ssize_t result = ::recvmsg(fd.get(), &message, flags);
    if (result < 0) {
      got.bytes = std::string("error ") + ::strerrorname_np(errno);
      return got;
    }
    got.bytes = bytes.substr(0, static_cast<std::size_t>(result));
    got.flags = message.msg_flags;
    got.from = message.msg_namelen > 0 ? ntohs(from.sin6_port) : std::uint16_t{0};
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
        got.local = ntohl(data<in_pktinfo>(c).ipi_addr.s_addr);
      } else if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
        got.segment = data<int>(c);
      } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
        got.missed = data<std::uint32_t>(c);
      } else if (c->cmsg_type == IP_RECVERR || c->cmsg_type == IPV6_RECVERR) {
        got.error = data<sock_extended_err>(c);
      }
    }
    return got;
  }
  static group_req group(const sockaddr_in& at) {
    group_req request{};
    request.gr_interface = ::if_nametoindex("lo");
    std::memcpy(&request.gr_group, &at, sizeof at);
    return request;
  }
  static sockaddr_in at_group(std::uint32_t host, std::uint16_t port) {
    sockaddr_in made = loopback(port);
    made.sin_addr.s_addr = htonl(host);
    return made;
  }
};

TEST_P(UdpConformanceTest, ADatagramArrivesWholeWithItsSender) {
  const UniqueFd server = bound();
  const UniqueFd client = bound();
  EXPECT_EQ(events(server), EPOLLOUT);
  EXPECT_SAYS(send_to(client, port_of(server), "hello"), 5, 0);
  EXPECT_TRUE(has(server, EPOLLIN));
  const Got got = take(server);
  EXPECT_EQ(got.bytes, "hello");
  EXPECT_EQ(got.from, port_of(client));
  EXPECT_EQ(take(server).bytes, "error EAGAIN");
}

TEST_P(UdpConformanceTest, WhatDoesNotFitIsCutOffAndTheNextOneIsUntouched) {
  const UniqueFd server = bound();
  const UniqueFd client = connected_to(port_of(server));
  send(client, "hello");
  send(client, "next");
  ASSERT_TRUE(has(server, EPOLLIN));
  const Got got = take(server, 2);
  EXPECT_EQ(got.bytes, "he");
  EXPECT_EQ(got.flags, MSG_TRUNC);
  EXPECT_EQ(take(server).bytes, "next");
}

TEST_P(UdpConformanceTest, TheWholeSizeIsToldOnRequest) {
  const UniqueFd server = bound();
  send(connected_to(port_of(server)), "hello");
  ASSERT_TRUE(has(server, EPOLLIN));
  char two[2];
  EXPECT_EQ(::recv(server.get(), two, sizeof two, MSG_TRUNC), 5);
}

TEST_P(UdpConformanceTest, AnEmptyDatagramIsADatagram) {
  const UniqueFd server = bound();
  const UniqueFd client = connected_to(port_of(server));
  EXPECT_SAYS(send(client, ""), 0, 0);
  ASSERT_TRUE(has(server, EPOLLIN));
  EXPECT_EQ(receive(server), "");
  EXPECT_EQ(receive(server), "error EAGAIN");
}

TEST_P(UdpConformanceTest, TheLargestHas65507Bytes) {
  const UniqueFd server = bound();
  const UniqueFd client = connected_to(port_of(server));
  EXPECT_SAYS(send(client, std::string(65'507, 'x')), 65'507, 0);
  EXPECT_SAYS(send(client, std::string(65'508, 'x')), -1, EMSGSIZE);
  ASSERT_TRUE(has(server, EPOLLIN));
  EXPECT_EQ(receive(server, 70'000).size(), 65'507u);
}

TEST_P(UdpConformanceTest, SendingNeedsADestinationUntilItIsConnected) {
  const UniqueFd server = bound();
  const UniqueFd client = udp();
  EXPECT_SAYS(send(client, "x"), -1, EDESTADDRREQ);
  EXPECT_SAYS(send_to(client, 0, "x"), -1, EINVAL);
  ASSERT_EQ(connect_to(client, port_of(server)), 0);
  EXPECT_SAYS(send(client, "x"), 1, 0);
  const UniqueFd other = bound();
  EXPECT_SAYS(send_to(client, port_of(other), "y"), 1, 0);
  EXPECT_TRUE(has(other, EPOLLIN)) << "a connected one may send elsewhere";
}

TEST_P(UdpConformanceTest, DisconnectingForgetsThePeer) {
  const UniqueFd server = bound();
  const UniqueFd client = connected_to(port_of(server));
  sockaddr_in peer{};
  socklen_t size = sizeof peer;
  EXPECT_EQ(::getpeername(client.get(), reinterpret_cast<sockaddr*>(&peer), &size), 0);
  EXPECT_EQ(ntohs(peer.sin_port), port_of(server));
  EXPECT_NE(port_of(client), 0);
  const sockaddr nowhere{AF_UNSPEC, {}};
  ASSERT_EQ(::connect(client.get(), &nowhere, sizeof nowhere), 0);
  EXPECT_EQ(port_of(client), 0) << "connect() had chosen it";
  EXPECT_EQ(said(::getpeername(client.get(), reinterpret_cast<sockaddr*>(&peer), &size)).error,
            ENOTCONN);
  EXPECT_SAYS(send(client, "x"), -1, EDESTADDRREQ);
  EXPECT_NE(port_of(client), 0) << "even a send that fails needs one";
}

TEST_P(UdpConformanceTest, AConnectedSocketReceivesFromItsPeerOnly) {
  const UniqueFd server = bound();
  const UniqueFd client = connected_to(port_of(server));
  const UniqueFd stranger = bound();
  send_to(stranger, port_of(client), "stranger");
  send_to(server, port_of(client), "peer");
  ASSERT_TRUE(has(client, EPOLLIN));
  EXPECT_EQ(receive(client), "peer");
  EXPECT_EQ(receive(client), "error EAGAIN");
}

TEST_P(UdpConformanceTest, APortIsTakenOnceUnlessAllAgree) {
  const UniqueFd first = bound();
  EXPECT_EQ(said(bind_to(udp(), port_of(first))).error, EADDRINUSE);
  const UniqueFd one = udp();
  const UniqueFd other = udp();
  set(one, SOL_SOCKET, SO_REUSEADDR);
  set(other, SOL_SOCKET, SO_REUSEADDR);
  ASSERT_EQ(bind_to(one, 0), 0);
  EXPECT_EQ(bind_to(other, port_of(one)), 0);
  send(connected_to(port_of(one)), "x");
  EXPECT_TRUE(has(other, EPOLLIN)) << "the last one gets it";
  EXPECT_EQ(events(one), EPOLLOUT);
}

TEST_P(UdpConformanceTest, TcpHasPortsOfItsOwn) {
  bool both = false;
  for (int i = 0; i < 20 && !both; ++i) {  // somebody else may have the other one
    const UniqueFd stream = listener();
    both = bind_to(udp(), port_of(stream)) == 0;
  }
  EXPECT_TRUE(both);
}

TEST_P(UdpConformanceTest, OfSocketsThatShareAPortOneGetsEachDatagram) {
  const UniqueFd one = udp();
  const UniqueFd other = udp();
  set(one, SOL_SOCKET, SO_REUSEPORT);
  set(other, SOL_SOCKET, SO_REUSEPORT);
  ASSERT_EQ(bind_to(one, 0), 0);
  ASSERT_EQ(bind_to(other, port_of(one)), 0);
  send(connected_to(port_of(one)), "x");
  EXPECT_TRUE(until([&] { return ((events(one) ^ events(other)) & EPOLLIN) != 0; }, one, EPOLLIN));
}

// Errors that come back.

TEST_P(UdpConformanceTest, AClosedPortRefusesWhoIsConnected) {
  const UniqueFd client = connected_to(closed_port());
  EXPECT_SAYS(send(client, "x"), 1, 0);
  ASSERT_TRUE(has(client, EPOLLERR));
  EXPECT_EQ(receive(client), "error ECONNREFUSED");
  EXPECT_EQ(receive(client), "error EAGAIN");
  EXPECT_EQ(events(client), EPOLLOUT);
}

TEST_P(UdpConformanceTest, TheNextSendTakesTheErrorAndIsNotMade) {
  const UniqueFd client = connected_to(closed_port());
  send(client, "x");
  ASSERT_TRUE(has(client, EPOLLERR));
  EXPECT_SAYS(send(client, "y"), -1, ECONNREFUSED);
  EXPECT_EQ(events(client), EPOLLOUT);
}

TEST_P(UdpConformanceTest, AnErrorComesBeforeWhatHadArrived) {
  const UniqueFd client = bound();
  const UniqueFd other = bound();
  set(client, IPPROTO_IP, IP_RECVERR);
  send_to(other, port_of(client), "data");
  ASSERT_TRUE(has(client, EPOLLIN));
  send_to(client, closed_port(), "x");
  ASSERT_TRUE(has(client, EPOLLERR));
  EXPECT_EQ(receive(client), "error ECONNREFUSED");
  EXPECT_EQ(receive(client), "data");
}

TEST_P(UdpConformanceTest, WhoIsNotConnectedHearsNothingUnlessItAsked) {
  const UniqueFd silent = bound();
  const UniqueFd asking = bound();
  set(asking, IPPROTO_IP, IP_RECVERR);
  const std::uint16_t nobody = closed_port();
  send_to(silent, nobody, "x");
  send_to(asking, nobody, "lost");
  ASSERT_TRUE(has(asking, EPOLLERR));
  EXPECT_EQ(events(silent), EPOLLOUT);
  const Got got = take(asking, 1000, MSG_ERRQUEUE);
  EXPECT_EQ(got.bytes, "lost") << "what it was about";
  EXPECT_EQ(got.from, nobody) << "whom it was for";
  EXPECT_EQ(got.flags & MSG_ERRQUEUE, MSG_ERRQUEUE);
  ASSERT_TRUE(got.error);
  EXPECT_EQ(got.error->ee_errno, static_cast<std::uint32_t>(ECONNREFUSED));
  EXPECT_EQ(got.error->ee_origin, SO_EE_ORIGIN_ICMP);
  EXPECT_EQ(events(asking), EPOLLOUT) << "the waiting error went with it";
  EXPECT_EQ(take(asking, 1000, MSG_ERRQUEUE).bytes, "error EAGAIN");
}

TEST_P(UdpConformanceTest, TakingTheErrorLeavesItsReport) {
  const UniqueFd client = bound();
  set(client, IPPROTO_IP, IP_RECVERR);
  send_to(client, closed_port(), "x");
  ASSERT_TRUE(has(client, EPOLLERR));
  EXPECT_EQ(pending_error(client), ECONNREFUSED);
  EXPECT_EQ(events(client), EPOLLOUT | EPOLLERR) << "it is told until the report is read";
  EXPECT_EQ(receive(client), "error EAGAIN");
  EXPECT_TRUE(take(client, 1000, MSG_ERRQUEUE).error);
  EXPECT_EQ(events(client), EPOLLOUT);
}

TEST_P(UdpConformanceTest, WhileReportsWaitTheErrorComesAgain) {
  const UniqueFd client = bound();
  set(client, IPPROTO_IP, IP_RECVERR);
  const std::uint16_t nobody = closed_port();
  send_to(client, nobody, "1");
  ASSERT_TRUE(has(client, EPOLLERR));
  EXPECT_EQ(pending_error(client), ECONNREFUSED);
  send_to(client, nobody, "2");
  ASSERT_TRUE(until([&] { return pending_error(client) != 0; }, client, EPOLLERR));
  EXPECT_EQ(take(client, 1000, MSG_ERRQUEUE).bytes, "1");
  EXPECT_EQ(pending_error(client), ECONNREFUSED) << "that of the next report";
  EXPECT_EQ(take(client, 1000, MSG_ERRQUEUE).bytes, "2");
  EXPECT_EQ(pending_error(client), 0);
}

// Buffers.

TEST_P(UdpConformanceTest, WhatFindsTheReceiveBufferFullIsLostAndCounted) {
  const UniqueFd server = bound();
  set(server, SOL_SOCKET, SO_RCVBUF, 4096);
  set(server, SOL_SOCKET, SO_RXQ_OVFL);
  const UniqueFd client = connected_to(port_of(server));
  constexpr int kSent = 100;
  for (int i = 0; i < kSent; ++i) EXPECT_SAYS(send(client, std::string(500, 'x')), 500, 0);
  int got = 0;
  ASSERT_TRUE(has(server, EPOLLIN));
  while (take(server).bytes.size() == 500) ++got;
  EXPECT_GT(got, 0);
  EXPECT_LT(got, kSent);
  send(client, "last");
  ASSERT_TRUE(has(server, EPOLLIN));
  const Got last = take(server);
  EXPECT_EQ(last.bytes, "last");
  EXPECT_EQ(last.missed.value_or(0), static_cast<std::uint32_t>(kSent - got));
}

// Several at once.

TEST_P(UdpConformanceTest, OneCallReceivesWhatIsThere) {
  const UniqueFd server = bound();
  const UniqueFd client = connected_to(port_of(server));
  for (const char* each : {"one", "", "three"}) send(client, each);
  char bytes[4][16];
  iovec parts[4];
  mmsghdr messages[4] = {};
  for (int i = 0; i < 4; ++i) {
    parts[i] = {bytes[i], sizeof bytes[i]};
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  ASSERT_TRUE(has(server, EPOLLIN));
  EXPECT_EQ(::recvmmsg(server.get(), messages, 4, 0, nullptr), 3);
  EXPECT_EQ(std::string(bytes[0], messages[0].msg_len), "one");
  EXPECT_EQ(messages[1].msg_len, 0u);
  EXPECT_EQ(std::string(bytes[2], messages[2].msg_len), "three");
  EXPECT_EQ(said(::recvmmsg(server.get(), messages, 4, 0, nullptr)).error, EAGAIN);
}

TEST_P(UdpConformanceTest, OneCallSendsUntilOneFails) {
  const UniqueFd server = bound();
  const UniqueFd client = udp();
  sockaddr_in good = loopback(port_of(server));
  sockaddr_in bad = loopback(0);
  char bytes[] = "abc";
  iovec parts[3];
  mmsghdr messages[3] = {};
  for (int i = 0; i < 3; ++i) {
    parts[i] = {bytes + i, 1};
    messages[i].msg_hdr.msg_name = i == 1 ? &bad : &good;
    messages[i].msg_hdr.msg_namelen = sizeof good;
    messages[i].msg_hdr.msg_iov = &parts[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  EXPECT_EQ(::sendmmsg(client.get(), messages, 3, 0), 1) << "and the error is not told";
  EXPECT_EQ(messages[0].msg_len, 1u);
  EXPECT_EQ(said(::sendmmsg(client.get(), messages + 1, 2, 0)).error, EINVAL);
  EXPECT_EQ(::sendmmsg(client.get(), messages + 2, 1, 0), 1);
  ASSERT_TRUE(has(server, EPOLLIN));
  EXPECT_EQ(receive(server), "a");
  EXPECT_EQ(receive(server), "c");
}

TEST_P(UdpConformanceTest, AMessageInSegmentsArrivesAsDatagrams) {
  const UniqueFd server = bound();
  const UniqueFd client = udp();
  EXPECT_SAYS(send_to(client, port_of(server), "aabbc", 2), 5, 0);
  ASSERT_TRUE(has(server, EPOLLIN));
  EXPECT_EQ(receive(server), "aa");
  EXPECT_EQ(receive(server), "bb");
  EXPECT_EQ(receive(server), "c");
  EXPECT_SAYS(send_to(client, port_of(server), std::string(129, 'x'), 1), -1, EINVAL);
}

TEST_P(UdpConformanceTest, WhoeverWantsThemTogetherIsToldTheirSize) {
  const UniqueFd server = bound();
  set(server, SOL_UDP, UDP_GRO);
  const UniqueFd client = udp();
  send_to(client, port_of(server), "aabbc", 2);
  send_to(client, port_of(server), "single");
  ASSERT_TRUE(has(server, EPOLLIN));
  const Got together = take(server);
  EXPECT_EQ(together.bytes, "aabbc");
  EXPECT_EQ(together.segment, 2);
  ASSERT_TRUE(has(server, EPOLLIN));
  const Got single = take(server);
  EXPECT_EQ(single.bytes, "single");
  EXPECT_EQ(single.segment, 0);
}

TEST_P(UdpConformanceTest, TheAddressThatItCameToIsToldOnRequest) {
  const UniqueFd server = udp();
  set(server, IPPROTO_IP, IP_PKTINFO);
  sockaddr_in any = at_group(INADDR_ANY, 0);
  ASSERT_EQ(::bind(server.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
  sockaddr_in to = at_group(INADDR_LOOPBACK + 1, port_of(server));
  send_to(udp(), to, "x");
  ASSERT_TRUE(has(server, EPOLLIN));
  EXPECT_EQ(take(server).local.value_or(0), INADDR_LOOPBACK + 1);
}

TEST_P(UdpConformanceTest, AnIpv6WildcardServesIpv4UnlessItIsToldNotTo) {
  const UniqueFd server = udp(AF_INET6);
  sockaddr_in6 any{};
  any.sin6_family = AF_INET6;
  set(server, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  ASSERT_EQ(::bind(server.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
  const std::uint16_t port = port_of(server);
  const UniqueFd client = bound();
  send_to(client, port, "four");
  ASSERT_TRUE(has(server, EPOLLIN));
  sockaddr_in6 from{};
  socklen_t size = sizeof from;
  char bytes[16];
  iovec part{bytes, sizeof bytes};
  msghdr message{};
  message.msg_name = &from;
  message.msg_namelen = size;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ASSERT_EQ(::recvmsg(server.get(), &message, 0), 4);
  EXPECT_TRUE(IN6_IS_ADDR_V4MAPPED(&from.sin6_addr));
  EXPECT_EQ(ntohs(from.sin6_port), port_of(client));
  EXPECT_SAYS(send_to(server, from, "back"), 4, 0);
  ASSERT_TRUE(has(client, EPOLLIN));
  EXPECT_EQ(receive(client), "back");

  const UniqueFd only = udp(AF_INET6);
  set(only, IPPROTO_IPV6, IPV6_V6ONLY);
  EXPECT_SAYS(send_to(only, from, "x"), -1, ENETUNREACH);
}

// Groups.

TEST_P(UdpConformanceTest, MembersOfAGroupAllReceiveAndOthersDoNot) {
  constexpr std::uint32_t kGroup = 0xefff0a01;  // 239.255.10.1
  sockaddr_in any = at_group(INADDR_ANY, 0);
  UniqueFd sockets[3] = {udp(), udp(), udp()};
  std::uint16_t port = 0;
  for (UniqueFd& each : sockets) {
    set(each, SOL_SOCKET, SO_REUSEADDR);
    set(each, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    any.sin_port = htons(port);
    ASSERT_EQ(::bind(each.get(), reinterpret_cast<sockaddr*>(&any), sizeof any), 0);
    port = port_of(each);
  }
  const sockaddr_in to = at_group(kGroup, port);
  const group_req request = group(to);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(
        ::setsockopt(sockets[i].get(), IPPROTO_IP, MCAST_JOIN_GROUP, &request, sizeof request), 0);
  }
  EXPECT_EQ(
      said(::setsockopt(sockets[0].get(), IPPROTO_IP, MCAST_JOIN_GROUP, &request, sizeof request))
          .error,
      EADDRINUSE);
  const UniqueFd sender = udp();
  ip_mreqn interface {};
  interface.imr_ifindex = static_cast<int>(::if_nametoindex("lo"));
  ASSERT_EQ(::setsockopt(sender.get(), IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof interface),
            0);
  const auto to_all = [&](std::string_view bytes) {
    sockaddr_in there = to;
    return send_to(sender, there, bytes);
  };
  EXPECT_SAYS(to_all("all"), 3, 0);
  ASSERT_TRUE(has(sockets[0], EPOLLIN));
  ASSERT_TRUE(has(sockets[1], EPOLLIN));
  EXPECT_EQ(receive(sockets[0]), "all");
  EXPECT_EQ(receive(sockets[1]), "all");
  EXPECT_EQ(receive(sockets[2]), "error EAGAIN");
  ASSERT_EQ(::setsockopt(sockets[0].get(), IPPROTO_IP, MCAST_LEAVE_GROUP, &request, sizeof request),
            0);
  EXPECT_EQ(
      said(::setsockopt(sockets[0].get(), IPPROTO_IP, MCAST_LEAVE_GROUP, &request, sizeof request))
          .error,
      EADDRNOTAVAIL);
  EXPECT_SAYS(to_all("rest"), 4, 0);
  ASSERT_TRUE(has(sockets[1], EPOLLIN));
  EXPECT_EQ(receive(sockets[0]), "error EAGAIN");
  EXPECT_EQ(receive(sockets[1]), "rest");
  set(sender, IPPROTO_IP, IP_MULTICAST_LOOP, 0);
  EXPECT_SAYS(to_all("back"), 4, 0);
  EXPECT_TRUE(has(sockets[1], EPOLLIN)) << "the loopback interface brings back all it is given";
}

// Unix.

class UnixDatagramConformanceTest : public UnixConformanceTest {
 protected:
  static UniqueFd datagram() { return local(SOCK_DGRAM); }
  static std::size_t fill_with(const UniqueFd& fd, std::string_view bytes) {
    std::size_t taken = 0;
    for (;;) {
      const Said one = send(fd, bytes);
      if (one.result < 0) {
        EXPECT_EQ(one.error, EAGAIN);
        return taken;
      }
      ++taken;
    }
  }
};

TEST_P(UnixDatagramConformanceTest, ADatagramArrivesWholeWithItsSendersName) {
  const Name at = name();
  const UniqueFd server = bound_datagram(at);
  const UniqueFd client = bound_datagram(named(path()));
  EXPECT_SAYS(send_to(client, at, "hello"), 5, 0);
  EXPECT_SAYS(send_to(datagram(), at, ""), 0, 0);
  EXPECT_EQ(events(server), EPOLLIN | EPOLLOUT);
  const Got first = take(server, 2);
  EXPECT_EQ(first.bytes, "he");
  EXPECT_EQ(first.flags, MSG_TRUNC);
  EXPECT_EQ(first.from, path() + std::string(1, '\0'));
  const Got second = take(server);
  EXPECT_EQ(second.bytes, "");
  EXPECT_EQ(second.from, "");
  EXPECT_EQ(take(server).bytes, "error EAGAIN");
}

TEST_P(UnixDatagramConformanceTest, SendingNeedsADestinationUntilItIsConnected) {
  const Name at = name();
  const UniqueFd server = bound_datagram(at);
  const UniqueFd client = datagram();
  EXPECT_SAYS(send(client, "x"), -1, ENOTCONN);
  ASSERT_EQ(connect_at(client, at), 0);
  EXPECT_SAYS(send(client, "x"), 1, 0);
  const Name elsewhere = name();
  const UniqueFd other = bound_datagram(elsewhere);
  EXPECT_SAYS(send_to(client, elsewhere, "y"), 1, 0);
  EXPECT_EQ(receive(other), "y");
  const sockaddr nowhere{AF_UNSPEC, {}};
  ASSERT_EQ(::connect(client.get(), &nowhere, sizeof nowhere), 0);
  EXPECT_SAYS(send(client, "x"), -1, ENOTCONN);
}

TEST_P(UnixDatagramConformanceTest, WhoIsNotThereRefuses) {
  EXPECT_SAYS(send_to(datagram(), name(), "x"), -1, ECONNREFUSED);
  EXPECT_SAYS(send_to(datagram(), named(path()), "x"), -1, ENOENT);
  UniqueFd gone = bound_datagram(named(path()));
  const UniqueFd client = datagram();
  ASSERT_EQ(connect_at(client, named(path())), 0);
  gone.reset();
  EXPECT_SAYS(send(client, "x"), -1, ECONNREFUSED);
  EXPECT_SAYS(send(client, "x"), -1, ENOTCONN);
  EXPECT_SAYS(send_to(client, named(path()), "x"), -1, ECONNREFUSED);
  const UniqueFd stream = listen_at(named(path("stream")));
  EXPECT_SAYS(send_to(client, named(path("stream")), "x"), -1, EPROTOTYPE);
}

TEST_P(UnixDatagramConformanceTest, TheLargestIsWhatTheSendBufferHolds) {
  const Name at = name();
  const UniqueFd server = bound_datagram(at);
  const UniqueFd client = datagram();
  set_buffers(client, 4096);  // the kernel doubles it
  EXPECT_SAYS(send_to(client, at, std::string(2 * 4096 - 31, 'x')), -1, EMSGSIZE);
  EXPECT_SAYS(send_to(client, at, std::string(2 * 4096 - 32, 'x')), 2 * 4096 - 32, 0);
}

TEST_P(UnixDatagramConformanceTest, AFullQueueBlocksWhoIsConnectedUntilItIsRead) {
  const Name at = name();
  const UniqueFd server = bound_datagram(at);
  const UniqueFd client = datagram();
  ASSERT_EQ(connect_at(client, at), 0);
  EXPECT_EQ(events(client), EPOLLOUT);
  const std::size_t queued = fill_with(client, "x");
  EXPECT_GE(queued, 2u);
  EXPECT_EQ(events(client), 0u);
  EXPECT_EQ(receive(server), "x");
  EXPECT_EQ(events(client), EPOLLOUT);
  EXPECT_SAYS(send(client, "x"), 1, 0);
  EXPECT_SAYS(send(client, "x"), -1, EAGAIN);
}

TEST_P(UnixDatagramConformanceTest, WhoIsNotConnectedIsWritableThoughTheQueueIsFull) {
  const Name at = name();
  const UniqueFd server = bound_datagram(at);
  const UniqueFd filler = datagram();
  ASSERT_EQ(connect_at(filler, at), 0);
  fill_with(filler, "x");
  const UniqueFd client = datagram();
  EXPECT_SAYS(send_to(client, at, "x"), -1, EAGAIN);
  EXPECT_EQ(events(client), EPOLLOUT) << "who waits for that does not sleep";
}

TEST_P(UnixDatagramConformanceTest, OfTwoThatAreConnectedOnlyTheBufferCounts) {
  const Name one = name();
  const Name two = name();
  const UniqueFd a = bound_datagram(one);
  const UniqueFd b = bound_datagram(two);
  ASSERT_EQ(connect_at(a, two), 0);
  ASSERT_EQ(connect_at(b, one), 0);
  const UniqueFd stranger = datagram();
  EXPECT_SAYS(send_to(stranger, one, "x"), -1, EPERM);  // it receives from its peer only
  EXPECT_EQ(said(connect_at(stranger, one)).error, EPERM);
  for (int i = 0; i < 50; ++i) EXPECT_SAYS(send(a, "x"), 1, 0);
  EXPECT_EQ(receive(b), "x");
}

TEST_P(UnixDatagramConformanceTest, WhoDisconnectsLosesWhatItHadReceivedAndThePeerIsTold) {
  const Name one = name();
  const Name two = name();
  const UniqueFd a = bound_datagram(one);
  const UniqueFd b = bound_datagram(two);
  ASSERT_EQ(connect_at(a, two), 0);
  ASSERT_EQ(connect_at(b, one), 0);
  send(a, "lost");
  const sockaddr nowhere{AF_UNSPEC, {}};
  ASSERT_EQ(::connect(b.get(), &nowhere, sizeof nowhere), 0);
  EXPECT_EQ(receive(b), "error EAGAIN");
  EXPECT_EQ(receive(a), "error ECONNRESET");
}

TEST_P(UnixDatagramConformanceTest, DescriptorsBelongToTheirDatagram) {
  const Name at = name();
  const UniqueFd server = bound_datagram(at);
  const UniqueFd client = datagram();
  ASSERT_EQ(connect_at(client, at), 0);
  UniqueFd passed = event(3);
  send(client, "without");
  EXPECT_SAYS(pass(client, "with", {passed.get()}), 4, 0);
  EXPECT_SAYS(pass(client, "", {passed.get()}), 0, 0);
  const Got first = take(server);
  EXPECT_EQ(first.bytes, "without");
  EXPECT_TRUE(first.descriptors.empty());
  EXPECT_EQ(take(server).descriptors.size(), 1u);
  const Got third = take(server);
  ASSERT_EQ(third.descriptors.size(), 1u) << "an empty datagram carries them too";
  EXPECT_EQ(value_of(third.descriptors[0]), 3u);
}

TEST_P(UnixDatagramConformanceTest, WhatIsNotReceivedIsClosedWithItsSocket) {
  const Name at = name();
  UniqueFd server = bound_datagram(at);
  Pair other = unix_pair();
  const UniqueFd client = datagram();
  ASSERT_EQ(connect_at(client, at), 0);
  pass(client, "x", {other.server.get()});
  other.server.reset();
  EXPECT_FALSE(is_last(other.client));
  server.reset();
  EXPECT_TRUE(is_last(other.client));
}

INSTANTIATE_TEST_SUITE_P(Kernels, UdpConformanceTest, ::testing::Bool(), kernel_name);
INSTANTIATE_TEST_SUITE_P(Kernels, UnixDatagramConformanceTest, ::testing::Bool(), kernel_name);

}  // namespace
}  // namespace millrace::test
