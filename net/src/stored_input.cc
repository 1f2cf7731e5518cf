#include "stored_input.h"

#include <algorithm>
#include <cstring>

namespace millrace {
namespace {

// From this many missing bytes on, receiving them into place is cheaper than through the shared
// block: a copy of less costs no more than the page of the block that it would touch.
constexpr std::size_t kInPlaceBytes = 16 * 1024;
// The first block that is taken to receive in place, however much was announced.
constexpr std::size_t kFirstBlockBytes = BlockPool::kLargestPooledBytes;

}  // namespace

StoredInput::Window StoredInput::window_behind_stored(LoopServices& services) {
  const std::size_t stored = view().size();
  const std::size_t missing = expected() > stored ? expected() - stored : 0;
  if (stored <= LoopServices::kReceiveHeadroomBytes && missing < kInPlaceBytes) {
    return {services.receive_block(), LoopServices::kReceiveBlockBytes, false};
  }
  const std::size_t room = missing > 0 ? std::min(missing, kInPlaceBytes) : kInPlaceBytes;
  if (block_->room() < room) make_room(room, services.blocks());
  // Not beyond a large rest that is expected: what follows starts afresh in the shared block. But
  // who expects a few bytes more (a search for an end) must not get them one by one.
  const bool large = missing >= kInPlaceBytes;
  const std::size_t size = large ? std::min(missing, block_->room()) : block_->room();
  return {block_->bytes() + block_->end, size, true};
}

void StoredInput::make_room(std::size_t room, BlockPool& pool) {
  const std::size_t stored = block_->filled();
  if (block_->begin > 0) {
    std::memmove(block_->bytes(), block_->bytes() + block_->begin, stored);
    block_->begin = 0;
    block_->end = stored;
    if (block_->room() >= room) return;
  }
  // Doubling, by what has arrived.
  std::size_t wanted = std::max({kFirstBlockBytes, stored + room, stored * 2});
  if (block_->note >= stored + kInPlaceBytes) wanted = std::min(wanted, block_->note);
  block_ = pool.grow(block_, wanted);
}

ByteView StoredInput::joined(const Window& window, std::size_t n, LoopServices& services) noexcept {
  if (window.in_place) {
    block_->end += n;
    return view();
  }
  const ByteView stored = view();
  std::byte* front = services.receive_block() - stored.size();
  std::memcpy(front, stored.data(), stored.size());
  return {front, stored.size() + n};
}

void StoredInput::keep(ByteView rest, Wish wish, BlockPool& pool) {
  const std::size_t expected = wish.expected;
  if (rest.empty() && expected == 0 && wish.note == 0) return clear(pool);
  const bool in_place =
      block_ && rest.data() >= block_->bytes() && rest.data() <= block_->bytes() + block_->capacity;
  if (in_place && (expected > rest.size() || rest.size() >= block_->capacity / 8)) {
    block_->begin = static_cast<std::size_t>(rest.data() - block_->bytes());
    block_->end = block_->begin + rest.size();
  } else {
    // Into a block that fits. The old one goes afterwards: `rest` may lie in it.
    if (!block_ || in_place || block_->capacity < rest.size() ||
        rest.size() < block_->capacity / 8) {
      // A large frame begins: at once into a large block, if one lies idle. One is never made for
      // an announcement.
      Block* fitting = expected > kFirstBlockBytes ? pool.acquire_spare(expected) : nullptr;
      if (!fitting) fitting = pool.acquire(std::max<std::size_t>(rest.size(), 1));
      if (!rest.empty()) std::memcpy(fitting->bytes(), rest.data(), rest.size());
      clear(pool);
      block_ = fitting;
    } else {
      std::memcpy(block_->bytes(), rest.data(), rest.size());
    }
    block_->begin = 0;
    block_->end = rest.size();
  }
  block_->note = expected;
  block_->tag = wish.note;
}

}  // namespace millrace
