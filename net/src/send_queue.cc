#include "send_queue.h"

#include <millrace/check.h>

#include "stream_io.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

namespace millrace {
namespace {

// Block::kind. From kFile on a piece needs a call of its own.
enum Kind : std::uint32_t { kBytes = 0, kShared, kBorrowed, kFile, kDescriptors };

// One call gathers at most this many pieces: far below IOV_MAX (1,024), and beyond it the cost of a
// call no longer counts beside that of its pieces.
constexpr std::size_t kMaxParts = 64;
// One flush writes at most about this much, so that one fast reader does not hold up the others.
constexpr std::size_t kFlushBudgetBytes = 1024 * 1024;
constexpr std::size_t kLargestStep = 16 * 1024;
constexpr std::size_t kFileChunkBytes = 1024 * 1024;

struct FileRange {
  UniqueFd file;
  std::uint64_t offset;  // of the file, where the block's byte 0 lies
};

// Of a block of kind kShared: in the header, so that one of a thousand receivers of the same
// payload costs one cache line.
SharedBytes& shared(Block& block) {
  static_assert(sizeof(SharedBytes) <= sizeof block.tag);
  return *std::launder(reinterpret_cast<SharedBytes*>(&block.tag));
}
// Of a block of kind kFile.
FileRange& file(Block& block) {
  return *std::launder(reinterpret_cast<FileRange*>(block.bytes()));
}

// Of a block of kind kBorrowed: where its byte 0 lies. The room behind its header is for the copy.
const std::byte* borrowed(const Block& block) {
  return reinterpret_cast<const std::byte*>(static_cast<std::uintptr_t>(block.tag));
}

// Of a block of kind kDescriptors, whose bytes lie in it as those of kBytes do.
using Descriptors = std::vector<UniqueFd>;
Descriptors& descriptors_of(Block& block) {
  static_assert(sizeof(std::unique_ptr<Descriptors>) <= sizeof block.tag);
  return **std::launder(reinterpret_cast<std::unique_ptr<Descriptors>*>(&block.tag));
}
const Descriptors& descriptors_of(const Block& block) {
  return descriptors_of(const_cast<Block&>(block));
}
// They have gone with its first byte: what remains is bytes.
void forget_descriptors(Block& block) {
  using Owner = std::unique_ptr<Descriptors>;
  std::launder(reinterpret_cast<Owner*>(&block.tag))->~Owner();
  block.kind = kBytes;
}

// Not of a file.
const std::byte* bytes_of(Block& block) {
  if (block.kind == kShared) return shared(block).view().data() + block.begin;
  return (block.kind == kBorrowed ? borrowed(block) : block.bytes()) + block.begin;
}

iovec part_of(Block& block) {
  return {const_cast<std::byte*>(bytes_of(block)), block.filled()};
}

iovec part_of(ByteView view) {
  return {const_cast<std::byte*>(view.data()), view.size()};
}

}  // namespace

// From the first to the last.
template <class Look>
void SendQueue::for_each(Look&& look) const {
  if (!tail_) return;
  Block* block = tail_;
  do {
    block = block->next;
    look(*block);
  } while (block != tail_);
}

Block* SendQueue::add_block(std::size_t capacity, BlockPool& pool) {
  Block* block = pool.acquire(capacity);
  if (tail_) {
    block->note = tail_->note;
    block->next = head();
    tail_->next = block;
  } else {
    block->next = block;
  }
  tail_ = block;
  return block;
}

// Replies that leave when the callback returns lie in one large block, which comes back at once.
std::size_t SendQueue::block_bytes(std::size_t wanted, Stay stay) noexcept {
  if (stay == Stay::brief) return BlockPool::kLargestPooledBytes;
  return std::min(wanted, BlockPool::kLargestPooledBytes);
}

void SendQueue::append(ByteView bytes, BlockPool& pool, Stay stay) {
  while (!bytes.empty()) {
    Block* block = tail_ ? reserve(1, pool, stay, bytes.size())
                         : add_block(block_bytes(bytes.size(), stay), pool);
    const std::size_t n = std::min(block->room(), bytes.size());
    std::memcpy(block->bytes() + block->end, bytes.data(), n);
    commit(n);
    bytes = bytes.from(n);
  }
}

void SendQueue::append(SharedBytes bytes, BlockPool& pool) {
  if (bytes.empty()) return;
  Block* block = add_block(BlockPool::kSmallestBytes, pool);
  block->kind = kShared;
  commit(bytes.size());
  ::new (&block->tag) SharedBytes(std::move(bytes));
}

void SendQueue::borrow(ByteView bytes, BlockPool& pool) {
  // As for replies: where it is the only piece, the block at hand is taken.
  Block* block = add_block(tail_ ? bytes.size() : BlockPool::kLargestPooledBytes, pool);
  MILLRACE_DCHECK(bytes.size() <= block->capacity, "borrow() of more than a block can hold");
  block->kind = kBorrowed;
  block->tag = reinterpret_cast<std::uintptr_t>(bytes.data());
  commit(bytes.size());
}

void SendQueue::own(BlockPool& pool) noexcept {
  for_each([](Block& block) {
    if (block.kind != kBorrowed) return;
    std::memcpy(block.bytes(), bytes_of(block), block.filled());
    block.end = block.filled();
    block.begin = 0;
    block.kind = kBytes;
  });
  shrink(pool);
}

bool SendQueue::borrows() const noexcept {
  bool found = false;
  for_each([&](const Block& block) { found |= block.kind == kBorrowed; });
  return found;
}

void SendQueue::append_file(UniqueFd opened, std::uint64_t offset, std::uint64_t length,
                            BlockPool& pool) {
  if (length == 0) return;
  static_assert(sizeof(FileRange) <= BlockPool::kSmallestBytes);
  Block* block = add_block(sizeof(FileRange), pool);
  block->kind = kFile;
  commit(length);
  ::new (block->bytes()) FileRange{std::move(opened), offset};
}

void SendQueue::append_descriptors(ByteView bytes, Descriptors& given, BlockPool& pool) {
  auto kept = std::make_unique<Descriptors>();
  const std::size_t first = std::min(bytes.size(), BlockPool::kLargestPooledBytes);
  Block* block = add_block(first, pool);
  std::memcpy(block->bytes(), bytes.data(), first);
  block->kind = kDescriptors;
  ::new (&block->tag) std::unique_ptr<Descriptors>(std::move(kept));
  commit(first);
  append(bytes.from(first), pool, Stay::long_term);
  descriptors_of(*block) = std::exchange(given, {});
}

std::size_t SendQueue::descriptors() const noexcept {
  std::size_t all = 0;
  for_each([&](const Block& block) {
    if (block.kind == kDescriptors) all += descriptors_of(block).size();
  });
  return all;
}

// With room for at least `least` bytes; a new block is taken for `wanted` or more.
Block* SendQueue::reserve(std::size_t least, BlockPool& pool, Stay stay, std::size_t wanted) {
  if (tail_ && tail_->kind == kBytes && tail_->room() >= least) return tail_;
  drop_empty_tail(pool);  // left by a writer, and too small
  // Behind a payload that is not ours nothing much may follow (the next header): what fits.
  if (tail_ && tail_->kind != kBytes) stay = Stay::long_term;
  // Behind bytes it grows by doubling, so that neither many small writes make many small blocks nor
  // one small write holds a large one.
  if (tail_ && tail_->kind == kBytes) wanted = std::max(wanted, std::min(bytes(), kLargestStep));
  return add_block(std::max(least, block_bytes(wanted, stay)), pool);
}

Block* SendQueue::reserve(std::size_t n, BlockPool& pool, Stay stay) {
  return reserve(n, pool, stay, n);
}

std::size_t SendQueue::bytes_in_memory() const noexcept {
  std::size_t in_memory = bytes();
  for_each([&](const Block& block) {
    if (block.kind == kFile) in_memory -= block.filled();
  });
  return in_memory;
}

// Of a queue with more than one block.
Block* SendQueue::before_tail() const noexcept {
  Block* before = tail_;
  while (before->next != tail_) before = before->next;
  return before;
}

Block* SendQueue::reserve_more(std::size_t kept, std::size_t n, BlockPool& pool) {
  n = std::max(n, kept * 2);
  Block* old = tail_;
  if (old->filled() > 0) {
    Block* made = add_block(n, pool);
    std::memcpy(made->bytes(), old->bytes() + old->end, kept);
    return made;
  }
  Block* before = single() ? nullptr : before_tail();
  old->end += kept;  // grow() keeps what is filled
  try {
    tail_ = pool.grow(old, n);
  } catch (const std::bad_alloc&) {
    old->end -= kept;
    throw;
  }
  tail_->end -= kept;
  (before ? before : tail_)->next = tail_;
  return tail_;
}

void SendQueue::drop_empty_tail(BlockPool& pool) noexcept {
  if (!tail_ || tail_->filled() > 0) return;
  Block* before = single() ? nullptr : before_tail();
  if (before) {
    before->note = tail_->note;
    before->next = head();
  }
  pool.release(std::exchange(tail_, before));
}

void SendQueue::remove_head(BlockPool& pool) noexcept {
  Block* block = head();
  if (block == tail_) {
    tail_ = nullptr;
  } else {
    tail_->next = block->next;
  }
  release(block, pool);
}

void SendQueue::release(Block* block, BlockPool& pool) noexcept {
  if (block->kind == kShared) shared(*block).~SharedBytes();
  if (block->kind == kFile) file(*block).~FileRange();
  if (block->kind == kDescriptors) forget_descriptors(*block);
  pool.release(block);
}

void SendQueue::advance(std::size_t n, BlockPool& pool) noexcept {
  if (!tail_) return;
  tail_->note -= n;
  while (tail_ && n >= head()->filled()) {
    n -= head()->filled();
    remove_head(pool);
  }
  if (n > 0) head()->begin += n;
}

SendQueue::Flushed SendQueue::flush(int fd, BlockPool& pool) noexcept {
  // Nearly always: the replies of one callback in one block, or one payload that many get, and the
  // kernel takes it whole.
  if (tail_ && single() && tail_->kind < kFile) {
    const std::size_t queued = tail_->note;
    const IoResult written = stream_write(fd, bytes_of(*tail_), queued);
    if (written.bytes == queued) {
      release(std::exchange(tail_, nullptr), pool);
      return {written.bytes, 0, false};
    }
    return partly_flushed(written, written.bytes, pool);
  }
  std::size_t taken;
  return flush_with(fd, pool, {}, &taken);
}

// The kernel took less than it was given.
SendQueue::Flushed SendQueue::partly_flushed(const IoResult& written, std::size_t of_queue,
                                             BlockPool& pool) noexcept {
  if (written.failed()) return {0, written.error, false};
  advance(of_queue, pool);
  shrink(pool);
  return {written.bytes, 0, true};
}

SendQueue::Flushed SendQueue::flush_with(int fd, BlockPool& pool, const Parts& behind,
                                         std::size_t* taken) noexcept {
  *taken = 0;
  Flushed flushed;
  const std::size_t extra = behind[0].size() + behind[1].size() + behind[2].size();
  while (!empty() || *taken < extra) {
    if (flushed.bytes >= kFlushBudgetBytes) return flushed;
    if (!empty() && head()->kind >= kFile) {
      const bool is_file = head()->kind == kFile;
      const Flushed sent = is_file ? flush_file(fd, pool) : flush_descriptors(fd, pool);
      flushed.bytes += sent.bytes;
      if (sent.error == 0 && !sent.blocked) continue;
      return {flushed.bytes, sent.error, sent.blocked};
    }

    std::array<iovec, kMaxParts + std::tuple_size_v<Parts>> parts;
    std::size_t count = 0;
    std::size_t gathered = 0;
    for (Block* block = tail_; gathered < bytes() && count < kMaxParts;) {
      block = block->next;
      if (block->kind >= kFile) break;
      parts[count++] = part_of(*block);
      gathered += block->filled();
    }
    const std::size_t queued = gathered;
    if (queued == bytes()) {  // the whole queue fits: what comes behind it may go along
      for (const ByteView view : behind) {
        if (view.empty()) continue;
        parts[count++] = part_of(view);
        gathered += view.size();
      }
    }

    // A header shares its last segment with the file that follows.
    const bool more = queued < bytes();
    const IoResult written = stream_write(fd, {parts.data(), count}, more);
    const std::size_t of_queue = std::min(written.bytes, queued);
    *taken += written.bytes - of_queue;
    if (written.bytes < gathered) {
      const Flushed last = partly_flushed(written, of_queue, pool);
      return {flushed.bytes + last.bytes, last.error, last.blocked};
    }
    flushed.bytes += written.bytes;
    advance(of_queue, pool);
  }
  return flushed;
}

SendQueue::Flushed SendQueue::flush_file(int fd, BlockPool& pool) noexcept {
  const Block& first = *head();
  const FileRange& range = file(*head());
  const std::size_t want = std::min(first.filled(), kFileChunkBytes);
  const IoResult sent = stream_send_file(fd, range.file.get(), range.offset + first.begin, want);
  if (sent.blocked()) return {0, 0, true};
  if (sent.failed()) return {0, sent.error, false};
  if (sent.bytes == 0) return {0, EIO, false};  // the file is shorter than was promised
  advance(sent.bytes, pool);
  // A short count may be the end of the file or a full socket: asking again tells.
  return {sent.bytes, 0, false};
}

SendQueue::Flushed SendQueue::flush_descriptors(int fd, BlockPool& pool) noexcept {
  Block& first = *head();
  const std::size_t n = first.filled();
  const IoResult sent = stream_write(fd, bytes_of(first), n, descriptors_of(first));
  if (sent.bytes > 0) forget_descriptors(first);
  if (sent.bytes < n) return partly_flushed(sent, sent.bytes, pool);
  advance(n, pool);
  return {n, 0, false};
}

// A few bytes that have to wait must not hold a large block.
void SendQueue::shrink(BlockPool& pool) noexcept {
  Block* block = tail_;
  if (!block || !single() || block->kind != kBytes) return;
  if (block->filled() > block->capacity / 8) return;
  Block* smaller;
  try {
    smaller = pool.acquire(block->filled());
  } catch (const std::bad_alloc&) {
    return;
  }
  std::memcpy(smaller->bytes(), block->bytes() + block->begin, block->filled());
  smaller->end = smaller->note = block->filled();
  tail_ = smaller->next = smaller;
  pool.release(block);
}

void SendQueue::clear(BlockPool& pool) noexcept {
  while (tail_) remove_head(pool);
}

void SendQueue::check_invariants() const {
  std::size_t found = 0;
  for_each([&](const Block& block) {
    MILLRACE_CHECK(block.filled() > 0 || &block == tail_, "invariant 2: an empty block inside");
    found += block.filled();
  });
  MILLRACE_CHECK_EQ(found, bytes(), "invariant 1: bytes held and bytes counted");
}

}  // namespace millrace
