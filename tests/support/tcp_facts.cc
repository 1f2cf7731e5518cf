#include "support/tcp_facts.h"

#include <millrace/unique_fd.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace millrace::test {
namespace {

constexpr unsigned long kNobody = 65'534;

// As the table shows it: the address as it lies in memory, read as a number.
std::string in_table(const SocketAddress& address) {
  char text[16];
  std::snprintf(text, sizeof text, "%08X:%04X", htonl(address.ipv4()), address.port());
  return text;
}

bool bring_loopback_up() {
  const UniqueFd any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  return ::ioctl(any.get(), SIOCSIFFLAGS, &request) == 0;
}

}  // namespace

TcpState tcp_state(const SocketAddress& local, const SocketAddress& remote) {
  std::ifstream table("/proc/thread-self/net/tcp");
  if (!table) throw std::runtime_error("no /proc/thread-self/net/tcp");
  std::string line;
  while (std::getline(table, line)) {
    std::istringstream words(line);
    std::string number;
    std::string from;
    std::string to;
    std::string state;
    words >> number >> from >> to >> state;
    if (from == in_table(local) && to == in_table(remote)) {
      return static_cast<TcpState>(std::stoi(state, nullptr, 16));
    }
  }
  return TcpState::none;
}

TcpFacts tcp_facts(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
  return {info.tcpi_data_segs_in, info.tcpi_data_segs_out,
          (info.tcpi_options & TCPI_OPT_SYN_DATA) != 0};
}

bool in_own_network(const std::function<void()>& run) {
  bool allowed = false;
  std::thread([&] {
    allowed = ::unshare(CLONE_NEWNET) == 0 && bring_loopback_up();
    if (allowed) run();
  }).join();
  return allowed;
}

void without_privileges(const std::function<void()>& run) {
  std::thread([&] {
    // Not setresuid() of the library, which does it to all threads.
    if (::geteuid() == 0 && ::syscall(SYS_setresuid, -1L, kNobody, -1L) != 0) {
      throw std::runtime_error("setresuid");
    }
    run();
  }).join();
}

}  // namespace millrace::test
