#include <millrace/block_pool.h>

#include "support/mappings.h"

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

constexpr std::size_t kPooled = BlockPool::kLargestPooledBytes;
constexpr std::size_t kLarge = kPooled + 1;

struct BlockPoolTest : ::testing::Test {
  BlockPoolTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  Block* filled(std::size_t bytes, const std::string& content) {
    Block* block = pool.acquire(bytes);
    std::memcpy(block->bytes(), content.data(), content.size());
    block->end = content.size();
    return block;
  }
  static std::string content(Block* block) {
    return {reinterpret_cast<const char*>(block->bytes()) + block->begin, block->filled()};
  }
  // As often as it takes for what is idle to be gone: the block at hand goes back to its region at
  // the second trim, and that region at the one after.
  void trim_all() {
    for (int i = 0; i < 4; ++i) pool.trim();
  }

  Mappings mappings;
  BlockPool pool;
};

TEST_F(BlockPoolTest, GivesEmptyBlocksWithAtLeastTheRoomThatWasAskedFor) {
  for (const std::size_t bytes : {0u, 1u, 255u, 256u, 257u, 1024u, 1025u, 4096u, 4097u, 16384u,
                                  16385u, 65535u, 65536u, 65537u, 1000000u}) {
    Block* block = pool.acquire(bytes);
    EXPECT_GE(block->capacity, bytes);
    EXPECT_EQ(block->begin, 0u);
    EXPECT_EQ(block->end, 0u);
    EXPECT_EQ(block->filled(), 0u);
    EXPECT_EQ(block->room(), block->capacity);
    EXPECT_EQ(block->next, nullptr);
    EXPECT_EQ(block->kind, 0u);
    EXPECT_EQ(block->note, 0u);
    std::memset(block->bytes(), 0xee, block->capacity);
    pool.release(block);
  }
}

TEST_F(BlockPoolTest, HasFiveClassesEachFourTimesTheOneBefore) {
  std::set<std::size_t> capacities;
  std::vector<Block*> blocks;
  for (std::size_t bytes = 1; bytes <= kPooled; bytes += 97) {
    Block* block = pool.acquire(bytes);
    capacities.insert(block->capacity);
    // No more than four times what was asked for.
    EXPECT_LE(block->capacity, std::max(bytes * 4, BlockPool::kSmallestBytes));
    pool.release(block);
  }
  EXPECT_EQ(capacities, (std::set<std::size_t>{256, 1024, 4096, 16384, 65536}));
}

TEST_F(BlockPoolTest, BlocksDoNotOverlap) {
  std::vector<Block*> blocks;
  for (int round = 0; round < 40; ++round) {
    for (const std::size_t bytes : {200u, 1000u, 4000u, 16000u, 60000u, 100000u}) {
      blocks.push_back(
          filled(bytes, std::string(bytes, static_cast<char>('a' + blocks.size() % 26))));
    }
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_EQ(content(blocks[i]),
              std::string(blocks[i]->filled(), static_cast<char>('a' + i % 26)));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(blocks[i]) % alignof(Block), 0u);
    pool.release(blocks[i]);
  }
}

TEST_F(BlockPoolTest, ReusesWhatWasFreedLastFirst) {
  for (const std::size_t bytes : {100u, 1000u, 4000u, 16000u, 60000u, 100000u}) {
    Block* first = pool.acquire(bytes);
    Block* second = pool.acquire(bytes);
    pool.release(first);
    EXPECT_EQ(pool.acquire(bytes), first) << bytes;
    pool.release(second);
    pool.release(first);
  }
}

TEST_F(BlockPoolTest, AReusedBlockIsAsGoodAsNew) {
  for (const std::size_t bytes : {100u, 60000u, 100000u}) {
    Block* block = filled(bytes, "content");
    block->begin = 3;
    block->note = 9;
    block->kind = 2;
    block->next = block;
    pool.release(block);
    Block* again = pool.acquire(bytes);
    ASSERT_EQ(again, block);
    EXPECT_EQ(again->filled(), 0u);
    EXPECT_EQ(again->begin, 0u);
    EXPECT_EQ(again->note, 0u);
    EXPECT_EQ(again->kind, 0u);
    EXPECT_EQ(again->next, nullptr);
    pool.release(again);
  }
}

