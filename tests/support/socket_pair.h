// A pair of connected descriptors of the test's own, for what watches a descriptor: one end is
// given to the product, with the other the test makes it ready. Neither end blocks.
//
//   SocketPair pair;
//   IoWatcher watcher(loop, pair.ours(), Interest::read, [&](IoEvents) { got = pair.receive(); });
//   pair.send("x");
#pragma once

#include <millrace/unique_fd.h>

#include <stdexcept>
#include <string>
#include <string_view>

#include <sys/socket.h>

namespace millrace::test {

class SocketPair {
 public:
  explicit SocketPair(int type = SOCK_STREAM) {
    int fds[2];
    if (::socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
      throw std::runtime_error("socketpair");
    }
    ours_ = UniqueFd(fds[0]);
    peer_ = UniqueFd(fds[1]);
  }

  int ours() const { return ours_.get(); }
  int peer() const { return peer_.get(); }
  void close_ours() { ours_.reset(); }
  int take_ours() { return ours_.release(); }  // for who closes it himself
  void close_peer() { peer_.reset(); }

  // From the peer to us.
  void send(std::string_view bytes) const {
    if (::send(peer_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) !=
        static_cast<ssize_t>(bytes.size())) {
      throw std::runtime_error("send");
    }
  }
  // What has arrived at our end.
  std::string receive() const {
    std::string bytes(4096, '\0');
    const ssize_t n = ::recv(ours_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    bytes.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    return bytes;
  }

 private:
  UniqueFd ours_;
  UniqueFd peer_;
};

}  // namespace millrace::test
