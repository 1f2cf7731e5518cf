#include "support/sim/sim_message.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <netinet/in.h>
#include <netinet/udp.h>

namespace millrace::test {
namespace {

constexpr std::size_t kMostDescriptors = 253;  // SCM_MAX_FD
constexpr std::uint32_t kLoopbackInterface = 1;

template <class T>
T data_of(const cmsghdr* from) {
  T value{};
  std::memcpy(&value, CMSG_DATA(from), std::min(sizeof value, from->cmsg_len - CMSG_LEN(0)));
  return value;
}

int read_rights(const cmsghdr* from, const std::function<std::optional<SimPassed>(int fd)>& pass,
                SimMessage& to) {
  const std::size_t n = (from->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  if (to.descriptors.size() + n > kMostDescriptors) return EINVAL;
  for (std::size_t i = 0; i < n; ++i) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(from) + i * sizeof fd, sizeof fd);
    auto passed = pass(fd);
    if (!passed) return EBADF;
    to.descriptors.push_back(std::move(*passed));
  }
  return 0;
}

// As put_cmsg(): what does not fit is cut off, and MSG_CTRUNC says so.
struct ControlWriter {
  msghdr& to;
  std::size_t used = 0;

  std::size_t room() const { return to.msg_control ? to.msg_controllen - used : 0; }
  void put(int level, int type, const void* data, std::size_t n) {
    if (room() < sizeof(cmsghdr)) {
      to.msg_flags |= MSG_CTRUNC;
      return;
    }
    cmsghdr head{};
    head.cmsg_len = CMSG_LEN(n);
    head.cmsg_level = level;
    head.cmsg_type = type;
    if (head.cmsg_len > room()) {
      to.msg_flags |= MSG_CTRUNC;
      head.cmsg_len = room();
    }
    auto* at = static_cast<char*>(to.msg_control) + used;
    std::memcpy(at, &head, sizeof head);
    if (n > 0) std::memcpy(at + CMSG_LEN(0), data, head.cmsg_len - CMSG_LEN(0));
    used += std::min(CMSG_SPACE(n), room());
  }
};

void put_rights(const std::vector<SimPassed>& passed,
                const std::function<int(const SimPassed&)>& install, ControlWriter& out) {
  if (passed.empty()) return;
  const std::size_t room = out.room();
  const std::size_t most = room < CMSG_LEN(0) ? 0 : (room - CMSG_LEN(0)) / sizeof(int);
  std::vector<int> installed;
  while (installed.size() < std::min(most, passed.size())) {
    const int fd = install(passed[installed.size()]);
    if (fd < 0) break;
    installed.push_back(fd);
  }
  if (!installed.empty()) {
    out.put(SOL_SOCKET, SCM_RIGHTS, installed.data(), installed.size() * sizeof(int));
  }
  if (installed.size() < passed.size()) out.to.msg_flags |= MSG_CTRUNC;
}

void put_local(const SimAddress& local, ControlWriter& out) {
  if (local.family() == AF_INET) {
    in_pktinfo info{};
    info.ipi_ifindex = kLoopbackInterface;
    info.ipi_addr = reinterpret_cast<const sockaddr_in&>(local.native).sin_addr;
    info.ipi_spec_dst = local.multicast() ? in_addr{htonl(INADDR_LOOPBACK)} : info.ipi_addr;
    out.put(IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
  } else {
    in6_pktinfo info{};
    info.ipi6_ifindex = kLoopbackInterface;
    info.ipi6_addr = reinterpret_cast<const sockaddr_in6&>(local.native).sin6_addr;
    out.put(IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
  }
}

void put_error(const SimReceived::Error& error, ControlWriter& out) {
  struct {
    sock_extended_err code;
    sockaddr_in6 offender;
  } told{};
  told.code = error.code;
  std::memcpy(&told.offender, &error.offender.native, error.offender.size);
  const bool v6 = error.offender.family() == AF_INET6;
  out.put(v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_RECVERR : IP_RECVERR, &told,
          sizeof told.code + error.offender.size);
}

}  // namespace

int read_control(const msghdr& from, const std::function<std::optional<SimPassed>(int fd)>& pass,
                 SimMessage& to) {
  if (from.msg_name && from.msg_namelen > 0) {
    to.to = SimAddress(static_cast<const sockaddr*>(from.msg_name), from.msg_namelen);
  }
  if (!from.msg_control) return 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&from); c; c = CMSG_NXTHDR(const_cast<msghdr*>(&from), c)) {
    if (c->cmsg_len < CMSG_LEN(0)) return EINVAL;
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
      if (const int e = read_rights(c, pass, to)) return e;
    } else if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT) {
      to.segment = data_of<std::uint16_t>(c);
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      to.source = SimAddress::any(AF_INET);
      reinterpret_cast<sockaddr_in&>(to.source->native).sin_addr =
          data_of<in_pktinfo>(c).ipi_spec_dst;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      to.source = SimAddress::any(AF_INET6);
      reinterpret_cast<sockaddr_in6&>(to.source->native).sin6_addr =
          data_of<in6_pktinfo>(c).ipi6_addr;
    }
  }
  return 0;
}

void write_control(const SimReceived& from, const std::function<int(const SimPassed&)>& install,
                   msghdr& to) {
  to.msg_flags = from.truncated ? MSG_TRUNC : 0;
  if (from.error) to.msg_flags |= MSG_ERRQUEUE;
  if (!from.from || from.from->size <= sizeof(sa_family_t)) {
    to.msg_namelen = 0;
  } else {
    from.from->copy_to(static_cast<sockaddr*>(to.msg_name), &to.msg_namelen);
  }
  ControlWriter out{to};
  if (from.missed > 0) out.put(SOL_SOCKET, SO_RXQ_OVFL, &from.missed, sizeof from.missed);
  if (from.segment > 0) out.put(SOL_UDP, UDP_GRO, &from.segment, sizeof from.segment);
  if (from.local) put_local(*from.local, out);
  if (from.error) put_error(*from.error, out);
  put_rights(from.descriptors, install, out);
  to.msg_controllen = out.used;
}

}  // namespace millrace::test
