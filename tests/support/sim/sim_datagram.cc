// What UDP and Unix datagram sockets share, and UDP; Unix is in sim_datagram_unix.cc.
#include "support/sim/sim_datagram.h"

#include "support/sim/sim_network.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

namespace millrace::test {
namespace {

constexpr std::size_t kMostV4 = 65'507;
constexpr std::size_t kMostV6 = 65'527;
constexpr std::size_t kMostParts = 128;  // UDP_MAX_SEGMENTS
constexpr std::size_t kQuoted = 548;     // of what could not be delivered, in an ICMP message
constexpr std::uint32_t kLoopbackInterface = 1;

constexpr std::uint32_t kBroadcast = INADDR_BROADCAST;

}  // namespace

std::shared_ptr<SimDatagram> SimDatagram::self() {
  return std::static_pointer_cast<SimDatagram>(shared_from_this());
}

bool SimDatagram::v6_only() const {
  return option(IPPROTO_IPV6, IPV6_V6ONLY) != 0;
}

bool SimDatagram::chosen(int v4_name, int v6_name, const SimAddress& about, bool otherwise) const {
  const bool v4 = about.unmapped().family() == AF_INET;
  const auto found = options_.find(v4 ? std::pair<int, int>{IPPROTO_IP, v4_name}
                                      : std::pair<int, int>{IPPROTO_IPV6, v6_name});
  return found == options_.end() ? otherwise : found->second != 0;
}

SimAddress SimDatagram::as_ours(const SimAddress& address) const {
  return domain_ == AF_INET6 ? address.mapped() : address;
}

std::uint32_t SimDatagram::poll() const {
  std::uint32_t mask = error_ != 0 || !errors_.empty() ? EPOLLERR : 0u;
  if (no_more_input_ && no_more_output_) mask |= EPOLLHUP;
  if (no_more_input_) mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
  if (!queue_.empty()) mask |= EPOLLIN | EPOLLRDNORM;
  bool writable = is_unix() ? out_cost_ * 4 <= send_buffer_ : out_cost_ * 2 < send_buffer_;
  const auto peer = peer_.lock();
  if (peer && peer->is_full_for(*this)) writable = false;
  if (writable) mask |= EPOLLOUT | EPOLLWRNORM;
  return mask;
}

void SimDatagram::close() {
  closed_by_owner_ = true;
  kernel().network().unbind(*this);
  leave_peer();
  drop_queue();
  errors_.clear();
  for (const auto& each : std::exchange(connected_here_, {})) {
    if (const auto other = each.lock()) other->touch();
  }
}

void SimDatagram::forget_all() {
  queue_.clear();
  errors_.clear();
}

int SimDatagram::bind(const SimAddress& address) {
  if (const int e = SimSocket::bind(address)) return e;
  port_was_bound_ = true;
  host_was_bound_ = !is_unix() && !address.any_host();
  return 0;
}

int SimDatagram::connect(const SimAddress& address) {
  if (is_unix()) return connect_unix(address);
  if (address.family() != domain_ && !(domain_ == AF_INET6 && address.family() == AF_INET)) {
    return EAFNOSUPPORT;
  }
  SimAddress to = as_ours(address);
  if (to.any_host()) {
    const std::uint16_t port = to.port();
    to = SimAddress::loopback(domain_);
    to.set_port(port);
  }
  if (local_.any_host()) {
    SimAddress from = as_ours(source_for({}, to.unmapped()));
    from.set_port(local_.port());
    if (!is_bound()) {
      if (const int e = kernel().network().bind(*this, from)) return e;
    }
    local_ = from;
  }
  if (const int e = bind_anywhere()) return e;
  remote_ = to;
  connected_ = true;
  touch();
  return 0;
}

int SimDatagram::disconnect() {
  connected_ = false;
  if (is_unix()) {
    leave_peer();
    return 0;
  }
  const std::uint16_t port = port_was_bound_ ? local_.port() : std::uint16_t{0};
  if (!host_was_bound_) local_ = SimAddress::any(domain_);
  local_.set_port(port);
  if (!port_was_bound_) kernel().network().unbind(*this);
  touch();
  return 0;
}

int SimDatagram::shutdown(int how) {
  if (how != SHUT_WR) no_more_input_ = true;
  if (how != SHUT_RD) no_more_output_ = true;
  touch();
  return connected_ || is_unix() ? 0 : ENOTCONN;
}

void SimDatagram::keep_error(int error) {
  error_ = error;
  touch();
}

SimResult SimDatagram::send(SimMessage&& message) {
  return is_unix() ? send_unix(std::move(message)) : send_udp(std::move(message));
}

// UDP.

int SimDatagram::destination_of(const SimMessage& message, SimAddress* to) const {
  if (!message.to && !connected_) return EDESTADDRREQ;
  *to = message.to ? *message.to : remote_;
  const int family = to->family();
  if (family != AF_INET && (family != AF_INET6 || domain_ == AF_INET)) return EAFNOSUPPORT;
  if (to->port() == 0) return EINVAL;
  if (domain_ == AF_INET6 && to->unmapped().family() == AF_INET && v6_only()) return ENETUNREACH;
  *to = to->unmapped();
  if (to->any_host()) {
    const std::uint16_t port = to->port();
    *to = SimAddress::loopback(to->family());
    to->set_port(port);
  }
  const bool broadcast =
      to->family() == AF_INET &&
      reinterpret_cast<const sockaddr_in&>(to->native).sin_addr.s_addr == htonl(kBroadcast);
  return broadcast && option(SOL_SOCKET, SO_BROADCAST) == 0 ? EACCES : 0;
}

// All hosts are this one: what goes to an address comes from it, but for the loopback networks.
SimAddress SimDatagram::source_for(const SimMessage& message, const SimAddress& to) const {
  SimAddress from = to;
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&to.native);
  const bool loopback = to.family() == AF_INET && ntohl(v4->sin_addr.s_addr) >> 24 == 127;
  if (loopback || to.multicast()) from = SimAddress::loopback(to.family());
  if (!local_.any_host()) from = local_.unmapped();
  if (message.source && !message.source->any_host()) from = message.source->unmapped();
  from.set_port(local_.port());
  return from;
}

