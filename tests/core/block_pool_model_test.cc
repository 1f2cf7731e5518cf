// Random operations on a BlockPool beside a model that knows what each block holds.
#include <millrace/block_pool.h>

#include "support/mappings.h"
#include "support/random.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

class PoolModel {
 public:
  explicit PoolModel(std::uint64_t seed) : random_(seed) {}
  ~PoolModel() {
    while (!held_.empty()) release(held_.size() - 1);
  }

  void step() {
    const std::size_t what = random_.below(100);
    if (what < 40) acquire(false);
    if (what >= 40 && what < 43) acquire(true);
    if (what >= 43 && what < 80 && !held_.empty()) release(random_.below(held_.size()));
    if (what >= 80 && what < 92 && !held_.empty()) grow(held_[random_.below(held_.size())]);
    if (what >= 92) trim();
  }

  void check() {
    EXPECT_EQ(pool_.live_blocks(), held_.size());
    std::size_t held_bytes = 0;
    for (const Held& held : held_) {
      EXPECT_TRUE(content(held.block) == held.content);
      held_bytes += held.block->capacity;
    }
    // Whatever is mapped is handed out, spare, or never touched.
    EXPECT_GE(static_cast<std::size_t>(mappings_.bytes()), held_bytes + pool_.spare_bytes());
  }

  // With nothing in use, everything goes back.
  void check_end() {
    while (!held_.empty()) release(held_.size() - 1);
    for (int i = 0; i < 4; ++i) pool_.trim();
    EXPECT_EQ(mappings_.bytes(), 0);
    EXPECT_EQ(pool_.spare_bytes(), 0u);
    EXPECT_FALSE(pool_.wants_trim());
  }

 private:
  struct Held {
    Block* block;
    std::string content;
  };

  static std::string content(Block* block) {
    return {reinterpret_cast<const char*>(block->bytes()) + block->begin, block->filled()};
  }

  // Bytes at a random place in the block; the ends of its room are written too.
  void fill(Held& held) {
    Block* block = held.block;
    std::memset(block->bytes(), 0xaa, std::min<std::size_t>(block->capacity, 64));
    std::memset(block->bytes() + block->capacity - 1, 0xbb, 1);
    block->begin = random_.below(block->capacity);
    held.content =
        random_.bytes(std::min(random_.size_up_to(100'000), block->capacity - block->begin));
    std::memcpy(block->bytes() + block->begin, held.content.data(), held.content.size());
    block->end = block->begin + held.content.size();
  }

  void acquire(bool spare) {
    const std::size_t bytes = random_.size_up_to(600'000);
    Block* block = spare ? pool_.acquire_spare(bytes) : pool_.acquire(bytes);
    if (!block) return;
    EXPECT_GE(block->capacity, bytes);
    EXPECT_EQ(block->filled(), 0u);
    held_.push_back({block, {}});
    fill(held_.back());
  }

  void release(std::size_t i) {
    EXPECT_TRUE(content(held_[i].block) == held_[i].content);
    std::swap(held_[i], held_.back());
    pool_.release(held_.back().block);
    held_.pop_back();
  }

  void grow(Held& held) {
    const std::size_t bytes = random_.size_up_to(2'000'000);
    const bool refuse = random_.one_in(10);
    mappings_.refuse(refuse);
    try {
      held.block = pool_.grow(held.block, bytes);
      EXPECT_GE(held.block->capacity, bytes);
    } catch (const std::bad_alloc&) {
      EXPECT_TRUE(refuse);
    }
    mappings_.refuse(false);
    EXPECT_TRUE(content(held.block) == held.content);
    if (random_.one_in(2)) fill(held);
  }

  void trim() {
    const std::size_t before = pool_.spare_bytes();
    pool_.trim();
    EXPECT_LE(pool_.spare_bytes(), before);
  }

  Random random_;
  Mappings mappings_;
  BlockPool pool_;
  std::vector<Held> held_;
};

TEST(BlockPoolModelTest, HoldsWhatTheModelHoldsWhateverIsDone) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    PoolModel model(seed);
    for (int step = 0; step < 600; ++step) {
      model.step();
      if (step % 20 == 0) model.check();
      if (::testing::Test::HasFailure()) return;
    }
    model.check();
    model.check_end();
  }
}

}  // namespace
}  // namespace millrace::test