TEST_F(BlockPoolTest, GrowKeepsTheContentAndWhatTheHolderNoted) {
  const std::size_t steps[] = {100, 500, 3000, 10000, 50000, kPooled, kLarge, 300000, 5000000};
  for (const std::size_t from : steps) {
    for (const std::size_t to : steps) {
      Block* block = filled(from, "not this: the content");
      block->begin = 10;
      block->note = 77;
      block->kind = 2;
      block->next = block;  // any value: the pool must not look at it
      Block* next = block->next;
      Block* grown = pool.grow(block, to);
      EXPECT_GE(grown->capacity, std::max(from, to));
      EXPECT_EQ(content(grown), "the content") << from << " to " << to;
      EXPECT_EQ(grown->note, 77u);
      EXPECT_EQ(grown->kind, 2u);
      EXPECT_EQ(grown->next, next);
      std::memset(grown->bytes() + grown->end, 0xee, grown->room());
      pool.release(grown);
    }
  }
  EXPECT_EQ(pool.live_blocks(), 0u);
}

TEST_F(BlockPoolTest, GrowReturnsABlockThatIsLargeEnough) {
  Block* block = pool.acquire(1000);
  EXPECT_EQ(pool.grow(block, block->capacity), block);
  EXPECT_EQ(pool.grow(block, 1), block);
  pool.release(block);
}

