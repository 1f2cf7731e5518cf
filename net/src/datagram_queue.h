// DatagramQueue holds the datagrams that a socket has accepted and the kernel has not, in blocks of
// the loop's pool. It lives in a DatagramCore, in the loop's thread; whoever destroys it clears it.
//
// Successive datagrams of one size to one destination lie behind one header, as a train: they can
// pass the kernel as one message (UDP_SEGMENT), which it cuts again:
//
//   block   | header | address | 512 B  512 B  512 B  200 B | header | address | 64 B | ...
//             begin ^  a shorter one ends a train
//
// Invariants:
// 1. Every train holds at least one datagram that was not taken; none is in two blocks.
// 2. Every block holds at least one train.
// 3. bytes() and datagrams() are the sums over all trains.
#pragma once

#include <millrace/block_pool.h>
#include <millrace/bytes.h>
#include <millrace/socket_address.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include <netinet/in.h>
#include <sys/socket.h>

namespace millrace {

// What one sendmmsg() takes. One per loop: it is filled and used within one call.
struct DatagramsOut {
  static constexpr unsigned kMessages = 64;
  static constexpr std::size_t kControlBytes =
      CMSG_SPACE(sizeof(std::uint16_t)) + CMSG_SPACE(sizeof(in6_pktinfo));

  std::array<mmsghdr, kMessages> messages{};
  std::array<iovec, kMessages> parts{};
  std::array<std::uint32_t, kMessages> datagrams{};  // in each message
  struct alignas(cmsghdr) Control {
    std::byte bytes[kControlBytes];
  };
  std::array<Control, kMessages> controls;
};

class DatagramQueue {
 public:
  // What the kernel cuts one message into at the most (UDP_MAX_SEGMENTS was 64 for long).
  static constexpr std::uint32_t kMostPerTrain = 64;
  // A message with all its headers stays below 64 KiB.
  static constexpr std::uint32_t kTrainBytes = 65'000;

  struct Target {
    const SocketAddress* to = nullptr;    // null: the peer of the socket
    const SocketAddress* from = nullptr;  // null: the kernel chooses
  };

  DatagramQueue() noexcept = default;
  DatagramQueue(const DatagramQueue&) = delete;
  DatagramQueue& operator=(const DatagramQueue&) = delete;

  bool empty() const noexcept { return head_ == nullptr; }
  std::size_t bytes() const noexcept { return bytes_; }
  std::size_t datagrams() const noexcept { return datagrams_; }
  std::size_t messages() const noexcept { return trains_; }  // at least as many will be sent

  // Datagrams of up to `largest_segment` bytes may join the train in front of them. Throws
  // std::bad_alloc, and then nothing is queued.
  void append(const Target& target, ByteView bytes, std::uint32_t largest_segment, BlockPool& pool);

  // Describes the first datagrams in `out`; how many messages they are. Nothing may be appended
  // or removed before they are sent.
  unsigned fill(DatagramsOut& out, std::uint32_t largest_segment) const noexcept;
  // The first `n` datagrams are done with.
  void remove(std::size_t n, BlockPool& pool) noexcept;

  // Of the first one. Precondition: not empty.
  SocketAddress destination() const noexcept;  // none: the peer
  std::uint32_t first_bytes() const noexcept;
  bool in_train() const noexcept;          // others would go with it
  std::uint32_t segment() const noexcept;  // the size of each of these but the last
  void split() noexcept;                   // they go one by one

  void clear(BlockPool& pool) noexcept;
  void check_invariants() const;

 private:
  struct Train;
  Train* first() const noexcept;
  bool join(const Target& target, ByteView bytes, std::uint32_t largest_segment) noexcept;
  void describe(const Train& train, DatagramsOut& out, unsigned& n, bool whole) const noexcept;
  void drop_first(BlockPool& pool) noexcept;

  Block* head_ = nullptr;
  Block* tail_ = nullptr;
  Train* last_ = nullptr;
  std::size_t bytes_ = 0;
  std::size_t datagrams_ = 0;
  std::size_t trains_ = 0;
};

}  // namespace millrace
