// For tests of datagram sockets: peers that are not millrace, and what a socket's callbacks said.
//
//   RawDatagrams peer;                       // bound to a loopback port that the kernel chose
//   peer.send_to(socket.address(), "hello");
//   ASSERT_TRUE(run_until([&] { return inbox.size() == 1; }));
#pragma once

#include <millrace/udp_socket.h>

#include "support/loop_test.h"

#include <cerrno>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <poll.h>
#include <sys/socket.h>

namespace millrace::test {

class RawDatagrams {
 public:
  explicit RawDatagrams(const SocketAddress& address = SocketAddress::loopback(0),
                        int receive_buffer = 0)
      : fd_(::socket(address.native()->sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    if (receive_buffer > 0) {
      ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    if (::bind(fd_.get(), address.native(), address.native_size()) != 0) {
      throw std::system_error(errno, std::system_category(), "bind " + address.to_string());
    }
  }

  int fd() const { return fd_.get(); }
  SocketAddress address() const {
    sockaddr_storage native{};
    socklen_t size = sizeof native;
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&native), &size);
    return SocketAddress::from_native(&native, size);
  }
  void send_to(const SocketAddress& to, std::string_view bytes) const {
    const ssize_t n = ::sendto(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL, to.native(),
                               to.native_size());
    EXPECT_EQ(n, static_cast<ssize_t>(bytes.size())) << to.to_string();
  }
  // All that has arrived.
  std::vector<std::string> receive() {
    std::vector<std::string> all;
    std::string bytes(70'000, '\0');
    for (;;) {
      sockaddr_storage from{};
      socklen_t size = sizeof from;
      const ssize_t n = ::recvfrom(fd_.get(), bytes.data(), bytes.size(), 0,
                                   reinterpret_cast<sockaddr*>(&from), &size);
      if (n < 0 && errno == ECONNREFUSED) continue;
      if (n < 0) return all;
      last_from = SocketAddress::from_native(&from, size);
      all.push_back(bytes.substr(0, static_cast<std::size_t>(n)));
    }
  }

  SocketAddress last_from;

 private:
  UniqueFd fd_;
};

struct DatagramTest : LoopTest {
  struct Mail {
    std::string bytes;
    SocketAddress from;
    std::size_t size_bytes;
    SocketAddress local;
    std::uint32_t interface;
  };

  // Keeps what arrives in `inbox` and `errors`, counts on_drained.
  UdpCallbacks keep() {
    return {.on_datagram = [this](UdpSocket&, const Datagram& d) { keep_mail(d); },
            .on_drained = [this](UdpSocket&) { ++drained; },
            .on_error = [this](UdpSocket&, const DatagramError& e) { errors.push_back(e); }};
  }
  void keep_mail(const Datagram& d) {
    inbox.push_back({std::string(d.bytes.text()), d.from, d.size_bytes, d.local, d.interface});
  }
  std::vector<std::string> texts() const {
    std::vector<std::string> all;
    for (const Mail& mail : inbox) all.push_back(mail.bytes);
    return all;
  }
  bool receives(std::size_t n) {
    return run_until([&] { return inbox.size() >= n; });
  }
  // Runs the loop until `peer` has received n datagrams.
  std::vector<std::string> peer_receives(RawDatagrams& peer, std::size_t n) {
    std::vector<std::string> all;
    run_until([&] {
      for (std::string& each : peer.receive()) all.push_back(std::move(each));
      return all.size() >= n;
    });
    return all;
  }
  void turn() { loop().run_once(0ms); }

  const SocketAddress any_port = SocketAddress::loopback(0);
  std::vector<Mail> inbox;
  std::vector<DatagramError> errors;
  int drained = 0;
};

// A loopback address on which nobody listens.
inline SocketAddress closed_udp_port() {
  return RawDatagrams().address();
}

}  // namespace millrace::test
