// The memory of a Slab: chunks that begin at a multiple of their size, so that an object finds what
// is the same for all objects of its chunk by its own address. A part of Slab, for its thread only;
// nothing is given back before the slab is gone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define MILLRACE_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MILLRACE_HAS_ASAN 1
#endif
#endif
#ifdef MILLRACE_HAS_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace millrace {

class EventLoop;

// Lies at the start of each chunk, and holds what is the same for all objects in it.
struct SlabChunk {
  static constexpr std::size_t kBytes = 16 * 1024;  // where they begin is a multiple of it

  EventLoop* loop = nullptr;  // of IoTargets: the loop they belong to
  void* slab = nullptr;
  std::uint32_t first = 0;  // the number of its first object

  // Precondition: the object lies in a Slab, and is not the part of one behind its first 16 KiB.
  static SlabChunk& of(const void* object) noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(object);
    return *reinterpret_cast<SlabChunk*>(at - at % kBytes);
  }
};

class SlabMemory {
 public:
  // `chunk_bytes` is a multiple of SlabChunk::kBytes.
  explicit SlabMemory(std::size_t chunk_bytes) noexcept : chunk_bytes_(chunk_bytes) {}

  // May throw std::bad_alloc; then nothing has changed.
  SlabChunk& add_chunk();
  const std::vector<SlabChunk*>& chunks() const noexcept { return chunks_; }

 private:
  struct Free {
    void operator()(std::byte* region) const noexcept;
  };

  void add_region();

  const std::size_t chunk_bytes_;
  std::vector<std::unique_ptr<std::byte, Free>> regions_;
  std::size_t region_size_ = 0;    // of the last one, in chunks
  std::size_t region_chunks_ = 0;  // of them left
  std::vector<SlabChunk*> chunks_;
};

// Tells the address sanitizer, where it is on, whether there is anything to be read or written.
inline void poison_memory([[maybe_unused]] void* at, [[maybe_unused]] std::size_t bytes,
                          [[maybe_unused]] bool poisoned) noexcept {
#ifdef MILLRACE_HAS_ASAN
  if (poisoned) {
    __asan_poison_memory_region(at, bytes);
  } else {
    __asan_unpoison_memory_region(at, bytes);
  }
#endif
}

}  // namespace millrace