SimResult SimDatagram::send_udp(SimMessage&& message) {
  if (const int e = bind_anywhere()) return {-1, e};
  if (message.bytes.size() > 0xffff) return {-1, EMSGSIZE};
  SimAddress to;
  if (const int e = destination_of(message, &to)) return {-1, e};
  const std::size_t segment = message.segment != 0
                                  ? message.segment
                                  : static_cast<std::size_t>(option(SOL_UDP, UDP_SEGMENT));
  const std::size_t size = message.bytes.size();
  if (size > (to.family() == AF_INET ? kMostV4 : kMostV6)) return {-1, EMSGSIZE};
  if (segment > 0 && size > segment * kMostParts) return {-1, EINVAL};
  if (const int e = take_error()) return {-1, e};
  if (no_more_output_) return {-1, EPIPE};
  if (out_cost_ >= send_buffer_) return {-1, EAGAIN};
  Packet packet;
  packet.from = source_for(message, to);
  packet.to = to;
  packet.sender = weak_from_this();
  packet.message = kernel().next_message();
  packet.segment = segment > 0 && segment < size ? segment : 0;
  std::size_t at = 0;
  do {
    const std::size_t part = packet.segment > 0 ? std::min(packet.segment, size - at) : size;
    packet.bytes = message.bytes.substr(at, part);
    packet.cost = part + kOverhead;
    transmit(packet);
    at += part;
  } while (at < size);
  touch();
  return {static_cast<ssize_t>(size), 0};
}

void SimDatagram::transmit(Packet packet) {
  auto& counts = kernel().datagrams();
  const SimFaults& faults = kernel().faults();
  ++counts.sent;
  int copies = 1;
  if (kernel().decisions().chance(faults.lost)) {
    copies = 0;
    ++counts.lost;
  } else if (kernel().decisions().chance(faults.duplicated)) {
    copies = 2;
    ++counts.duplicated;
  }
  const auto sender = self();
  out_cost_ += packet.cost;
  const TimePoint first = kernel().after(kernel().latency());
  kernel().at(first, [sender, packet, copies] {
    sender->release(packet.cost);
    if (copies > 0) sender->arrive(packet);
  });
  if (copies < 2) return;
  kernel().at(first + kernel().latency(), [sender, packet] { sender->arrive(packet); });
}

// At the host: to whom it belongs.
void SimDatagram::arrive(const Packet& packet) {
  auto& counts = kernel().datagrams();
  const auto found = kernel().network().receivers(packet.to, packet.from);
  if (found.empty()) {
    ++counts.unclaimed;
    return unreachable(packet);
  }
  counts.copies += found.size() - 1;
  for (SimDatagram* each : found) each->take_udp(packet);
}

