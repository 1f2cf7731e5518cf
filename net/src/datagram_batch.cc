#include "datagram_batch.h"

#include "syscalls.h"

#include <algorithm>
#include <cstring>

#include <netinet/udp.h>

namespace millrace {
namespace {

// Where the next one begins. Datagrams are mostly short: were their beginnings a multiple of a page
// apart, they would all compete for the same few lines of the cache.
constexpr std::size_t stride_of(std::size_t largest_bytes) noexcept {
  const std::size_t lines = (largest_bytes + 63) / 64;
  return (lines | 1) * 64;
}
static_assert(stride_of(DatagramBatch::kOffloadBytes) * 32 <= DatagramBatch::kArenaBytes);
static_assert(stride_of(DatagramBatch::kMostBytes) <= DatagramBatch::kArenaBytes);

template <class T>
T value_of(const cmsghdr& header) noexcept {
  T value;
  std::memcpy(&value, CMSG_DATA(&header), sizeof value);
  return value;
}

SocketAddress address_of(const in_addr& host) noexcept {
  sockaddr_in native{};
  native.sin_family = AF_INET;
  native.sin_addr = host;
  return SocketAddress::from_native(&native, sizeof native);
}
SocketAddress address_of(const in6_pktinfo& info) noexcept {
  sockaddr_in6 native{};
  native.sin6_family = AF_INET6;
  native.sin6_addr = info.ipi6_addr;
  if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) native.sin6_scope_id = info.ipi6_ifindex;
  return SocketAddress::from_native(&native, sizeof native);
}

bool is_multicast(const in6_addr& host) noexcept {
  return IN6_IS_ADDR_MULTICAST(&host) ||
         (IN6_IS_ADDR_V4MAPPED(&host) && (host.s6_addr[12] & 0xf0) == 0xe0);
}

void read_control(const cmsghdr& header, DatagramBatch::Origin& to) noexcept {
  if (header.cmsg_level == SOL_UDP && header.cmsg_type == UDP_GRO) {
    to.segment = static_cast<std::uint32_t>(value_of<int>(header));
  } else if (header.cmsg_level == IPPROTO_IP && header.cmsg_type == IP_PKTINFO) {
    const auto info = value_of<in_pktinfo>(header);
    to.local = address_of(info.ipi_spec_dst);
    to.interface = static_cast<std::uint32_t>(info.ipi_ifindex);
  } else if (header.cmsg_level == IPPROTO_IPV6 && header.cmsg_type == IPV6_PKTINFO) {
    const auto info = value_of<in6_pktinfo>(header);
    if (!is_multicast(info.ipi6_addr)) to.local = address_of(info);
    to.interface = info.ipi6_ifindex;
  }
}

}  // namespace

DatagramBatch::DatagramBatch() : arena_(std::make_unique_for_overwrite<std::byte[]>(kArenaBytes)) {}

std::size_t DatagramBatch::messages_of(std::size_t largest_bytes) noexcept {
  return std::min(kMessages, kArenaBytes / stride_of(largest_bytes));
}

void DatagramBatch::lay_out(std::size_t largest_bytes, bool with_control) noexcept {
  largest_bytes_ = largest_bytes;
  with_control_ = with_control;
  const std::size_t stride = stride_of(largest_bytes);
  for (std::size_t i = 0; i < messages_of(largest_bytes); ++i) {
    parts_[i] = {arena_.get() + i * stride, largest_bytes};
    msghdr& message = messages_[i].msg_hdr;
    message.msg_name = &names_[i];
    message.msg_namelen = sizeof names_[i];
    message.msg_iov = &parts_[i];
    message.msg_iovlen = 1;
    message.msg_control = with_control ? controls_[i].bytes : nullptr;
    message.msg_controllen = with_control ? sizeof controls_[i].bytes : 0;
  }
}

int DatagramBatch::receive(int fd, std::size_t largest_bytes, bool with_control) noexcept {
  if (largest_bytes != largest_bytes_ || with_control != with_control_) {
    lay_out(largest_bytes, with_control);
  }
  // The kernel has written over these.
  for (std::size_t i = 0; i < used_; ++i) {
    messages_[i].msg_hdr.msg_namelen = sizeof names_[i];
    if (with_control) messages_[i].msg_hdr.msg_controllen = sizeof controls_[i].bytes;
  }
  // MSG_TRUNC: the length of what was cut off is told too.
  const auto most = static_cast<unsigned>(messages_of(largest_bytes));
  const int n = sys::recvmmsg(fd, messages_.data(), most, MSG_DONTWAIT | MSG_TRUNC);
  used_ = static_cast<std::size_t>(std::max(n, 0));
  return n;
}

DatagramBatch::Received DatagramBatch::received(int i) const noexcept {
  const mmsghdr& entry = messages_[static_cast<std::size_t>(i)];
  const iovec& part = *entry.msg_hdr.msg_iov;
  return {{static_cast<const std::byte*>(part.iov_base),
           std::min<std::size_t>(entry.msg_len, part.iov_len)},
          entry.msg_len,
          entry.msg_hdr.msg_name,
          entry.msg_hdr.msg_namelen};
}

DatagramBatch::Origin DatagramBatch::origin(int i) const noexcept {
  msghdr message = messages_[static_cast<std::size_t>(i)].msg_hdr;
  Origin to;
  for (auto* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) read_control(*c, to);
  return to;
}

bool DatagramBatch::can_segment(int udp_fd) noexcept {
  if (segment_ == Known::no) {
    int size = 0;
    socklen_t n = sizeof size;
    const bool present = sys::getsockopt(udp_fd, SOL_UDP, UDP_SEGMENT, &size, &n) == 0;
    segment_ = present ? Known::present : Known::absent;
  }
  return segment_ == Known::present;
}

}  // namespace millrace
