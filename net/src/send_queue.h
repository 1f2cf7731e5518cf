// SendQueue holds what a connection has accepted and the kernel has not: small writes coalesced
// into pooled blocks, shared payloads by reference, file ranges, in order. It lives in a
// connection, in the loop's thread; whoever destroys it clears it first.
//
// What was just received and is sent back need not be copied either: borrow() queues a reference to
// bytes that stay valid only for a while, and own() copies what of them was not sent by then.
//
// Descriptors travel with the first byte of the bytes that they were queued with, over a Unix
// socket, and are closed here once they have gone, or when the queue is cleared.
//
// It is one pointer, to the last of its blocks, which leads to the first (they form a ring) and
// counts the bytes of all: an empty queue needs no more.
//
// Invariants:
// 1. What the last block counts (`note`) is the sum of what the blocks hold; a queue of no bytes
//    holds no block, except while a writer has room reserved at its end.
// 2. Every block but the last holds at least one byte.
// 3. What is borrowed lies in a block with room for its copy.
// 4. What flush() reports as blocked is what the kernel refused: there is nothing to gain from
//    asking again before EPOLLOUT.
#pragma once

#include <millrace/block_pool.h>
#include <millrace/bytes.h>
#include <millrace/unique_fd.h>

#include "stream_io.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace millrace {

class SendQueue {
 public:
  // How large the first block of an empty queue is taken: it is flushed at the end of the callback
  // and comes back at once (a large one, so that all replies lie in one piece), or it may wait.
  enum class Stay : std::uint8_t { brief, long_term };

  struct Flushed {
    std::size_t bytes = 0;
    int error = 0;
    bool blocked = false;  // neither blocked nor failed: empty, or the budget is used up
  };

  SendQueue() noexcept = default;
  SendQueue(const SendQueue&) = delete;
  SendQueue& operator=(const SendQueue&) = delete;

  std::size_t bytes() const noexcept { return tail_ ? tail_->note : 0; }
  bool empty() const noexcept { return bytes() == 0; }
  // Without those of files. Looks at each piece.
  std::size_t bytes_in_memory() const noexcept;

  // These throw std::bad_alloc; part of the bytes may then be queued.
  void append(ByteView bytes, BlockPool& pool, Stay stay);
  // append() of all three, Stay::brief, when there is a block with room, or the pool has a first
  // one at hand; otherwise, and when there is nothing to append, false and nothing.
  bool append_quick(ByteView first, ByteView second, ByteView third, BlockPool& pool) noexcept {
    const std::size_t total = first.size() + second.size() + third.size();
    Block* tail = tail_;
    if (!tail) {
      tail = total > 0 ? pool.acquire_at_hand() : nullptr;
      if (!tail) return false;
      tail_ = tail->next = tail;
    } else if (tail->kind != 0 || tail->room() < total || total == 0) {
      return false;
    }
    std::byte* to = tail->bytes() + tail->end;
    if (!first.empty()) std::memcpy(to, first.data(), first.size());
    if (!second.empty()) std::memcpy(to + first.size(), second.data(), second.size());
    if (!third.empty()) std::memcpy(to + total - third.size(), third.data(), third.size());
    commit(total);
    return true;
  }
  void append(SharedBytes bytes, BlockPool& pool);
  // At most BlockPool::kLargestPooledBytes, not empty, which stay as they are until own(): the
  // block that a copy would take is taken now, so that copying later cannot fail.
  void borrow(ByteView bytes, BlockPool& pool);
  // Copies what is borrowed and not sent.
  void own(BlockPool& pool) noexcept;
  // Looks at each piece.
  bool borrows() const noexcept;
  void append_file(UniqueFd file, std::uint64_t offset, std::uint64_t length, BlockPool& pool);

  // `bytes` are not empty; at most kMostDescriptors, which are taken unless this throws.
  void append_descriptors(ByteView bytes, std::vector<UniqueFd>& descriptors, BlockPool& pool);
  // How many wait. Looks at each piece.
  std::size_t descriptors() const noexcept;

  // A last block with room for `n` bytes (at most BlockPool::kLargestPooledBytes, or it is a block
  // of its own). What is written behind its `end` is queued by commit().
  Block* reserve(std::size_t n, BlockPool& pool, Stay stay);
  // As reserve(n), after it: the first `kept` bytes that were written behind the `end` of the last
  // block, and not committed, lie behind that of the new last block.
  Block* reserve_more(std::size_t kept, std::size_t n, BlockPool& pool);
  void commit(std::size_t n) noexcept {
    tail_->end += n;
    tail_->note += n;
  }
  // Gives back what reserve() took, if nothing was committed to it.
  void drop_empty_tail(BlockPool& pool) noexcept;
  const Block* last() const noexcept { return tail_; }

  // Writes until the queue is empty, the kernel refuses, or the budget is used up.
  Flushed flush(int fd, BlockPool& pool) noexcept;
  // As flush(), with `behind` at the end of the queue, not copied; `*taken` of it went out.
  using Parts = std::array<ByteView, 3>;
  [[gnu::noinline]] Flushed flush_with(int fd, BlockPool& pool, const Parts& behind,
                                       std::size_t* taken) noexcept;

  void clear(BlockPool& pool) noexcept;
  void check_invariants() const;

 private:
  Block* reserve(std::size_t least, BlockPool& pool, Stay stay, std::size_t wanted);
  static std::size_t block_bytes(std::size_t wanted, Stay stay) noexcept;
  Block* add_block(std::size_t capacity, BlockPool& pool);
  // Of a queue that has a block.
  Block* head() const noexcept { return tail_->next; }
  bool single() const noexcept { return tail_->next == tail_; }
  Block* before_tail() const noexcept;
  template <class Look>
  void for_each(Look&& look) const;
  void release(Block* block, BlockPool& pool) noexcept;
  void remove_head(BlockPool& pool) noexcept;
  void advance(std::size_t n, BlockPool& pool) noexcept;
  Flushed flush_file(int fd, BlockPool& pool) noexcept;
  Flushed flush_descriptors(int fd, BlockPool& pool) noexcept;
  [[gnu::noinline]] Flushed partly_flushed(const IoResult& written, std::size_t of_queue,
                                           BlockPool& pool) noexcept;
  void shrink(BlockPool& pool) noexcept;

  Block* tail_ = nullptr;
};

}  // namespace millrace
