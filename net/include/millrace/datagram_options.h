// Options of datagram sockets, with the reason beside each, and how multicast is joined. A socket
// takes them when it is opened. Values; any thread.
//
//   UdpSocket feed(loop, {.on_datagram = ...},
//                  {.reuse_address = true, .multicast = {.interface = "eth0", .ttl = 4}});
#pragma once

#include <millrace/socket_address.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace millrace {

// What sending does when the queue of datagrams that the kernel has not taken yet is full.
enum class DatagramOverflow : std::uint8_t {
  refuse,       // not queued, and the result says so: send it again in on_drained
  drop_newest,  // given up and counted
  drop_oldest,  // queued, and the oldest are given up instead: for what is stale when it is late
};

// How multicast is sent; receiving is UdpSocket::join().
struct MulticastOptions {
  // By name. Empty: the route to the group decides, which on a machine with several networks is
  // seldom the one that was meant.
  std::string interface = {};
  // Routers that a datagram may pass plus one: 1 stays on the local network.
  int ttl = 1;
  // Members on this machine, this process among them, receive it too.
  bool loop = true;
};

struct DatagramOptions {
  // Kernel buffers in bytes; zero leaves them to the kernel (some 200 KiB). A datagram that finds
  // the receive buffer full is lost: give a server that gets bursts some megabytes. The kernel
  // doubles what it is given, counts its own overhead, and stays below net.core.{r,w}mem_max.
  int send_buffer_bytes = 0;
  int receive_buffer_bytes = 0;
  // Several sockets may bind the same port when all say so. Each then gets every multicast
  // datagram, and only one of them each other one. For receivers of multicast; off, so that a
  // second process does not silently take the first one's datagrams.
  bool reuse_address = false;
  // Several sockets of one user may bind the same port, and the kernel spreads what arrives over
  // them by sender: one socket for each loop.
  bool reuse_port = false;
  // A socket bound to an IPv6 wildcard serves IPv6 only. Off: IPv4 too, as ::ffff:a.b.c.d.
  bool v6_only = false;
  // May send to broadcast addresses. Off: a mistyped address does not reach a whole network.
  bool broadcast = false;
  // The DSCP byte of each packet, 0 to 255, for routers that prefer some; -1: the kernel's (0).
  int traffic_class = -1;
  // SO_PRIORITY: the band of the queueing discipline of our own machine, 0 to 6 without privileges;
  // -1: what follows from the traffic class.
  int priority = -1;
  // SO_MARK, for routing rules and firewalls; needs CAP_NET_ADMIN. Zero: none.
  std::uint32_t mark = 0;
  // Routers that a unicast datagram may pass; 0: the kernel's (64).
  int ttl = 0;
  // Never fragmented, not here either: what does not fit the path's MTU fails with EMSGSIZE. For
  // who looks for the path's MTU. Off: the kernel fragments what is too large.
  bool dont_fragment = false;
  MulticastOptions multicast = {};

  // What is longer is cut off and says so (Datagram::truncated). Memory for it belongs to the loop,
  // not to the socket; the smaller, the more are received by one system call (32 of 64 KiB, 64 of
  // up to 32 KiB). 1 MiB at the most, which only Unix sockets could send.
  std::size_t largest_datagram_bytes = 64 * 1024;
  // Datagram::local and interface are filled, and reply() leaves from the address that was asked.
  // A server on a wildcard address with several addresses needs it; the kernel then says so with
  // each.
  bool local_address = false;
  // UDP_SEGMENT, where the kernel has it: successive datagrams of one size to one destination pass
  // the kernel as one, and are cut at its end. Receivers see no difference; bursts are denser.
  bool segmentation_offload = true;
  // UDP_GRO: the reverse. Many datagrams of one sender cost little more than one, each is still
  // delivered by itself. Off: fewer messages fit one system call then, which costs who has many
  // senders. Overrides largest_datagram_bytes.
  bool receive_offload = false;

  // What may wait for the kernel, and what happens beyond.
  std::size_t queue_bytes = 1024 * 1024;
  std::size_t queue_datagrams = 4096;
  DatagramOverflow overflow = DatagramOverflow::refuse;
};

// Which datagrams of a group, and where.
struct MulticastMembership {
  // By name. Empty: the kernel's choice, by the route to the group.
  std::string interface = {};
  // Only from this sender (its port does not matter); Family::none: from any.
  SocketAddress source = {};
};

}  // namespace millrace
