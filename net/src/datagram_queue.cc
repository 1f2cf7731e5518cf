#include "datagram_queue.h"

#include <millrace/check.h>

#include "syscalls.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <netinet/udp.h>

namespace millrace {

// Followed by the destination as the kernel wants it, and the bytes; a multiple of 8 in all.
struct alignas(8) DatagramQueue::Train {
  std::uint32_t bytes;    // of all datagrams
  std::uint32_t done;     // of those that the kernel has taken
  std::uint32_t segment;  // the size of each but the last
  std::uint16_t left;     // datagrams that it has not taken
  std::uint8_t address_bytes;
  std::uint8_t from_family;  // 0: the kernel chooses
  bool ended;                // the last one is shorter, or nothing may join it
  bool split;                // one by one
  in6_addr from;             // or an in_addr in its first bytes

  static std::size_t padded(std::size_t n) noexcept { return (n + 7) & ~std::size_t{7}; }
  static std::size_t size(std::size_t address_bytes, std::size_t bytes) noexcept {
    return sizeof(Train) + padded(address_bytes) + padded(bytes);
  }
  std::size_t size() const noexcept { return size(address_bytes, bytes); }
  std::byte* address() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  const std::byte* address() const noexcept { return reinterpret_cast<const std::byte*>(this + 1); }
  std::byte* payload() noexcept { return address() + padded(address_bytes); }
  const std::byte* payload() const noexcept { return address() + padded(address_bytes); }
  std::uint32_t next_bytes() const noexcept { return std::min(segment, bytes - done); }