TEST_F(BlockPoolTest, LargeBlocksKeepAllTheirBytesWhenTheyGrow) {
  std::string bytes(500'000, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i % 251);
  Block* block = filled(bytes.size(), bytes);
  for (const std::size_t to : {600'000u, 2'000'000u, 20'000'000u}) block = pool.grow(block, to);
  EXPECT_TRUE(content(block) == bytes);
  pool.release(block);
}

TEST_F(BlockPoolTest, ThrowsBadAllocWhenThereIsNoMemoryAndWorksOnAfterwards) {
  mappings.refuse(true);
  for (const std::size_t bytes : {1u, 60000u, 1000000u}) {
    EXPECT_THROW(pool.acquire(bytes), std::bad_alloc);
  }
  mappings.refuse(false);
  EXPECT_EQ(pool.live_blocks(), 0u);
  Block* block = pool.acquire(100);
  pool.release(block);
}

TEST_F(BlockPoolTest, ThrowsBadAllocForWhatNoMachineHas) {
  EXPECT_THROW(pool.acquire(SIZE_MAX), std::bad_alloc);
  EXPECT_THROW(pool.acquire(SIZE_MAX / 2 + 1), std::bad_alloc);
  EXPECT_THROW(pool.acquire(SIZE_MAX / 2), std::bad_alloc);
  EXPECT_THROW(pool.acquire(std::size_t{1} << 50), std::bad_alloc);
  EXPECT_EQ(pool.live_blocks(), 0u);
  EXPECT_EQ(mappings.bytes(), 0);
}

TEST_F(BlockPoolTest, ABlockThatCannotGrowIsUnchanged) {
  Block* small = filled(256, "small");
  Block* large = filled(kLarge, "large");
  mappings.refuse(true);
  EXPECT_THROW(pool.grow(small, 60000), std::bad_alloc);
  EXPECT_THROW(pool.grow(small, 10'000'000), std::bad_alloc);
  EXPECT_THROW(pool.grow(large, 10'000'000), std::bad_alloc);
  EXPECT_THROW(pool.grow(large, SIZE_MAX), std::bad_alloc);
  mappings.refuse(false);
  EXPECT_EQ(content(small), "small");
  EXPECT_EQ(content(large), "large");
  EXPECT_EQ(pool.live_blocks(), 2u);
  pool.release(small);
  pool.release(large);
}

TEST_F(BlockPoolTest, ASpareIsALargeBlockThatWasReleased) {
  EXPECT_EQ(pool.acquire_spare(kLarge), nullptr);
  Block* pooled = pool.acquire(kPooled);
  pool.release(pooled);
  EXPECT_EQ(pool.acquire_spare(1), nullptr);
  Block* large = pool.acquire(200'000);
  pool.release(large);
  const auto mapped = mappings.calls();
  EXPECT_EQ(pool.acquire_spare(10'000'000), nullptr);
  EXPECT_EQ(pool.acquire_spare(150'000), large);
  EXPECT_EQ(large->filled(), 0u);
  EXPECT_EQ(pool.acquire_spare(150'000), nullptr);
  EXPECT_EQ(mappings.calls(), mapped);
  pool.release(large);
}

TEST_F(BlockPoolTest, TheSmallestSpareThatFitsIsTaken) {
  Block* blocks[] = {pool.acquire(900'000), pool.acquire(300'000), pool.acquire(600'000)};
  for (Block* block : blocks) pool.release(block);
  EXPECT_EQ(pool.acquire(250'000), blocks[1]);
  EXPECT_EQ(pool.acquire(250'000), blocks[2]);
  EXPECT_EQ(pool.acquire(250'000), blocks[0]);
  for (Block* block : blocks) pool.release(block);
}

TEST_F(BlockPoolTest, KeepsOnlySoManySpares) {
  std::vector<Block*> blocks;
  for (int i = 0; i < 100; ++i) blocks.push_back(pool.acquire(1'000'000));
  for (Block* block : blocks) pool.release(block);
  EXPECT_LE(mappings.bytes(), 17 * 1'000'000);
  EXPECT_LE(pool.spare_bytes(), 17u * 1'000'000);
}

TEST_F(BlockPoolTest, WantsATrimOnceSomethingIsIdle) {
  EXPECT_FALSE(pool.wants_trim());
  Block* block = pool.acquire(100);
  EXPECT_FALSE(pool.wants_trim());
  pool.release(block);
  EXPECT_TRUE(pool.wants_trim());
  pool.trim();
  EXPECT_TRUE(pool.wants_trim()) << "it was used since the last trim: it survived this one";
  pool.trim();
  EXPECT_FALSE(pool.wants_trim());
  EXPECT_EQ(mappings.bytes(), 0);
}

TEST_F(BlockPoolTest, DoesNotWantATrimForTheBlockAtHand) {
  for (int i = 0; i < 10; ++i) pool.release(pool.acquire(kPooled));
  EXPECT_FALSE(pool.wants_trim());
}

TEST_F(BlockPoolTest, TrimGivesBackWhatWasNotUsedSinceTheLastOne) {
  for (const std::size_t bytes : {100u, 1000u, 4000u, 16000u, 100000u}) {
    pool.release(pool.acquire(bytes));
    pool.trim();
    EXPECT_GT(mappings.bytes(), 0) << "it was in use a moment ago";
    EXPECT_GT(pool.spare_bytes(), 0u);
    pool.trim();
    EXPECT_EQ(mappings.bytes(), 0) << bytes;
    EXPECT_EQ(pool.spare_bytes(), 0u);
  }
}

TEST_F(BlockPoolTest, TrimKeepsWhatIsUsedAgainAndAgain) {
  pool.release(pool.acquire(1000));
  pool.release(pool.acquire(100'000));
  const auto mapped = mappings.calls();
  for (int i = 0; i < 10; ++i) {
    pool.trim();
    pool.release(pool.acquire(1000));
    pool.release(pool.acquire(100'000));
  }
  EXPECT_EQ(mappings.calls(), mapped);
}

TEST_F(BlockPoolTest, TrimLeavesBlocksThatAreHandedOutAlone) {
  std::vector<Block*> blocks;
  for (const std::size_t bytes : {100u, 1000u, 4000u, 16000u, 60000u, 100000u}) {
    for (int i = 0; i < 5; ++i) blocks.push_back(filled(bytes, std::string(bytes, 'k')));
  }
  trim_all();
  for (Block* block : blocks) {
    EXPECT_EQ(content(block), std::string(block->filled(), 'k'));
    pool.release(block);
  }
}

TEST_F(BlockPoolTest, ABurstLeavesNothingBehind) {
  std::vector<Block*> blocks;
  for (int i = 0; i < 2000; ++i) {
    for (const std::size_t bytes : {100u, 4000u, 60000u}) blocks.push_back(pool.acquire(bytes));
    if (i % 100 == 0) blocks.push_back(pool.acquire(1'000'000));
  }
  EXPECT_GT(mappings.bytes(), 100'000'000);
  for (Block* block : blocks) pool.release(block);
  trim_all();
  EXPECT_EQ(mappings.bytes(), 0);
  EXPECT_FALSE(pool.wants_trim());
}

TEST_F(BlockPoolTest, GivesEverythingBackWhenItIsDestroyed) {
  {
    BlockPool other;
    std::vector<Block*> blocks;
    for (int i = 0; i < 100; ++i) {
      for (const std::size_t bytes : {100u, 60000u, 100000u})
        blocks.push_back(other.acquire(bytes));
    }
    for (Block* block : blocks) other.release(block);
    EXPECT_GT(mappings.bytes(), 0);
  }
  EXPECT_EQ(mappings.bytes(), 0);
}

TEST_F(BlockPoolTest, CountsWhatIsHandedOut) {
  EXPECT_EQ(pool.live_blocks(), 0u);
  Block* blocks[] = {pool.acquire(10), pool.acquire(kPooled), pool.acquire(kPooled),
                     pool.acquire(kLarge)};
  EXPECT_EQ(pool.live_blocks(), 4u);
  std::size_t live = 4;
  for (Block* block : blocks) {
    pool.release(block);
    EXPECT_EQ(pool.live_blocks(), --live);
  }
}

TEST_F(BlockPoolTest, BeingDestroyedBeforeItsBlocksAborts) {
  EXPECT_DEATH(
      {
        BlockPool short_lived;
        short_lived.acquire(10);
      },
      "a send queue or stored input outlived its loop");
}

}  // namespace
}  // namespace millrace::test
