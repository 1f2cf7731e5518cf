// DatagramBatch is what the datagram sockets of a loop share: the memory that one recvmmsg() fills
// and one sendmmsg() describes. One per loop (`loop.services().local<DatagramBatch>()`); what was
// received is valid until the next receive(), which is why that happens in a socket's own turn
// only.
#pragma once

#include <millrace/bytes.h>
#include <millrace/socket_address.h>

#include "datagram_queue.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <sys/socket.h>

namespace millrace {

class DatagramBatch {
 public:
  // What one call receives at the most, in datagrams and in memory: of 64 KiB each there are 32.
  // Only what is used of it is memory.
  static constexpr std::size_t kMessages = 64;
  static constexpr std::size_t kArenaBytes = 32 * 66 * 1024;
  static constexpr std::size_t kOffloadBytes = 64 * 1024;  // what UDP_GRO may put together
  static constexpr std::size_t kMostBytes = 1024 * 1024;

  struct Received {
    ByteView bytes;
    std::size_t size_bytes = 0;  // as it was sent
    const void* name = nullptr;  // of the sender, as the kernel gives it
    std::size_t name_bytes = 0;
  };
  // What else the kernel tells of it.
  struct Origin {
    SocketAddress local;  // where it came to, without a port; none: not told
    std::uint32_t interface = 0;
    std::uint32_t segment = 0;  // it is several of that many bytes each; 0: it is one
  };

  DatagramBatch();

  // How many are received by one call.
  static std::size_t messages_of(std::size_t largest_bytes) noexcept;
  // As recvmmsg(): how many, or -1 and errno. `with_control`: the kernel is asked for more than
  // name and bytes.
  int receive(int fd, std::size_t largest_bytes, bool with_control) noexcept;
  Received received(int i) const noexcept;
  Origin origin(int i) const noexcept;

  DatagramsOut& out() noexcept { return out_; }
  // Whether the kernel knows UDP_SEGMENT; it is asked once, by the first UDP socket.
  bool can_segment(int udp_fd) noexcept;

 private:
  struct alignas(cmsghdr) Control {
    std::byte bytes[CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(in_pktinfo)) +
                    CMSG_SPACE(sizeof(int))];
  };
  void lay_out(std::size_t largest_bytes, bool with_control) noexcept;

  std::unique_ptr<std::byte[]> arena_;
  std::size_t largest_bytes_ = 0;  // as it is laid out
  bool with_control_ = false;
  std::size_t used_ = 0;  // by the last call
  std::array<mmsghdr, kMessages> messages_{};
  std::array<iovec, kMessages> parts_{};
  std::array<sockaddr_storage, kMessages> names_;
  std::array<Control, kMessages> controls_;
  DatagramsOut out_;
  enum class Known : std::uint8_t { no, absent, present } segment_ = Known::no;
};

}  // namespace millrace