  bool goes_to(const Target& target) const noexcept {
    const std::size_t n = target.to ? target.to->native_size() : 0;
    return n == address_bytes && (n == 0 || std::memcmp(address(), target.to->native(), n) == 0);
  }
  bool comes_from(const SocketAddress* source) const noexcept;
  void set_source(const SocketAddress* source) noexcept;
};

namespace {

// Blocks in which what one callback sends lies together; the pool has one of them at hand.
constexpr std::size_t kBlockBytes = BlockPool::kLargestPooledBytes;

// The address without its port.
ByteView host_of(const SocketAddress& address) noexcept {
  const auto* native = reinterpret_cast<const std::byte*>(address.native());
  if (address.family() == SocketAddress::Family::ipv4) {
    return {native + offsetof(sockaddr_in, sin_addr), sizeof(in_addr)};
  }
  return {native + offsetof(sockaddr_in6, sin6_addr), sizeof(in6_addr)};
}

template <class T>
void add_control(msghdr& message, int level, int type, const T& value) noexcept {
  auto* header = reinterpret_cast<cmsghdr*>(static_cast<std::byte*>(message.msg_control) +
                                            message.msg_controllen);
  header->cmsg_level = level;
  header->cmsg_type = type;
  header->cmsg_len = CMSG_LEN(sizeof value);
  std::memcpy(CMSG_DATA(header), &value, sizeof value);
  message.msg_controllen += CMSG_SPACE(sizeof value);
}

}  // namespace

bool DatagramQueue::Train::comes_from(const SocketAddress* source) const noexcept {
  if (!source) return from_family == 0;
  const ByteView host = host_of(*source);
  return from_family == source->native()->sa_family &&
         std::memcmp(&from, host.data(), host.size()) == 0;
}

void DatagramQueue::Train::set_source(const SocketAddress* source) noexcept {
  from_family = source ? static_cast<std::uint8_t>(source->native()->sa_family) : std::uint8_t{0};
  if (!source) return;
  const ByteView host = host_of(*source);
  std::memcpy(&from, host.data(), host.size());
}

DatagramQueue::Train* DatagramQueue::first() const noexcept {
  return reinterpret_cast<Train*>(head_->bytes() + head_->begin);
}

bool DatagramQueue::join(const Target& target, ByteView bytes,
                         std::uint32_t largest_segment) noexcept {
  Train* train = last_;
  if (!train || train->ended || bytes.empty() || bytes.size() > train->segment ||
      train->segment > largest_segment || train->left >= kMostPerTrain ||
      train->bytes - train->done + bytes.size() > kTrainBytes || !train->goes_to(target) ||
      !train->comes_from(target.from)) {
    return false;
  }
  const std::size_t grown = Train::size(train->address_bytes, train->bytes + bytes.size());
  if (grown - train->size() > tail_->room()) return false;
  std::memcpy(train->payload() + train->bytes, bytes.data(), bytes.size());
  tail_->end += grown - train->size();
  train->bytes += static_cast<std::uint32_t>(bytes.size());
  train->ended = bytes.size() < train->segment;
  ++train->left;
  return true;
}

void DatagramQueue::append(const Target& target, ByteView bytes, std::uint32_t largest_segment,
                           BlockPool& pool) {
  if (!join(target, bytes, largest_segment)) {
    const std::size_t address_bytes = target.to ? target.to->native_size() : 0;
    const std::size_t size = Train::size(address_bytes, bytes.size());
    if (!tail_ || tail_->room() < size) {
      Block* block = pool.acquire(std::max(size, kBlockBytes));
      block->next = nullptr;
      (tail_ ? tail_->next : head_) = block;
      tail_ = block;
    }
    auto* train = reinterpret_cast<Train*>(tail_->bytes() + tail_->end);
    train->bytes = train->segment = static_cast<std::uint32_t>(bytes.size());
    train->done = 0;
    train->left = 1;
    train->address_bytes = static_cast<std::uint8_t>(address_bytes);
    train->ended = bytes.empty();
    train->split = false;
    train->set_source(target.from);
    if (target.to) std::memcpy(train->address(), target.to->native(), address_bytes);
    if (!bytes.empty()) std::memcpy(train->payload(), bytes.data(), bytes.size());
    tail_->end += size;
    last_ = train;
    ++trains_;
  }
  bytes_ += bytes.size();
  ++datagrams_;
}

unsigned DatagramQueue::fill(DatagramsOut& out, std::uint32_t largest_segment) const noexcept {
  unsigned n = 0;
  for (Block* block = head_; block; block = block->next) {
    for (std::size_t at = block->begin; at < block->end;) {
      const auto& train = *reinterpret_cast<const Train*>(block->bytes() + at);
      describe(train, out, n, !train.split && train.segment <= largest_segment);
      if (n == DatagramsOut::kMessages) return n;
      at += train.size();
    }
  }
  return n;
}

void DatagramQueue::describe(const Train& train, DatagramsOut& out, unsigned& n,
                             bool whole) const noexcept {
  std::uint32_t done = train.done;
  std::uint32_t left = train.left;
  while (left > 0 && n < DatagramsOut::kMessages) {
    const std::uint32_t size =
        whole ? train.bytes - done : std::min(train.segment, train.bytes - done);
    out.parts[n] = {const_cast<std::byte*>(train.payload()) + done, size};
    msghdr& message = out.messages[n].msg_hdr;
    message.msg_name = train.address_bytes > 0 ? const_cast<std::byte*>(train.address()) : nullptr;
    message.msg_namelen = train.address_bytes;
    message.msg_iov = &out.parts[n];
    message.msg_iovlen = 1;
    message.msg_control = nullptr;
    message.msg_controllen = 0;
    const bool cut = whole && left > 1;
    if (cut || train.from_family != 0) {
      message.msg_control = out.controls[n].bytes;
      if (cut) {
        add_control(message, SOL_UDP, UDP_SEGMENT, static_cast<std::uint16_t>(train.segment));
      }
      if (train.from_family == AF_INET) {
        in_pktinfo info{};
        std::memcpy(&info.ipi_spec_dst, &train.from, sizeof info.ipi_spec_dst);
        add_control(message, IPPROTO_IP, IP_PKTINFO, info);
      } else if (train.from_family == AF_INET6) {
        in6_pktinfo info{};
        info.ipi6_addr = train.from;
        add_control(message, IPPROTO_IPV6, IPV6_PKTINFO, info);
      }
    }
    out.datagrams[n++] = whole ? left : 1;
    if (whole) return;
    done += size;
    --left;
  }
}

void DatagramQueue::remove(std::size_t n, BlockPool& pool) noexcept {
  datagrams_ -= n;
  while (n > 0) {
    Train* train = first();
    if (n >= train->left) {
      n -= train->left;
      bytes_ -= train->bytes - train->done;
      drop_first(pool);
      continue;
    }
    for (; n > 0; --n) {
      const std::uint32_t size = train->next_bytes();
      train->done += size;
      --train->left;
      bytes_ -= size;
    }
  }
}

void DatagramQueue::drop_first(BlockPool& pool) noexcept {
  Train* train = first();
  --trains_;
  if (train == last_) last_ = nullptr;
  head_->begin += train->size();
  if (head_->begin < head_->end) return;
  Block* empty = std::exchange(head_, head_->next);
  if (!head_) tail_ = nullptr;
  pool.release(empty);
}

SocketAddress DatagramQueue::destination() const noexcept {
  return SocketAddress::from_native(first()->address(), first()->address_bytes);
}
std::uint32_t DatagramQueue::first_bytes() const noexcept {
  return first()->next_bytes();
}
bool DatagramQueue::in_train() const noexcept {
  return first()->left > 1 && !first()->split;
}
std::uint32_t DatagramQueue::segment() const noexcept {
  return first()->segment;
}
void DatagramQueue::split() noexcept {
  first()->split = first()->ended = true;
}

void DatagramQueue::clear(BlockPool& pool) noexcept {
  while (head_) pool.release(std::exchange(head_, head_->next));
  tail_ = nullptr;
  last_ = nullptr;
  bytes_ = datagrams_ = trains_ = 0;
}

void DatagramQueue::check_invariants() const {
  std::size_t bytes = 0;
  std::size_t datagrams = 0;
  std::size_t trains = 0;
  for (Block* block = head_; block; block = block->next) {
    MILLRACE_CHECK_LT(block->begin, block->end, "a block without a train");
    for (std::size_t at = block->begin; at < block->end; ++trains) {
      const auto& train = *reinterpret_cast<const Train*>(block->bytes() + at);
      MILLRACE_CHECK_LT(0, train.left, "a train without a datagram");
      bytes += train.bytes - train.done;
      datagrams += train.left;
      at += train.size();
    }
  }
  MILLRACE_CHECK_EQ(bytes, bytes_);
  MILLRACE_CHECK_EQ(datagrams, datagrams_);
  MILLRACE_CHECK_EQ(trains, trains_);
}

}  // namespace millrace
