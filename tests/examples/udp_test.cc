#include "examples/programs.h"

#include <csignal>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::test {
namespace {

TEST(UdpEcho, SendsEachDatagramBackToWhomItCameFromAndCountsThem) {
  ServerProgram server("udp_echo");
  const SocketAddress address = server.address();
  for (int i = 0; i < 3; ++i) {
    const UniqueFd peer(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(peer.get(), address.native(), address.native_size()), 0);
    const std::string text = "datagram " + std::to_string(i);
    ASSERT_EQ(::send(peer.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    pollfd ready{peer.get(), POLLIN, 0};
    ASSERT_EQ(::poll(&ready, 1, 10'000), 1);
    char back[100];
    const ssize_t n = ::recv(peer.get(), back, sizeof back, 0);
    EXPECT_EQ(std::string(back, static_cast<std::size_t>(n)), text);
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
  EXPECT_EQ(server.read_line(), "received 3 (0 lost for want of room), sent 3");
}

TEST(MulticastChat, WhatOneMemberSaysAllHear) {
  // A port that no other test's members use at this moment; any number may share it.
  const std::string group = "239.255.77.77:" + std::to_string(20'000 + ::getpid() % 20'000);
  const auto member = [&](const std::string& name) {
    return std::vector<std::string>{
        bin("multicast_chat"), "--group", group, "--interface", "lo", "--name", name};
  };
  Program ada(member("ada"));
  Program bob(member("bob"));
  EXPECT_EQ(ada.read_line(), "joined " + group);
  EXPECT_EQ(bob.read_line(), "joined " + group);
  ada.write("hello\nanybody?\n");
  for (Program* each : {&ada, &bob}) {
    EXPECT_EQ(each->read_line(), "ada: hello");
    EXPECT_EQ(each->read_line(), "ada: anybody?");
  }
  bob.write("here\n");
  for (Program* each : {&ada, &bob}) EXPECT_EQ(each->read_line(), "bob: here");
  ada.close_input();
  EXPECT_EQ(ada.wait(), 0);
}

TEST(MulticastChat, SaysWhatIsWrongWithAGroup) {
  Program chat({bin("multicast_chat"), "--group", "127.0.0.1:7000"});
  EXPECT_EQ(chat.read_error_line(),
            "multicast_chat: MCAST_JOIN_GROUP for 127.0.0.1:7000: Invalid argument");
  EXPECT_EQ(chat.wait(), 1);
}

}  // namespace
}  // namespace millrace::test
