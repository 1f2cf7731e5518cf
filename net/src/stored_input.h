// StoredInput keeps what a connection has received and its handler has not consumed, and decides
// where the next bytes are received: as a rule into the loop's shared block, with the few stored
// bytes put in front of them; into the stored block itself when much is stored or a large rest is
// expected, so that it is never copied again. It lives in a connection, in the loop's thread; a
// connection without stored bytes holds no memory. Whoever destroys it clears it first.
//
//   const auto window = input.window(services);
//   n = receive(fd, window.at, window.size);
//   ByteView all = input.received(window, n, services);   // stored and new, in one piece
//   ... input.keep(rest, {expected, note}, pool);         // `rest` is the end of `all`
//
// Memory follows what has arrived: an announced length alone takes at most 64 KiB.
#pragma once

#include <millrace/block_pool.h>
#include <millrace/bytes.h>
#include <millrace/loop_services.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace millrace {

class StoredInput {
 public:
  // What a handler leaves behind besides bytes.
  struct Wish {
    std::size_t expected = 0;  // so many bytes must be there before it can do anything
    std::uint64_t note = 0;    // a number of its own
  };
  struct Window {
    std::byte* at;
    std::size_t size;
    bool in_place;  // behind the stored bytes, not in the shared block
  };

  StoredInput() noexcept = default;
  StoredInput(const StoredInput&) = delete;
  StoredInput& operator=(const StoredInput&) = delete;

  bool empty() const noexcept { return block_ == nullptr; }
  ByteView view() const noexcept {
    return block_ ? ByteView(block_->bytes() + block_->begin, block_->filled()) : ByteView();
  }
  // How many bytes must be there before the handler can do anything; 0: it was not said.
  std::size_t expected() const noexcept { return block_ ? block_->note : 0; }
  std::uint64_t note() const noexcept { return block_ ? block_->tag : 0; }
  std::uint64_t take_note() noexcept { return block_ ? std::exchange(block_->tag, 0) : 0; }
  // The wish of one handler does not hold for another.
  void forget_wish(BlockPool& pool) noexcept {
    if (!block_) return;
    if (block_->filled() == 0) return clear(pool);
    block_->note = 0;
    block_->tag = 0;
  }

  // Throws std::bad_alloc.
  Window window(LoopServices& services) {
    if (!block_) return {services.receive_block(), LoopServices::kReceiveBlockBytes, false};
    return window_behind_stored(services);
  }
  // All there is after `n` bytes came into `window`. Valid until the next receive of any connection
  // of the loop, or keep().
  ByteView received(const Window& window, std::size_t n, LoopServices& services) noexcept {
    return block_ ? joined(window, n, services) : ByteView(window.at, n);
  }
  // Stores what is left of the last view. Throws std::bad_alloc.
  void keep(ByteView rest, Wish wish, BlockPool& pool);
  void clear(BlockPool& pool) noexcept {
    if (!block_) return;
    pool.release(block_);
    block_ = nullptr;
  }

 private:
  [[gnu::noinline]] Window window_behind_stored(LoopServices& services);
  [[gnu::noinline]] ByteView joined(const Window& window, std::size_t n,
                                    LoopServices& services) noexcept;
  void make_room(std::size_t room, BlockPool& pool);

  Block* block_ = nullptr;
};

}  // namespace millrace
