// The programs of the project, started as their users start them.
#pragma once

#include <millrace/socket_address.h>

#include "support/process.h"
#include "support/raw_socket.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

#include <poll.h>

namespace millrace::test {

inline std::string bin(const std::string& name) {
  return MILLRACE_BIN "/" + name;
}

// A server, by default on a port that the kernel chose. Ended with the object.
class ServerProgram : public Program {
 public:
  explicit ServerProgram(const std::string& name, std::vector<std::string> more = {},
                         const std::string& listen = "127.0.0.1:0")
      : Program(command(name, std::move(more), listen)) {
    const std::string line = read_line();
    const std::string expected = "listening on ";
    if (line.rfind(expected, 0) == 0) address_text_ = line.substr(expected.size());
  }

  // Empty if it did not say where it listens.
  const std::string& address_text() const { return address_text_; }
  SocketAddress address() const { return SocketAddress::parse(address_text_); }

 private:
  static std::vector<std::string> command(const std::string& name, std::vector<std::string> more,
                                          const std::string& listen) {
    std::vector<std::string> words = {bin(name), "--listen", listen};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  std::string address_text_;
};

// Blocks until `n` bytes have come, or the end.
inline std::string receive(RawSocket& peer, std::size_t n) {
  std::string all;
  while (all.size() < n && !peer.at_end()) {
    pollfd ready{peer.fd(), POLLIN, 0};
    if (::poll(&ready, 1, 10'000) != 1) break;
    all += peer.receive_some(std::min<std::size_t>(n - all.size(), 64 * 1024));
    if (peer.last_error() != 0 && peer.last_error() != EAGAIN) break;
  }
  return all;
}

inline std::string receive_all(RawSocket& peer) {
  return receive(peer, SIZE_MAX / 2);
}

inline std::string frame(const std::string& payload) {
  const auto n = static_cast<std::uint32_t>(payload.size());
  return std::string{static_cast<char>(n >> 24), static_cast<char>(n >> 16),
                     static_cast<char>(n >> 8), static_cast<char>(n)} +
         payload;
}

}  // namespace millrace::test
