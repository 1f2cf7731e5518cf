// RawSocket is a peer that is not millrace: a plain TCP socket of the test's own, with which it can
// do to the product what peers do, good and bad. Descriptors close with it.
//
//   RawSocket peer = RawSocket::connect_to(server.address());
//   peer.send_all("hello");
//   peer.reset();                       // RST instead of FIN
//
// It does not block for ever: what a test waits for with `run`, the loop is run for meanwhile.
#pragma once

#include <millrace/socket_address.h>
#include <millrace/unique_fd.h>

#include <string>
#include <string_view>

namespace millrace::test {

// Where the servers of tests listen that hold over TCP and over Unix sockets: on a loopback port
// that the kernel chooses, or, when MILLRACE_TEST_OVER_UNIX is in the environment, on an abstract
// name that it chooses. (tests/net/CMakeLists.txt lists those that are run both ways.)
SocketAddress any_address();
bool over_unix();

class RawSocket {
 public:
  RawSocket() = default;
  explicit RawSocket(UniqueFd fd) : fd_(std::move(fd)) {}

  // The connection is complete, though perhaps not accepted, when this returns. Buffers of the
  // given size in bytes are set before connecting (0: the kernel's).
  static RawSocket connect_to(const SocketAddress& address, int receive_buffer = 0,
                              int send_buffer = 0);
  // Listens on a loopback port that the kernel chooses, or where it is told.
  static RawSocket listen(int backlog = 16, const SocketAddress& at = SocketAddress::loopback(0));
  RawSocket accept();  // waits up to ten seconds; not valid if none came

  SocketAddress address() const;  // its own
  int fd() const { return fd_.get(); }
  explicit operator bool() const { return static_cast<bool>(fd_); }

  void send_all(std::string_view bytes);          // blocking
  std::size_t send_some(std::string_view bytes);  // what the kernel takes now
  // What has arrived, at most `n` bytes; empty if nothing has, at the end, and after an error,
  // which last_error() tells (0: none, EAGAIN: nothing there).
  std::string receive_some(std::size_t n = 64 * 1024);
  int last_error() const { return error_; }
  bool at_end() const { return at_end_; }
  void end() const;  // FIN
  void close() { fd_.reset(); }
  void reset();  // RST
  // From now on every segment is dropped on arrival: a peer that vanished without a word. Needs
  // privileges on TCP sockets; false without them.
  bool vanish() const;

 private:
  UniqueFd fd_;
  int error_ = 0;
  bool at_end_ = false;
};

}  // namespace millrace::test
