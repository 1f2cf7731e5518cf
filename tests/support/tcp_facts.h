// What the kernel knows of TCP sockets, those included that no process has any more.
//
//   EXPECT_EQ(tcp_state(server.address(), peer.address()), TcpState::time_wait);
//   EXPECT_EQ(tcp_facts(peer.fd()).data_segments_in, 1u);
//   if (!in_own_network([] { ... })) GTEST_SKIP() << "needs the privilege to make a network";
#pragma once

#include <millrace/socket_address.h>

#include <cstdint>
#include <functional>

namespace millrace::test {

// With the kernel's numbers.
enum class TcpState : std::uint8_t {
  none = 0,  // there is no such socket
  established = 1,
  fin_wait1 = 4,
  fin_wait2 = 5,
  time_wait = 6,
  close_wait = 8,
  last_ack = 9
};

// Of the socket with these two ends, by the table of this thread's network (IPv4).
TcpState tcp_state(const SocketAddress& local, const SocketAddress& remote);

struct TcpFacts {
  std::uint32_t data_segments_in = 0;
  std::uint32_t data_segments_out = 0;
  bool data_in_syn = false;  // and it was acknowledged
};
TcpFacts tcp_facts(int fd);

// Runs it in a thread that has a network of its own, with nothing but a loopback device. False when
// this process may not have one.
bool in_own_network(const std::function<void()>& run);
// Runs it in a thread that is no longer root; as it is where the process never was.
void without_privileges(const std::function<void()>& run);

}  // namespace millrace::test
