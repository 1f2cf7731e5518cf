// What datagram sockets deliver and answer: a Datagram that arrived, what sending says, an error
// that came back, and counters. Values, but for Datagram::bytes, which lie in the loop's memory
// until the callback returns. Any thread.
//
//   .on_datagram = [](UdpSocket& s, const Datagram& d) {
//     if (d.truncated()) return;                       // larger than largest_datagram_bytes
//     if (!s.reply(d, answer_to(d.bytes))) ++lost;     // the queue is full
//   }
#pragma once

#include <millrace/bytes.h>
#include <millrace/error.h>
#include <millrace/socket_address.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <system_error>

namespace millrace {

struct Datagram {
  ByteView bytes;              // may be empty: that is a datagram too, and no end
  SocketAddress from;          // none: a Unix socket without a name
  std::size_t size_bytes = 0;  // as it was sent
  // Where it came to, with DatagramOptions::local_address: our address (of a multicast datagram
  // that of its interface, and none with IPv6), and the interface's index.
  SocketAddress local;
  std::uint32_t interface = 0;

  // The rest of it is lost.
  bool truncated() const noexcept { return size_bytes > bytes.size(); }
};

// What sending says. True: the datagram was taken, and leaves before the loop sleeps, or when the
// kernel has room; whether it arrives only an answer can tell.
class DatagramResult {
 public:
  enum State : std::uint8_t {
    sent,
    refused,         // EAGAIN: the queue is full. Stop, and try it again in on_drained
    dropped,         // ENOBUFS: the queue is full, DatagramOverflow::drop_newest
    too_large,       // EMSGSIZE: more than a datagram can hold, or than the whole queue
    no_destination,  // EDESTADDRREQ: send() on a socket that is not connected
    connected,       // EISCONN: send_to() on a socket that is
    wrong_family,    // EAFNOSUPPORT: such an address cannot be reached from this socket
    closed,          // EBADF: not bound or connected yet, or closed
  };

  constexpr DatagramResult(State state) noexcept : state_(state) {}

  constexpr explicit operator bool() const noexcept { return state_ == sent; }
  constexpr State state() const noexcept { return state_; }
  std::error_code error() const noexcept {
    constexpr int kCodes[] = {0,       EAGAIN,       ENOBUFS, EMSGSIZE, EDESTADDRREQ,
                              EISCONN, EAFNOSUPPORT, EBADF};
    return system_error_code(kCodes[state_]);
  }

  friend constexpr bool operator==(DatagramResult a, DatagramResult b) noexcept {
    return a.state_ == b.state_;
  }

 private:
  State state_;
};

// A datagram did not arrive: the network says so (ICMP), or our kernel would not send it. The
// socket goes on.
struct DatagramError {
  std::error_code code;  // ECONNREFUSED: nobody listens there; EHOSTUNREACH, EMSGSIZE, EPERM ...
  SocketAddress destination;    // whom it was for; none: the kernel does not tell
  SocketAddress reporter;       // who said so: a router, or the destination; none: our kernel
  std::uint32_t mtu_bytes = 0;  // of EMSGSIZE from a router: what would fit
};

struct DatagramStats {
  std::uint64_t received = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t truncated = 0;  // of those received
  std::uint64_t missed = 0;     // lost in our kernel: the receive buffer was full
  std::uint64_t sent = 0;       // taken by the kernel
  std::uint64_t bytes_sent = 0;
  std::uint64_t refused = 0;        // the queue was full, and who sent was told
  std::uint64_t dropped = 0;        // given up: the queue was full, or the socket was closed
  std::uint64_t send_failures = 0;  // the kernel would not send them
  std::uint64_t errors = 0;         // that the network reported
};

}  // namespace millrace