void SimDatagram::take_udp(Packet packet) {
  auto& counts = kernel().datagrams();
  if (queued_cost_ > receive_buffer_) {
    ++missed_;
    ++counts.overflowed;
    return;
  }
  ++counts.delivered;
  queued_cost_ += packet.cost;
  Packet* last = queue_.empty() ? nullptr : &queue_.back();
  if (option(SOL_UDP, UDP_GRO) != 0 && last && last->message == packet.message &&
      last->segment > 0 && last->bytes.size() % last->segment == 0) {
    last->bytes += packet.bytes;
    last->cost += packet.cost;
    ++last->parts;
  } else {
    queue_.push_back(std::move(packet));
  }
  touch();
}

// Nobody is there, and the host says so to the sender, which this is.
void SimDatagram::unreachable(const Packet& packet) {
  const int family = packet.to.family();
  const auto* v4 = reinterpret_cast<const sockaddr_in*>(&packet.to.native);
  if (packet.to.multicast() || kernel().network().swallows(packet.to.port())) return;
  if (family == AF_INET && v4->sin_addr.s_addr == htonl(kBroadcast)) return;
  const auto sender = self();
  kernel().at(kernel().after(kernel().latency()), [sender, packet, family] {
    SimDatagram& at = *sender;
    if (at.closed_by_owner_ || at.local_.port() != packet.from.port()) return;
    if (at.connected_ && !at.remote_.unmapped().same(packet.to)) return;
    const bool queued = at.chosen(IP_RECVERR, IPV6_RECVERR, packet.to);
    if (!queued && !at.connected_) return;
    if (queued && at.errors_.size() * kOverhead < at.receive_buffer_) {
      SimReceived report;
      report.size = std::min(packet.bytes.size(), kQuoted);
      report.bytes = packet.bytes.substr(0, report.size);
      report.from = at.as_ours(packet.to);
      SimReceived::Error error{};
      error.code.ee_errno = ECONNREFUSED;
      error.code.ee_origin = family == AF_INET ? SO_EE_ORIGIN_ICMP : SO_EE_ORIGIN_ICMP6;
      error.code.ee_type = family == AF_INET ? 3 : 1;
      error.code.ee_code = family == AF_INET ? 3 : 4;
      error.offender = packet.to;
      error.offender.set_port(0);
      error.offender = at.as_ours(error.offender);
      report.error = error;
      at.errors_.push_back(std::move(report));
    }
    at.keep_error(ECONNREFUSED);
  });
}

SimResult SimDatagram::receive_error(SimReceived& into, std::size_t n) {
  if (errors_.empty()) return {-1, EAGAIN};
  into = std::move(errors_.front());
  errors_.pop_front();
  error_ = errors_.empty() ? 0 : static_cast<int>(errors_.front().error->code.ee_errno);
  into.truncated = into.bytes.size() > n;
  into.bytes.resize(std::min(n, into.bytes.size()));
  touch();
  return {static_cast<ssize_t>(into.bytes.size()), 0};
}

SimResult SimDatagram::receive(SimReceived& into, std::size_t n, int flags) {
  if ((flags & MSG_ERRQUEUE) != 0 && !is_unix()) return receive_error(into, n);
  if (const int e = take_error()) return {-1, e};
  if (queue_.empty()) return {no_more_input_ ? 0 : -1, no_more_input_ ? 0 : EAGAIN};
  Packet& first = queue_.front();
  describe(first, into);
  into.truncated = first.bytes.size() > n;
  into.bytes = first.bytes.substr(0, n);
  if ((flags & MSG_PEEK) != 0) {
    into.descriptors = first.descriptors;
  } else {
    into.descriptors = std::move(first.descriptors);
    const auto sender = first.sender.lock();
    const std::size_t cost = first.cost;
    queued_cost_ -= cost;
    queue_.pop_front();
    if (is_unix() && sender) static_cast<SimDatagram&>(*sender).release(cost);
    for (const auto& each : connected_here_) {
      if (const auto other = each.lock()) other->touch();
    }
    touch();
  }
  const bool whole = (flags & MSG_TRUNC) != 0;
  return {static_cast<ssize_t>(whole ? into.size : into.bytes.size()), 0};
}

