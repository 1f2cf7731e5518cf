// Invariants:
// 1. A region is in open_ of its class when it has a block to give, otherwise in full_.
// 2. region->live counts its blocks that are handed out; all others are in its free list or beyond
//    `carved`, never touched, so that a region costs only the pages that were used.
// 3. The hot block is a live one of its region that nobody holds.
// 4. `used` is set by every acquire; trim() unmaps what is idle and not `used`, and clears it.
#include <millrace/block_pool.h>
#include <millrace/check.h>

#include "syscalls.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <utility>

namespace millrace {
namespace {

// Small enough that an idle one is soon found whole and unmapped, large enough that mapping one is
// rare (three blocks of the largest class).
constexpr std::size_t kRegionBytes = 256 * 1024;
constexpr std::uint32_t kLargeClass = 255;
constexpr std::size_t kPageBytes = 4096;
// Large blocks kept for reuse: as many as are in use at one time on a busy server, few enough that
// searching them costs nothing beside filling one.
constexpr std::size_t kSpareLarge = 16;

constexpr std::size_t capacity_of(std::size_t size_class) {
  return BlockPool::kSmallestBytes << (2 * size_class);
}

constexpr std::size_t stride_of(std::size_t size_class) {
  return sizeof(Block) + capacity_of(size_class);
}

Block* make_empty(Block* block) {
  block->next = nullptr;
  block->kind = 0;
  block->begin = block->end = block->note = block->tag = 0;
  return block;
}

void* map(std::size_t bytes) {
  void* memory = sys::mmap(bytes);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return memory;
}

}  // namespace

// Aligned so that the header of each block is one cache line, and its bytes begin with another.
static_assert(sizeof(Block) == 64);
struct alignas(64) BlockPool::Region {
  Region* next;
  Region* prev;
  Block* free;
  std::uint32_t size_class;
  std::uint32_t live;
  std::uint32_t carved;
  std::uint32_t blocks;  // how many it has in all
  bool used;

  bool full() const noexcept { return !free && carved == blocks; }

  Block* carve() noexcept {
    auto* at = reinterpret_cast<std::byte*>(this + 1) + carved++ * stride_of(size_class);
    auto* block = reinterpret_cast<Block*>(at);
    block->owner = this;
    block->size_class = size_class;
    block->capacity = capacity_of(size_class);
    return block;
  }

  static void link(Region*& list, Region* region) noexcept {
    region->prev = nullptr;
    region->next = list;
    if (list) list->prev = region;
    list = region;
  }
  static void unlink(Region*& list, Region* region) noexcept {
    (region->prev ? region->prev->next : list) = region->next;
    if (region->next) region->next->prev = region->prev;
  }
};

// A block mapped alone; this header lies in front of it.
struct BlockPool::Large {
  std::size_t mapped_bytes;
  Large* next;
  bool used;

