// BlockPool hands out the memory of send queues and stored input, for those who build transports on
// the loop (as net does). One pool belongs to each EventLoop, lives as long as it, and is for the
// loop's thread only.
//
//   Block* b = pool.acquire(100);               // room for at least 100 bytes
//   std::memcpy(b->bytes(), from, 100); b->end = 100;
//   pool.release(b);
//
// Blocks come in classes from 256 bytes to 64 KiB, cut from mapped regions, last freed first reused
// (it is still in the cache). Larger ones are mapped one by one and grow without copying. What is
// freed is kept while work goes on and then given back to the system: a burst leaves nothing
// behind.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace millrace {

struct Block {
  Block* next;  // for the holder's use
  void* owner;  // the pool's
  std::uint32_t size_class;
  std::uint32_t kind;      // for the holder's use
  std::size_t capacity;    // bytes() has room for this many
  std::size_t begin, end;  // for the holder's use: [begin, end) is filled
  std::size_t note;        // for the holder's use
  std::uint64_t tag;       // for the holder's use

  std::byte* bytes() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  std::size_t filled() const noexcept { return end - begin; }
  std::size_t room() const noexcept { return capacity - end; }
};

class BlockPool {
 public:
  static constexpr std::size_t kSmallestBytes = 256;
  static constexpr std::size_t kLargestPooledBytes = 64 * 1024;

  BlockPool() = default;
  ~BlockPool();  // every block must have been released
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  // A block with capacity >= bytes, begin == end == 0. Throws std::bad_alloc.
  Block* acquire(std::size_t bytes) {
    if (bytes > kLargestPooledBytes / 4 && bytes <= kLargestPooledBytes) {
      if (Block* block = acquire_at_hand()) return block;
    }
    return acquire_cold(bytes);
  }
  // One of kLargestPooledBytes, if it lies at hand: the block in which replies are collected comes
  // back after each callback. Otherwise null.
  Block* acquire_at_hand() noexcept {
    if (!hot_) return nullptr;
    Block* block = hot_;
    hot_ = nullptr;
    block->next = nullptr;
    block->kind = 0;
    block->begin = block->end = block->note = block->tag = 0;
    return block;
  }
  // One that is larger than the pooled classes, with capacity >= bytes, and that is only waiting to
  // be used again: taking it takes no memory. Null if there is none.
  Block* acquire_spare(std::size_t bytes) noexcept;
  void release(Block* block) noexcept {
    if (block->size_class == kClasses - 1 && !hot_) {
      hot_ = block;
      hot_used_ = true;
    } else {
      release_cold(block);
    }
  }
  // The same content in a block of capacity >= bytes; `block` is invalid afterwards. Throws
  // std::bad_alloc, and then `block` is unchanged.
  Block* grow(Block* block, std::size_t bytes);

  // True when something was released since the last trim(), or survived it; the one block at hand
  // does not count.
  bool wants_trim() const noexcept { return wants_trim_; }
  // Gives to the system what was not used between the last call and this one.
  void trim() noexcept;

  // Memory kept for reuse, and blocks handed out and not released. They walk the pool: for tests
  // and statistics.
  std::size_t spare_bytes() const noexcept;
  std::size_t live_blocks() const noexcept;

 private:
  static constexpr std::size_t kClasses = 5;  // 256 B, 1, 4, 16 and 64 KiB
  struct Region;
  struct Large;

  Block* acquire_cold(std::size_t bytes);
  void release_cold(Block* block) noexcept;
  static std::size_t class_of(std::size_t bytes) noexcept;
  Region* open_region(std::size_t size_class);
  Block* acquire_large(std::size_t bytes);
  void release_large(Block* block) noexcept;

  Block* hot_ = nullptr;  // of the largest class; counts as handed out in its region
  bool hot_used_ = false;
  bool wants_trim_ = false;
  std::array<Region*, kClasses> open_{};  // regions with a free block; the front one is used first
  std::array<Region*, kClasses> full_{};
  Large* spare_large_ = nullptr;
  std::size_t spare_large_count_ = 0;
  std::size_t live_large_ = 0;
};

}  // namespace millrace
