#include "send_queue.h"

#include "support/random.h"
#include "support/send_queue_test.h"

#include <cerrno>
#include <new>
#include <string>
#include <vector>

namespace millrace::test {
namespace {

TEST_F(SendQueueTest, IsEmptyAndHoldsNothingAtFirst) {
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.bytes(), 0u);
  EXPECT_EQ(queue.last(), nullptr);
  queue.check_invariants();
  queue.drop_empty_tail(pool);
  queue.clear(pool);
  const StreamPair pair;
  const Faults calls;
  const auto flushed = flush(pair.ours.fd());
  EXPECT_EQ(flushed.bytes, 0u);
  EXPECT_EQ(flushed.error, 0);
  EXPECT_FALSE(flushed.blocked);
  EXPECT_EQ(calls.count(Call::send) + calls.count(Call::sendmsg), 0u);
}

TEST_F(SendQueueTest, AppendingNothingQueuesNothing) {
  append("");
  append("", Stay::long_term);
  queue.append(SharedBytes(), pool);
  append_file(file_of("content"), 3, 0);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.last(), nullptr);
  EXPECT_EQ(pool.live_blocks(), 0u);
}

TEST_F(SendQueueTest, SmallWritesShareABlockAndLeaveInOneCall) {
  StreamPair pair;
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    append("line " + std::to_string(i) + "\n");
    expected += "line " + std::to_string(i) + "\n";
  }
  EXPECT_EQ(queue.bytes(), expected.size());
  EXPECT_EQ(pool.live_blocks(), 1u);
  const Faults calls;
  EXPECT_EQ(flush(pair.ours.fd()).bytes, expected.size());
  EXPECT_EQ(calls.count(Call::send) + calls.count(Call::sendmsg), 1u);
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(pool.live_blocks(), 0u);
  EXPECT_EQ(receive(pair), expected);
}

TEST_F(SendQueueTest, KeepsTheOrderOfPiecesOfAllKinds) {
  StreamPair pair;
  append("small ");
  queue.append(SharedBytes(ByteView("shared ")), pool);
  append_file(file_of("from a file "), 0, 12);
  append("small again ");
  append_file(file_of("xxpart of a filexx"), 2, 14);
  append_file(file_of(" and one more"), 0, 13);
  queue.append(SharedBytes(std::string(" owned")), pool);
  queue.check_invariants();
  EXPECT_EQ(drain(pair), "small shared from a file small again part of a file and one more owned");
}

