#include <millrace/udp_socket.h>

#include "support/datagram_test.h"

#include <string>
#include <system_error>
#include <vector>

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>

namespace millrace::test {
namespace {

using Texts = std::vector<std::string>;

// An interface that has IPv6 and multicast, and its address there. The loopback interface has no
// route for IPv6 groups.
struct Interface {
  std::string name;
  SocketAddress address;
};

Interface find_v6_interface() {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return {};
  Interface found;
  for (const ifaddrs* one = all; one; one = one->ifa_next) {
    constexpr unsigned kNeeded = IFF_UP | IFF_RUNNING | IFF_MULTICAST;
    if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET6) continue;
    if ((one->ifa_flags & kNeeded) != kNeeded) continue;
    found = {one->ifa_name, SocketAddress::from_native(one->ifa_addr, sizeof(sockaddr_in6))};
  }
  ::freeifaddrs(all);
  return found;
}

// With zero hops: nothing leaves this machine.
struct MulticastTest : DatagramTest, ::testing::WithParamInterface<bool> {
  void SetUp() override {
    DatagramTest::SetUp();
    interface = v6() ? find_v6_interface() : Interface{"lo", SocketAddress::loopback(0)};
    on_it.interface = interface.name;
    if (interface.name.empty()) GTEST_SKIP() << "no interface has IPv6 and multicast";
  }
  bool v6() const { return GetParam(); }
  SocketAddress wildcard() const { return v6() ? SocketAddress::any_v6(0) : SocketAddress::any(0); }
  // The port of groups to send to is the receiver's.
  SocketAddress group(int number, std::uint16_t port = 0) const {
    return SocketAddress::parse((v6() ? "[ff15::7ace:" : "239.255.122.") + std::to_string(number) +
                                (v6() ? "]:" : ":") + std::to_string(port));
  }
  DatagramOptions sending() const { return {.multicast = {.interface = interface.name, .ttl = 0}}; }

  Interface interface;
  MulticastMembership on_it;
};

INSTANTIATE_TEST_SUITE_P(Families, MulticastTest, ::testing::Bool(),
                         [](const auto& v6) { return v6.param ? "v6" : "v4"; });

TEST_P(MulticastTest, MembersReceiveUntilTheyLeave) {
  UdpSocket member(loop(), keep());
  member.bind(wildcard());
  UdpSocket sender(loop(), {}, sending());
  sender.bind(wildcard());
  const SocketAddress to = group(1, member.address().port());
  member.join(group(1), on_it);
  sender.send_to(to, "joined");
  ASSERT_TRUE(receives(1));
  member.leave(group(1), on_it);
  sender.send_to(to, "left");
  run_for(10ms);
  EXPECT_EQ(texts(), Texts{"joined"});
}

TEST_P(MulticastTest, ASocketReceivesOnlyOfItsOwnGroups) {
  UdpSocket one(loop(), keep(), {.reuse_address = true});
  one.bind(wildcard());
  std::vector<std::string> of_two;
  UdpSocket two(
      loop(),
      {.on_datagram = [&](UdpSocket&, const Datagram& d) { of_two.emplace_back(d.bytes.text()); }},
      {.reuse_address = true});
  two.bind(one.address());
  one.join(group(1), on_it);
  two.join(group(1), on_it);
  two.join(group(2), on_it);
  UdpSocket sender(loop(), {}, sending());
  sender.bind(wildcard());
  const std::uint16_t port = one.address().port();
  sender.send_to(group(2, port), "second");
  sender.send_to(group(1, port), "first");
  ASSERT_TRUE(run_until([&] { return of_two.size() == 2 && inbox.size() == 1; }));
  EXPECT_EQ(texts(), Texts{"first"});
  EXPECT_EQ(of_two, (Texts{"second", "first"}));
}

TEST_P(MulticastTest, WithoutLoopTheOwnMachineDoesNotHearIt) {
  UdpSocket member(loop(), keep());
  member.bind(wildcard());
  member.join(group(1), on_it);
  DatagramOptions options = sending();
  options.multicast.loop = false;
  UdpSocket silent(loop(), {}, options);
  silent.bind(wildcard());
  silent.send_to(group(1, member.address().port()), "unheard");
  UdpSocket loud(loop(), {}, sending());
  loud.bind(wildcard());
  loud.send_to(group(1, member.address().port()), "heard");
  ASSERT_TRUE(receives(1));
  EXPECT_EQ(texts().back(), "heard");
}

TEST_P(MulticastTest, OnlyTheSourceThatWasAskedForIsHeard) {
  UdpSocket member(loop(), keep());
  member.bind(wildcard());
  UdpSocket sender(loop(), {}, sending());
  sender.bind(interface.address.with_port(0));
  const SocketAddress to = group(1, member.address().port());
  const SocketAddress somebody = SocketAddress::parse(v6() ? "[2001:db8::1]:0" : "192.0.2.1:0");
  member.join(group(1), {.interface = interface.name, .source = somebody});
  sender.send_to(to, "not from whom was asked");
  run_for(10ms);
  EXPECT_TRUE(inbox.empty());
  member.leave(group(1), {.interface = interface.name, .source = somebody});
  member.join(group(1), {.interface = interface.name, .source = sender.address()});
  sender.send_to(to, "from whom was asked");
  ASSERT_TRUE(receives(1));
  EXPECT_EQ(texts(), Texts{"from whom was asked"});
}

TEST_P(MulticastTest, TheHopsThatWereAskedForAreSet) {
  DatagramOptions options = sending();
  options.multicast.ttl = 7;
  options.ttl = 33;
  UdpSocket socket(loop(), {}, options);
  socket.bind(wildcard());
  int value = 0;
  socklen_t size = sizeof value;
  const int level = v6() ? IPPROTO_IPV6 : IPPROTO_IP;
  ::getsockopt(socket.fd(), level, v6() ? IPV6_MULTICAST_HOPS : IP_MULTICAST_TTL, &value, &size);
  EXPECT_EQ(value, 7);
  ::getsockopt(socket.fd(), level, v6() ? IPV6_UNICAST_HOPS : IP_TTL, &value, &size);
  EXPECT_EQ(value, 33);
}

TEST_P(MulticastTest, WhatCannotBeJoinedSaysWhy) {
  UdpSocket socket(loop(), {});
  const auto error_of = [&](auto&& action) {
    try {
      action();
    } catch (const std::system_error& e) {
      return e;
    }
    return std::system_error(std::error_code(), "nothing was thrown");
  };
  EXPECT_EQ(error_of([&] { socket.join(group(1)); }).code(), std::errc::bad_file_descriptor);
  socket.bind(wildcard());
  EXPECT_EQ(error_of([&] { socket.join(group(1), {.interface = "nix0"}); }).code(),
            std::errc::no_such_device);
  socket.join(group(1), on_it);
  const auto twice = error_of([&] { socket.join(group(1), on_it); });
  EXPECT_EQ(twice.code(), std::errc::address_in_use);
  EXPECT_NE(std::string(twice.what()).find(group(1).to_string()), std::string::npos);
  EXPECT_EQ(error_of([&] { socket.leave(group(2), on_it); }).code(),
            std::errc::address_not_available);
  EXPECT_THROW(UdpSocket(loop(), {}, {.multicast = {.interface = "nix0"}}).bind(wildcard()),
               std::system_error);
}

}  // namespace
}  // namespace millrace::test
