#include <millrace/slab_memory.h>

#include <algorithm>
#include <new>
#include <utility>

namespace millrace {
namespace {

// Memory is taken for several chunks at a time, because the first one of them must be aligned and
// malloc touches a page in front of it; for more and more, so that a slab of ten objects does not
// ask for thousands.
constexpr std::size_t kFirstRegionChunks = 4;
constexpr std::size_t kMostRegionChunks = 64;

}  // namespace

void SlabMemory::Free::operator()(std::byte* region) const noexcept {
  ::operator delete(region);
}

SlabChunk& SlabMemory::add_chunk() {
  if (region_chunks_ == 0) add_region();
  chunks_.emplace_back();  // first: it may throw
  std::byte* begin = regions_.back().get();
  begin += -reinterpret_cast<std::uintptr_t>(begin) % SlabChunk::kBytes;
  chunks_.back() = ::new (begin + (region_size_ - region_chunks_) * chunk_bytes_) SlabChunk;
  --region_chunks_;
  return *chunks_.back();
}

void SlabMemory::add_region() {
  const std::size_t size =
      regions_.empty() ? kFirstRegionChunks : std::min(region_size_ * 4, kMostRegionChunks);
  const std::size_t bytes = (size * chunk_bytes_) + SlabChunk::kBytes;
  std::unique_ptr<std::byte, Free> region(static_cast<std::byte*>(::operator new(bytes)));
  regions_.push_back(std::move(region));
  region_size_ = region_chunks_ = size;
}

}  // namespace millrace
