#include "apply_datagram_options.h"

#include <millrace/error.h>

#include "syscalls.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include <fmt/format.h>
#include <net/if.h>
#include <netinet/udp.h>

namespace millrace {
namespace {

// 0: none is named.
int index_of(const std::string& interface) {
  if (interface.empty()) return 0;
  const unsigned index = ::if_nametoindex(interface.c_str());
  if (index == 0) throw_system_error(ENODEV, fmt::format("network interface '{}'", interface));
  return static_cast<int>(index);
}

// A socket and the name of its address: what failed says both.
struct Setter {
  int fd;
  const SocketAddress& address;

  [[noreturn]] void fail(const char* what) const {
    const int error = errno;
    throw_system_error(error, fmt::format("{} for {}", what, address.to_string()));
  }
  template <class T>
  bool try_put(int level, int option, const T& value) const {
    return sys::setsockopt(fd, level, option, &value, sizeof value) == 0;
  }
  template <class T>
  void put(const char* name, int level, int option, const T& value) const {
    if (!try_put(level, option, value)) fail(name);
  }
};

void put_common(const Setter& s, const DatagramOptions& options) {
  if (options.send_buffer_bytes > 0) {
    s.put("SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, options.send_buffer_bytes);
  }
  if (options.receive_buffer_bytes > 0) {
    s.put("SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, options.receive_buffer_bytes);
  }
  if (options.priority >= 0) s.put("SO_PRIORITY", SOL_SOCKET, SO_PRIORITY, options.priority);
  if (options.mark != 0) s.put("SO_MARK", SOL_SOCKET, SO_MARK, options.mark);
}

// What IPv4 has, and so have IPv6 sockets that serve it.
void put_ipv4(const Setter& s, const DatagramOptions& options) {
  // ICMP errors are queued with the destination that they are about, also of unconnected sockets.
  s.put("IP_RECVERR", IPPROTO_IP, IP_RECVERR, 1);
  if (options.traffic_class >= 0) s.put("IP_TOS", IPPROTO_IP, IP_TOS, options.traffic_class);
  if (options.ttl > 0) s.put("IP_TTL", IPPROTO_IP, IP_TTL, options.ttl);
  if (options.dont_fragment) {
    s.put("IP_MTU_DISCOVER", IPPROTO_IP, IP_MTU_DISCOVER, int{IP_PMTUDISC_DO});
  }
  // Else the socket would receive of every group that anyone on the machine has joined.
  s.put("IP_MULTICAST_ALL", IPPROTO_IP, IP_MULTICAST_ALL, 0);
  s.put("IP_MULTICAST_TTL", IPPROTO_IP, IP_MULTICAST_TTL, options.multicast.ttl);
  s.put("IP_MULTICAST_LOOP", IPPROTO_IP, IP_MULTICAST_LOOP, int{options.multicast.loop});
  if (const int index = index_of(options.multicast.interface)) {
    ip_mreqn interface {};
    interface.imr_ifindex = index;
    s.put("IP_MULTICAST_IF", IPPROTO_IP, IP_MULTICAST_IF, interface);
  }
}

void put_ipv6(const Setter& s, const DatagramOptions& options) {
  s.put("IPV6_V6ONLY", IPPROTO_IPV6, IPV6_V6ONLY, int{options.v6_only});
  s.put("IPV6_RECVERR", IPPROTO_IPV6, IPV6_RECVERR, 1);
  if (options.traffic_class >= 0) {
    s.put("IPV6_TCLASS", IPPROTO_IPV6, IPV6_TCLASS, options.traffic_class);
  }
  if (options.ttl > 0) s.put("IPV6_UNICAST_HOPS", IPPROTO_IPV6, IPV6_UNICAST_HOPS, options.ttl);
  if (options.dont_fragment) {
    s.put("IPV6_MTU_DISCOVER", IPPROTO_IPV6, IPV6_MTU_DISCOVER, int{IPV6_PMTUDISC_DO});
    s.put("IPV6_DONTFRAG", IPPROTO_IPV6, IPV6_DONTFRAG, 1);
  }
  s.try_put(IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);  // Linux 4.20
  s.put("IPV6_MULTICAST_HOPS", IPPROTO_IPV6, IPV6_MULTICAST_HOPS, options.multicast.ttl);
  s.put("IPV6_MULTICAST_LOOP", IPPROTO_IPV6, IPV6_MULTICAST_LOOP, int{options.multicast.loop});
  if (const int index = index_of(options.multicast.interface)) {
    s.put("IPV6_MULTICAST_IF", IPPROTO_IPV6, IPV6_MULTICAST_IF, index);
  }
  if (options.local_address) {
    s.put("IPV6_RECVPKTINFO", IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  }
}

void put_udp(const Setter& s, const DatagramOptions& options) {
  if (options.reuse_address) s.put("SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, 1);
  if (options.reuse_port) s.put("SO_REUSEPORT", SOL_SOCKET, SO_REUSEPORT, 1);
  if (options.broadcast) s.put("SO_BROADCAST", SOL_SOCKET, SO_BROADCAST, 1);
  if (options.receive_offload) s.try_put(SOL_UDP, UDP_GRO, 1);  // Linux 5.0
  const bool v6 = s.address.family() == SocketAddress::Family::ipv6;
  if (v6) put_ipv6(s, options);
  if (!v6 && options.local_address) s.put("IP_PKTINFO", IPPROTO_IP, IP_PKTINFO, 1);
  if (!v6 || !options.v6_only) put_ipv4(s, options);
}

sockaddr_storage stored(const SocketAddress& address) {
  sockaddr_storage to{};
  std::memcpy(&to, address.native(), address.native_size());
  return to;
}

}  // namespace

UniqueFd open_datagram_socket(const SocketAddress& address, const DatagramOptions& options) {
  const int family = address.native()->sa_family;
  UniqueFd socket(sys::socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const Setter setter{socket.get(), address};
  if (!socket) setter.fail("socket");
  put_common(setter, options);
  if (family == AF_INET || family == AF_INET6) put_udp(setter, options);
  return socket;
}

void change_membership(int fd, bool join, const SocketAddress& group,
                       const MulticastMembership& membership) {
  const bool v6 = group.family() == SocketAddress::Family::ipv6;
  const int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
  auto interface = static_cast<std::uint32_t>(index_of(membership.interface));
  if (interface == 0) interface = group.scope();
  const Setter setter{fd, group};
  if (membership.source.family() == SocketAddress::Family::none) {
    group_req request{};
    request.gr_interface = interface;
    request.gr_group = stored(group);
    setter.put(join ? "MCAST_JOIN_GROUP" : "MCAST_LEAVE_GROUP", level,
               join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP, request);
  } else {
    group_source_req request{};
    request.gsr_interface = interface;
    request.gsr_group = stored(group);
    request.gsr_source = stored(membership.source);
    setter.put(join ? "MCAST_JOIN_SOURCE_GROUP" : "MCAST_LEAVE_SOURCE_GROUP", level,
               join ? MCAST_JOIN_SOURCE_GROUP : MCAST_LEAVE_SOURCE_GROUP, request);
  }
}

}  // namespace millrace