TEST_F(SendQueueTest, ASharedPayloadIsQueuedWithoutACopyAndLetGoOnceSent) {
  StreamPair pair;
  const SharedBytes payload(std::string(100'000, 's'));
  queue.append(payload, pool);
  queue.append(payload, pool);
  EXPECT_EQ(queue.bytes(), 200'000u);
  EXPECT_EQ(payload.owners(), 3u);
  EXPECT_LE(mappings.bytes(), 256 * 1024) << "the payload takes no memory of the pool";
  EXPECT_EQ(drain(pair), std::string(200'000, 's'));
  EXPECT_EQ(payload.owners(), 1u);
}

TEST_F(SendQueueTest, ASinglePayloadOfAnyKindButAFileLeavesWithoutGathering) {
  StreamPair pair;
  const Faults calls;
  const SharedBytes shared(std::string(5000, 's'));
  queue.append(shared, pool);
  EXPECT_EQ(flush(pair.ours.fd()).bytes, 5000u);
  EXPECT_EQ(shared.owners(), 1u);
  const std::string lent(5000, 'l');
  queue.borrow(lent, pool);
  EXPECT_EQ(flush(pair.ours.fd()).bytes, 5000u);
  EXPECT_EQ(calls.count(Call::send), 2u);
  EXPECT_EQ(calls.count(Call::sendmsg), 0u);
  EXPECT_EQ(pool.live_blocks(), 0u);
  EXPECT_EQ(receive(pair), std::string(5000, 's') + lent);
}

TEST_F(SendQueueTest, WhatIsBorrowedIsSentFromWhereItLiesUntilTheQueueOwnsIt) {
  StreamPair pair;
  std::string lent(20'000, 'a');
  queue.borrow(lent, pool);
  lent.assign(lent.size(), 'b');
  Faults faults;
  faults.on(Call::send, Fault::shorten(5000));
  EXPECT_TRUE(flush(pair.ours.fd()).blocked);
  EXPECT_TRUE(queue.borrows());
  queue.own(pool);
  EXPECT_FALSE(queue.borrows());
  queue.check_invariants();
  lent.assign(lent.size(), 'c');
  EXPECT_TRUE(drain(pair) == std::string(20'000, 'b'));
}

TEST_F(SendQueueTest, OwningTakesNoMemoryAndALittleRestKeepsOnlyALittleBlock) {
  StreamPair pair;
  const std::string lent(20'000, 'l');
  queue.borrow(lent, pool);
  queue.borrow(lent, pool);
  const std::size_t blocks = pool.live_blocks();
  mappings.refuse(true);
  queue.own(pool);
  mappings.refuse(false);
  EXPECT_EQ(pool.live_blocks(), blocks);
  Faults faults;
  faults.on(Call::sendmsg, Fault::shorten(39'990));
  EXPECT_TRUE(flush(pair.ours.fd()).blocked);
  EXPECT_LE(queue.last()->capacity, 256u);
  queue.clear(pool);
  queue.borrow(ByteView(lent).first(5000), pool);
  queue.own(pool);
  EXPECT_LT(queue.last()->capacity, kBlock);
}

TEST_F(SendQueueTest, AppendQuickTakesAllPartsWhenTheyFitIntoOneBlock) {
  StreamPair pair;
  EXPECT_FALSE(queue.append_quick("head", "body", "", pool)) << "no block lies at hand";
  pool.release(pool.acquire(kBlock));
  EXPECT_FALSE(queue.append_quick("", "", "", pool)) << "nothing needs no block";
  EXPECT_EQ(pool.live_blocks(), 0u);
  EXPECT_TRUE(queue.append_quick("head", "body", "", pool));
  EXPECT_TRUE(queue.append_quick("", "more", "", pool));
  EXPECT_TRUE(queue.append_quick("e", "", "nd", pool));
  queue.check_invariants();
  const std::string rest(kBlock - 15, 'r');
  EXPECT_FALSE(queue.append_quick(rest, "x", "", pool)) << "one byte too many";
  EXPECT_EQ(queue.bytes(), 15u) << "and then nothing of it is queued";
  EXPECT_TRUE(queue.append_quick(rest, "", "", pool));
  EXPECT_FALSE(queue.append_quick("x", "", "", pool));
  EXPECT_EQ(pool.live_blocks(), 1u);
  EXPECT_EQ(drain(pair), "headbodymoreend" + rest);
}

TEST_F(SendQueueTest, AppendQuickLeavesPiecesOfOtherKindsAlone) {
  queue.append(SharedBytes(ByteView("shared")), pool);
  EXPECT_FALSE(queue.append_quick("x", "", "", pool));
  EXPECT_EQ(queue.bytes(), 6u);
  queue.check_invariants();
}

TEST_F(SendQueueTest, AReservedRoomIsQueuedAsFarAsItIsCommitted) {
  StreamPair pair;
  append("before ");
  for (const char* text : {"one ", "two ", "three"}) {
    Block* block = queue.reserve(1000, pool, Stay::brief);
    ASSERT_GE(block->room(), 1000u);
    EXPECT_EQ(block, queue.last());
    std::memcpy(block->bytes() + block->end, text, std::strlen(text));
    queue.commit(std::strlen(text));
    queue.check_invariants();
  }
  EXPECT_EQ(drain(pair), "before one two three");
}

TEST_F(SendQueueTest, AReservedRoomMayBeLargerThanAnyPooledBlock) {
  StreamPair pair;
  append("before ");
  Block* block = queue.reserve(300'000, pool, Stay::long_term);
  ASSERT_GE(block->room(), 300'000u);
  std::memset(block->bytes() + block->end, 'l', 300'000);
  queue.commit(300'000);
  queue.check_invariants();
  EXPECT_EQ(drain(pair), "before " + std::string(300'000, 'l'));
}

TEST_F(SendQueueTest, WhatIsNotCommittedLeavesNoTrace) {
  queue.reserve(100, pool, Stay::long_term);
  EXPECT_TRUE(queue.empty());
  queue.check_invariants();
  queue.drop_empty_tail(pool);
  EXPECT_EQ(queue.last(), nullptr);
  EXPECT_EQ(pool.live_blocks(), 0u);

  queue.append(SharedBytes(ByteView("shared")), pool);
  const Block* last = queue.last();
  queue.reserve(100, pool, Stay::long_term);
  EXPECT_NE(queue.last(), last);
  queue.drop_empty_tail(pool);
  EXPECT_EQ(queue.last(), last);
  queue.drop_empty_tail(pool);
  EXPECT_EQ(queue.last(), last) << "the tail is not empty";
  queue.check_invariants();
}

TEST_F(SendQueueTest, AReservedRoomThatIsTooSmallIsReplaced) {
  queue.append(SharedBytes(ByteView("shared")), pool);
  queue.reserve(100, pool, Stay::long_term);
  queue.reserve(60'000, pool, Stay::long_term);
  queue.check_invariants();
  EXPECT_EQ(pool.live_blocks(), 2u);
  queue.commit(10);
  queue.check_invariants();
}

TEST_F(SendQueueTest, AppendGoesIntoARoomThatWasReserved) {
  StreamPair pair;
  queue.append(SharedBytes(ByteView("shared ")), pool);
  queue.reserve(100, pool, Stay::long_term);
  append("appended");
  queue.check_invariants();
  EXPECT_EQ(pool.live_blocks(), 2u);
  EXPECT_EQ(drain(pair), "shared appended");
}

TEST_F(SendQueueTest, ClearGivesEverythingBack) {
  const SharedBytes payload(std::string(1000, 's'));
  const auto descriptors = open_descriptors();
  append(std::string(200'000, 'x'));
  queue.append(payload, pool);
  append_file(file_of("content"), 0, 7);
  append("tail");
  queue.clear(pool);
  queue.check_invariants();
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.last(), nullptr);
  EXPECT_EQ(payload.owners(), 1u);
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_EQ(pool.live_blocks(), 0u);
  append("works on");
  EXPECT_EQ(queue.bytes(), 8u);
}

TEST_F(SendQueueTest, AFileIsClosedOnceItsRangeIsSent) {
  StreamPair pair;
  UniqueFd file = file_of("0123456789");
  const int fd = file.get();
  append_file(std::move(file), 2, 5);
  EXPECT_EQ(queue.bytes(), 5u);
  EXPECT_NE(::fcntl(fd, F_GETFD), -1);
  EXPECT_EQ(drain(pair), "23456");
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
}

TEST_F(SendQueueTest, ALargeFileArrivesWhole) {
  StreamPair pair;
  const std::string content = Random(5).bytes(3'000'000);
  append("head");
  append_file(file_of(content), 1, content.size() - 2);
  append("tail");
  EXPECT_LE(mappings.bytes(), 2 * 256 * 1024) << "a file takes no memory";
  EXPECT_TRUE(drain(pair) == "head" + content.substr(1, content.size() - 2) + "tail");
}

TEST_F(SendQueueTest, ManyPiecesLeaveSixtyFourAtATime) {
  for (const std::size_t pieces : {63u, 64u, 65u, 128u, 1025u, 3000u}) {
    StreamPair pair;
    std::string expected;
    for (std::size_t i = 0; i < pieces; ++i) {
      const std::string piece = std::to_string(i) + ",";
      queue.append(SharedBytes(ByteView(piece)), pool);
      expected += piece;
    }
    queue.check_invariants();
    const Faults calls;
    EXPECT_EQ(flush(pair.ours.fd()).bytes, expected.size());
    EXPECT_LE(calls.count(Call::sendmsg), (pieces + 63) / 64);
    EXPECT_TRUE(queue.empty());
    EXPECT_EQ(pool.live_blocks(), 0u);
    EXPECT_EQ(receive(pair), expected) << pieces;
  }
}

TEST_F(SendQueueTest, TakesMemoryByWhatIsQueuedForLong) {
  append("ten bytes.", Stay::long_term);
  EXPECT_EQ(queue.last()->capacity, BlockPool::kSmallestBytes);
  for (int i = 0; i < 100'000; ++i) append("x", Stay::long_term);
  queue.check_invariants();
  EXPECT_LE(pool.live_blocks(), 20u) << "many small writes do not make many small blocks";
  EXPECT_LE(mappings.bytes(), 100'000 + 5 * 256 * 1024);
}

TEST_F(SendQueueTest, AFewBytesThatHaveToWaitHoldNoLargeBlock) {
  StreamPair pair;
  append(std::string(20'000, 'x'));
  EXPECT_EQ(queue.last()->capacity, kBlock);
  Faults faults;
  faults.on(Call::send, Fault::shorten(19'900));
  const auto flushed = flush(pair.ours.fd());
  EXPECT_TRUE(flushed.blocked);
  EXPECT_EQ(queue.bytes(), 100u);
  EXPECT_EQ(queue.last()->capacity, BlockPool::kSmallestBytes);
  append("y");
  EXPECT_EQ(queue.bytes(), 101u);
  queue.check_invariants();
}

TEST_F(SendQueueTest, WithoutMemoryForASmallBlockTheLargeOneIsHeld) {
  StreamPair pair;
  append(std::string(20'000, 'x'));
  Faults faults;
  faults.on(Call::send, Fault::shorten(19'900));
  mappings.refuse(true);
  EXPECT_TRUE(flush(pair.ours.fd()).blocked);
  mappings.refuse(false);
  EXPECT_EQ(queue.bytes(), 100u);
  EXPECT_EQ(queue.last()->capacity, kBlock);
  queue.check_invariants();
}

TEST_F(SendQueueTest, WithoutMemoryItThrowsAndStaysInOrder) {
  StreamPair pair;
  append(std::string(kBlock, 'x'));
  const SharedBytes payload(std::string(1000, 's'));
  const auto descriptors = open_descriptors();
  mappings.refuse(true);
  EXPECT_THROW(append(std::string(500'000, 'y')), std::bad_alloc);
  queue.check_invariants();
  const std::size_t queued = queue.bytes();
  EXPECT_THROW(queue.append(payload, pool), std::bad_alloc);
  EXPECT_THROW(append_file(file_of("content"), 0, 7), std::bad_alloc);
  EXPECT_THROW(queue.reserve(500'000, pool, Stay::brief), std::bad_alloc);
  mappings.refuse(false);
  queue.check_invariants();
  EXPECT_EQ(payload.owners(), 1u);
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_GE(queue.bytes(), queued);
  const std::string all = drain(pair);
  EXPECT_EQ(all.substr(0, kBlock), std::string(kBlock, 'x'));
}

}  // namespace
}  // namespace millrace::test
