#include "stored_input.h"

#include "support/loop_test.h"
#include "support/mappings.h"
#include "support/random.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>

namespace millrace::test {
namespace {

constexpr std::size_t kShared = LoopServices::kReceiveBlockBytes;
constexpr std::size_t kRegion = 256 * 1024;  // what the pool maps at a time
constexpr std::size_t kGiB = std::size_t{1} << 30;

struct StoredInputTest : LoopTest {
  void TearDown() override {
    input.clear(pool());
    LoopTest::TearDown();
  }

  LoopServices& services() { return loop().services(); }
  BlockPool& pool() { return services().blocks(); }

  // As a receive of `bytes` that fits into one window.
  ByteView receive(std::string_view bytes) {
    const auto window = input.window(services());
    EXPECT_LE(bytes.size(), window.size);
    std::memcpy(window.at, bytes.data(), bytes.size());
    return input.received(window, bytes.size(), services());
  }
  // Receives in as many windows as it takes, each kept as it is; the last view is what there is
  // then.
  void store(std::string_view bytes, std::size_t expected = 0) {
    while (!bytes.empty()) {
      const auto window = input.window(services());
      const std::size_t n = std::min(window.size, bytes.size());
      std::memcpy(window.at, bytes.data(), n);
      input.keep(input.received(window, n, services()), {expected}, pool());
      bytes.remove_prefix(n);
    }
  }
  // What other connections of the loop do meanwhile.
  void overwrite_the_shared_block() {
    std::memset(services().receive_block() - LoopServices::kReceiveHeadroomBytes, 0xdd,
                LoopServices::kReceiveHeadroomBytes + kShared);
  }
  void trim_all() {
    for (int i = 0; i < 4; ++i) pool().trim();
  }