  Block* block() noexcept { return reinterpret_cast<Block*>(this + 1); }
  static Large* of(Block* block) noexcept { return reinterpret_cast<Large*>(block) - 1; }
  static std::size_t mapping_for(std::size_t bytes) {
    constexpr std::size_t kHeaders = sizeof(Large) + sizeof(Block);
    if (bytes > SIZE_MAX / 2) throw std::bad_alloc();
    return (bytes + kHeaders + kPageBytes - 1) & ~(kPageBytes - 1);
  }
  void fit(std::size_t mapped) noexcept {
    mapped_bytes = mapped;
    block()->capacity = mapped - sizeof(Large) - sizeof(Block);
  }
};

BlockPool::~BlockPool() {
  MILLRACE_DCHECK(live_blocks() == 0, "a send queue or stored input outlived its loop");
  for (auto* lists : {&open_, &full_}) {
    for (Region* region : *lists) {
      while (region) sys::munmap(std::exchange(region, region->next), kRegionBytes);
    }
  }
  while (spare_large_) {
    Large* large = std::exchange(spare_large_, spare_large_->next);
    sys::munmap(large, large->mapped_bytes);
  }
}

std::size_t BlockPool::class_of(std::size_t bytes) noexcept {
  if (bytes <= kSmallestBytes) return 0;
  return (static_cast<std::size_t>(std::bit_width(bytes - 1)) - 7) / 2;  // 2^8, 2^10, 2^12 ...
}

BlockPool::Region* BlockPool::open_region(std::size_t size_class) {
  Region*& open = open_[size_class];
  if (!open) {
    auto* made = static_cast<Region*>(map(kRegionBytes));
    made->size_class = static_cast<std::uint32_t>(size_class);
    made->blocks =
        static_cast<std::uint32_t>((kRegionBytes - sizeof(Region)) / stride_of(size_class));
    Region::link(open, made);  // the rest of a fresh mapping is zero, as it should be
  }
  return open;
}

Block* BlockPool::acquire_cold(std::size_t bytes) {
  if (bytes > kLargestPooledBytes) return acquire_large(bytes);
  const std::size_t size_class = class_of(bytes);
  Region* region = open_region(size_class);
  Block* block = region->free;
  if (block) {
    region->free = block->next;
  } else {
    block = region->carve();
  }
  ++region->live;
  region->used = true;
  if (region->full()) {
    Region::unlink(open_[size_class], region);
    Region::link(full_[size_class], region);
  }
  return make_empty(block);
}

void BlockPool::release_cold(Block* block) noexcept {
  wants_trim_ = true;
  if (block->size_class == kLargeClass) return release_large(block);
  auto* region = static_cast<Region*>(block->owner);
  if (region->full()) {
    Region::unlink(full_[block->size_class], region);
    Region::link(open_[block->size_class], region);
  }
  block->next = region->free;
  region->free = block;
  --region->live;
}

Block* BlockPool::acquire_large(std::size_t bytes) {
  if (Block* spare = acquire_spare(bytes)) return spare;
  const std::size_t mapping = Large::mapping_for(bytes);
  auto* large = static_cast<Large*>(map(mapping));
  large->fit(mapping);
  large->used = true;
  large->block()->size_class = kLargeClass;
  ++live_large_;
  return large->block();
}

Block* BlockPool::acquire_spare(std::size_t bytes) noexcept {
  Large** best = nullptr;
  for (Large** at = &spare_large_; *at; at = &(*at)->next) {
    const std::size_t capacity = (*at)->block()->capacity;
    if (capacity >= bytes && (!best || capacity < (*best)->block()->capacity)) best = at;
  }
  if (!best) return nullptr;
  Large* large = std::exchange(*best, (*best)->next);
  large->used = true;
  ++live_large_;
  --spare_large_count_;
  return make_empty(large->block());
}

void BlockPool::release_large(Block* block) noexcept {
  --live_large_;
  Large* large = Large::of(block);
  if (spare_large_count_ == kSpareLarge) {
    sys::munmap(large, large->mapped_bytes);
    return;
  }
  large->next = spare_large_;
  spare_large_ = large;
  ++spare_large_count_;
}

Block* BlockPool::grow(Block* block, std::size_t bytes) {
  if (bytes <= block->capacity) return block;
  if (block->size_class == kLargeClass) {
    Large* large = Large::of(block);
    const std::size_t mapping = Large::mapping_for(bytes);
    void* moved = sys::mremap(large, large->mapped_bytes, mapping);
    if (moved == MAP_FAILED) throw std::bad_alloc();
    large = static_cast<Large*>(moved);
    large->fit(mapping);
    return large->block();
  }
  Block* larger = acquire(bytes);
  std::memcpy(larger->bytes(), block->bytes() + block->begin, block->filled());
  larger->end = block->filled();
  larger->next = block->next;
  larger->kind = block->kind;
  larger->note = block->note;
  larger->tag = block->tag;
  release(block);
  return larger;
}

void BlockPool::trim() noexcept {
  bool again = false;
  if (hot_ && !std::exchange(hot_used_, false)) {
    release_cold(std::exchange(hot_, nullptr));
  } else if (hot_) {
    again = true;
  }
  for (Region*& list : open_) {
    for (Region* region = list; region;) {
      Region* next = region->next;
      if (region->live == 0) {
        if (std::exchange(region->used, false)) {
          again = true;
        } else {
          Region::unlink(list, region);
          sys::munmap(region, kRegionBytes);
        }
      }
      region = next;
    }
  }
  for (Large** at = &spare_large_; *at;) {
    Large* large = *at;
    if (std::exchange(large->used, false)) {
      again = true;
      at = &large->next;
    } else {
      *at = large->next;
      --spare_large_count_;
      sys::munmap(large, large->mapped_bytes);
    }
  }
  wants_trim_ = again;
}

std::size_t BlockPool::spare_bytes() const noexcept {
  std::size_t bytes = hot_ ? stride_of(kClasses - 1) : 0;
  for (const Region* list : open_) {
    for (; list; list = list->next) {
      bytes += (list->carved - list->live) * stride_of(list->size_class);
    }
  }
  for (const Large* large = spare_large_; large; large = large->next) bytes += large->mapped_bytes;
  return bytes;
}

std::size_t BlockPool::live_blocks() const noexcept {
  std::size_t blocks = live_large_ - (hot_ ? 1 : 0);
  for (const auto* lists : {&open_, &full_}) {
    for (const Region* region : *lists) {
      for (; region; region = region->next) blocks += region->live;
    }
  }
  return blocks;
}

}  // namespace millrace