void SimDatagram::describe(const Packet& packet, SimReceived& into) const {
  into.size = packet.bytes.size();
  into.from = as_ours(packet.from);
  if (is_unix()) return;
  if (packet.parts > 1) into.segment = static_cast<int>(packet.segment);
  if (option(SOL_SOCKET, SO_RXQ_OVFL) != 0) into.missed = missed_;
  // An IPv6 socket is told of IPv4 as ::ffff:a.b.c.d.
  const bool asked = domain_ == AF_INET6 ? option(IPPROTO_IPV6, IPV6_RECVPKTINFO) != 0
                                         : option(IPPROTO_IP, IP_PKTINFO) != 0;
  if (asked) into.local = as_ours(packet.to);
}

void SimDatagram::release(std::size_t cost) {
  out_cost_ -= std::min(out_cost_, cost);
  touch();
}

int SimDatagram::score(const SimAddress& to, const SimAddress& from) const {
  if (local_.port() != to.port()) return -1;
  if (domain_ == AF_INET6 && to.family() == AF_INET && v6_only()) return -1;
  if (domain_ == AF_INET && to.family() == AF_INET6) return -1;
  if (!local_.any_host() && !local_.unmapped().same_host(to)) return -1;
  if (connected_ && !remote_.unmapped().same(from)) return -1;
  return (connected_ ? 8 : 0) + (local_.any_host() ? 0 : 4) + (domain_ == to.family() ? 2 : 0);
}

bool SimDatagram::member(const SimAddress& group, const SimAddress& from) const {
  return std::any_of(memberships_.begin(), memberships_.end(), [&](const Membership& each) {
    return each.group.same_host(group) && (!each.source || each.source->same_host(from));
  });
}

bool SimDatagram::takes_all_groups(const SimAddress& group) const {
  return chosen(IP_MULTICAST_ALL, IPV6_MULTICAST_ALL, group, true);
}

int SimDatagram::change_membership(int name, const void* value, socklen_t n) {
  group_source_req given{};  // begins as group_req does
  const bool with_source = name == MCAST_JOIN_SOURCE_GROUP || name == MCAST_LEAVE_SOURCE_GROUP;
  const std::size_t wanted = with_source ? sizeof given : sizeof(group_req);
  if (n < wanted) return EINVAL;
  std::memcpy(&given, value, wanted);
  Membership membership;
  membership.group =
      SimAddress(reinterpret_cast<const sockaddr*>(&given.gsr_group), sizeof given.gsr_group);
  if (!membership.group.multicast()) return EINVAL;
  if (given.gsr_interface > kLoopbackInterface) return ENODEV;
  if (with_source) {
    membership.source =
        SimAddress(reinterpret_cast<const sockaddr*>(&given.gsr_source), sizeof given.gsr_source);
  }
  const auto found =
      std::find_if(memberships_.begin(), memberships_.end(), [&](const Membership& each) {
        if (!each.group.same_host(membership.group)) return false;
        if (!each.source || !membership.source) return !each.source && !membership.source;
        return each.source->same_host(*membership.source);
      });
  const bool there = found != memberships_.end();
  const bool join = name == MCAST_JOIN_GROUP || name == MCAST_JOIN_SOURCE_GROUP;
  if (join == there) {
    return !join ? EADDRNOTAVAIL : with_source ? EADDRNOTAVAIL : EADDRINUSE;
  }
  if (join) {
    memberships_.push_back(std::move(membership));
  } else {
    memberships_.erase(found);
  }
  return 0;
}

int SimDatagram::set_option(int level, int name, const void* value, socklen_t n) {
  const bool ip = level == IPPROTO_IP || level == IPPROTO_IPV6;
  if (ip && (name == MCAST_JOIN_GROUP || name == MCAST_LEAVE_GROUP ||
             name == MCAST_JOIN_SOURCE_GROUP || name == MCAST_LEAVE_SOURCE_GROUP)) {
    return change_membership(name, value, n);
  }
  return SimSocket::set_option(level, name, value, n);
}

int SimDatagram::get_option(int level, int name, void* value, socklen_t* n) {
  if (level == SOL_SOCKET && name == SO_MEMINFO) {
    std::uint32_t info[SK_MEMINFO_VARS] = {};
    info[SK_MEMINFO_DROPS] = missed_;
    *n = std::min<socklen_t>(*n, sizeof info);
    std::memcpy(value, info, *n);
    return 0;
  }
  return SimSocket::get_option(level, name, value, n);
}

int SimDatagram::queue_size(unsigned long request, int* value) const {
  if (request != SIOCINQ && request != SIOCOUTQ) return ENOTTY;
  const std::size_t waiting = queue_.empty() ? 0 : queue_.front().bytes.size();
  *value = static_cast<int>(request == SIOCINQ ? waiting : out_cost_);
  return 0;
}

}  // namespace millrace::test