  StoredInput input;
};

TEST_F(StoredInputTest, IsEmptyAndHoldsNoMemoryAtFirst) {
  EXPECT_TRUE(input.empty());
  EXPECT_TRUE(input.view().empty());
  EXPECT_EQ(input.expected(), 0u);
  EXPECT_EQ(pool().live_blocks(), 0u);
}

TEST_F(StoredInputTest, ReceivesIntoTheSharedBlockAndHoldsNothingOfWhatIsConsumed) {
  const auto window = input.window(services());
  EXPECT_EQ(window.at, services().receive_block());
  EXPECT_EQ(window.size, kShared);
  EXPECT_FALSE(window.in_place);
  const ByteView all = receive("request");
  EXPECT_EQ(all.text(), "request");
  input.keep(all.from(7), {0}, pool());
  EXPECT_TRUE(input.empty());
  EXPECT_EQ(pool().live_blocks(), 0u);
}

TEST_F(StoredInputTest, KeepsWhatIsLeftAndPutsItBeforeWhatComes) {
  ByteView all = receive("one two th");
  input.keep(all.from(8), {0}, pool());
  overwrite_the_shared_block();
  EXPECT_EQ(input.view().text(), "th");
  all = receive("ree four");
  EXPECT_EQ(all.text(), "three four");
  EXPECT_EQ(all.data(), services().receive_block() - 2) << "new bytes are received where they stay";
  input.keep(all, {0}, pool());
  overwrite_the_shared_block();
  EXPECT_EQ(input.view().text(), "three four");
}

TEST_F(StoredInputTest, RemembersWhatIsExpectedAlsoWithoutAByte) {
  input.keep(receive("abc").from(3), {10}, pool());
  EXPECT_FALSE(input.empty());
  EXPECT_TRUE(input.view().empty());
  EXPECT_EQ(input.expected(), 10u);
  const ByteView all = receive("0123456789");
  EXPECT_EQ(all.text(), "0123456789");
  input.keep(all.from(10), {0}, pool());
  EXPECT_EQ(input.expected(), 0u);
  EXPECT_TRUE(input.empty());
}

TEST_F(StoredInputTest, HoldsOnlySmallMemoryForFewBytes) {
  const Mappings mappings;
  input.keep(receive("abc"), {100}, pool());
  overwrite_the_shared_block();
  EXPECT_LE(mappings.bytes(), static_cast<std::ptrdiff_t>(kRegion));
  EXPECT_EQ(pool().live_blocks(), 1u);
}

TEST_F(StoredInputTest, ReceivesTheRestOfALargeFrameIntoPlace) {
  const std::string frame = Random(1).bytes(50'000);
  input.keep(receive(frame.substr(0, 1000)), {frame.size()}, pool());
  const auto window = input.window(services());
  EXPECT_TRUE(window.in_place);
  EXPECT_EQ(window.at, input.view().end());
  EXPECT_EQ(window.size, 49'000u) << "not beyond the frame";
  const std::byte* place = input.view().data();
  std::memcpy(window.at, frame.data() + 1000, 49'000);
  const ByteView all = input.received(window, 49'000, services());
  EXPECT_EQ(all.data(), place) << "nothing was copied";
  EXPECT_TRUE(all.text() == frame);
}

TEST_F(StoredInputTest, ReceivesSmallRestsThroughTheSharedBlock) {
  input.keep(receive(std::string(1000, 'x')), {9'000}, pool());
  EXPECT_FALSE(input.window(services()).in_place);
}

TEST_F(StoredInputTest, NeverReceivesBeyondWhatIsExpectedIntoPlace) {
  std::string bytes = Random(2).bytes(300'000);
  store(std::string_view(bytes).substr(0, 10'000), bytes.size());
  while (input.view().size() < bytes.size()) {
    const std::size_t stored = input.view().size();
    const auto window = input.window(services());
    ASSERT_GT(window.size, 0u);
    if (!window.in_place) break;
    EXPECT_LE(stored + window.size, bytes.size());
    std::memcpy(window.at, bytes.data() + stored, window.size);
    input.keep(input.received(window, window.size, services()), {bytes.size()}, pool());
  }
  EXPECT_TRUE(input.view().text() == bytes);
}

TEST_F(StoredInputTest, AnAnnouncementAloneTakesAtMostSixtyFourKiB) {
  for (const std::size_t announced : {kShared, kShared + 1, kGiB, SIZE_MAX}) {
    trim_all();
    const Mappings mappings;
    input.keep(receive("12345678"), {announced}, pool());
    for (int i = 0; i < 10; ++i) {
      const auto window = input.window(services());
      EXPECT_TRUE(window.in_place);
      EXPECT_LE(window.size, kShared);
    }
    EXPECT_EQ(pool().live_blocks(), 1u);
    // One region for the small block, and one for the block of 64 KiB.
    EXPECT_LE(mappings.bytes(), static_cast<std::ptrdiff_t>(2 * kRegion));
    input.clear(pool());
  }
}

TEST_F(StoredInputTest, MemoryFollowsWhatHasArrived) {
  const Mappings mappings;
  const std::string piece(10'000, 'p');
  std::size_t arrived = 0;
  while (arrived < 8'000'000) {
    store(piece, kGiB);
    arrived += piece.size();
    ASSERT_EQ(input.view().size(), arrived);
    // It doubles; what is not written to costs addresses and no memory.
    EXPECT_LE(static_cast<std::size_t>(mappings.bytes()), 2 * arrived + 3 * kRegion) << arrived;
  }
}

TEST_F(StoredInputTest, ALargeRestMovesToTheFrontInsteadOfGrowing) {
  const std::string bytes = Random(3).bytes(60'000);
  store(bytes);
  ASSERT_FALSE(input.empty());
  for (int i = 0; i < 50; ++i) {
    // Consumes some of the front, and as much comes behind.
    input.keep(input.view().from(5'000), {0}, pool());
    store(std::string_view(bytes).substr(0, 5'000));
    ASSERT_EQ(input.view().size(), 60'000u);
  }
  trim_all();
  EXPECT_LE(pool().spare_bytes(), 4 * kRegion);
}

TEST_F(StoredInputTest, ASmallRestGivesALargeBlockBack) {
  const Mappings mappings;
  const std::string bytes = Random(4).bytes(1'000'000);
  store(bytes);
  EXPECT_GE(mappings.bytes(), 1'000'000);
  input.keep(input.view().from(bytes.size() - 100), {0}, pool());
  EXPECT_TRUE(input.view().text() == std::string_view(bytes).substr(bytes.size() - 100));
  trim_all();
  EXPECT_LE(mappings.bytes(), static_cast<std::ptrdiff_t>(2 * kRegion));
}

TEST_F(StoredInputTest, ALargeFrameBeginsInALargeBlockThatLiesIdle) {
  const std::string frame = Random(5).bytes(500'000);
  store(frame, frame.size());
  EXPECT_TRUE(input.view().text() == frame);
  input.keep(input.view().from(frame.size()), {0}, pool());
  EXPECT_TRUE(input.empty());
  const Mappings mappings;
  store(frame, frame.size());
  EXPECT_TRUE(input.view().text() == frame);
  EXPECT_EQ(mappings.calls(), 0u);
}

TEST_F(StoredInputTest, IsAsBeforeWhenThereIsNoMemory) {
  Mappings mappings;
  store(std::string(60'000, 'a'), kGiB);
  mappings.refuse(true);
  EXPECT_THROW(
      {
        // Fills its block to the end, and then needs a larger one.
        for (int i = 0; i < 10; ++i) {
          const auto window = input.window(services());
          std::memset(window.at, 'a', window.size);
          input.keep(input.received(window, window.size, services()), {kGiB}, pool());
        }
      },
      std::bad_alloc);
  const std::size_t stored = input.view().size();
  EXPECT_THROW(input.window(services()), std::bad_alloc);
  EXPECT_EQ(input.view().size(), stored);
  EXPECT_TRUE(input.view().text() == std::string(stored, 'a'));
  EXPECT_EQ(input.expected(), kGiB);
  StoredInput other;
  ByteView lost(services().receive_block(), 300);
  EXPECT_THROW(other.keep(lost, {0}, pool()), std::bad_alloc);
  EXPECT_TRUE(other.empty());
  mappings.refuse(false);
  store("go on", kGiB);
  EXPECT_EQ(input.view().size(), stored + 5);
}

TEST_F(StoredInputTest, ClearMayBeCalledAtAnyTime) {
  input.clear(pool());
  input.keep(receive("abc"), {0}, pool());
  input.clear(pool());
  EXPECT_TRUE(input.empty());
  EXPECT_EQ(pool().live_blocks(), 0u);
}

// Every way in which something is stored, something is expected, and something comes.
TEST_F(StoredInputTest, EveryCombinationOfStoredAndExpectedAndReceivedIsJoined) {
  const std::string source = Random(6).bytes(600'000);
  for (const std::size_t stored :
       {0u, 1u, 255u, 256u, 257u, 4095u, 4096u, 4097u, 16384u, 65535u, 65536u, 70'000u, 200'000u}) {
    for (const std::size_t more : {0u, 1u, 16'383u, 16'384u, 16'385u, 65'536u, 300'000u}) {
      for (const std::size_t part : {1u, 2u, 3u}) {
        const std::size_t expected = more == 0 ? 0 : stored + more;
        SCOPED_TRACE(std::to_string(stored) + " stored, " + std::to_string(expected) +
                     " expected, part " + std::to_string(part));
        store(std::string_view(source).substr(0, stored), expected);
        overwrite_the_shared_block();
        const auto window = input.window(services());
        ASSERT_GT(window.size, 0u);
        const std::size_t n = part == 1 ? 1 : std::max<std::size_t>(window.size / (4 - part), 1);
        std::memcpy(window.at, source.data() + stored, n);
        const ByteView all = input.received(window, n, services());
        ASSERT_TRUE(all.text() == std::string_view(source).substr(0, stored + n));
        input.keep(all.from(all.size() / 2), {expected}, pool());
        overwrite_the_shared_block();
        ASSERT_TRUE(input.view().text() ==
                    std::string_view(source).substr(all.size() / 2, all.size() - all.size() / 2));
        input.clear(pool());
      }
    }
  }
}

}  // namespace
}  // namespace millrace::test
