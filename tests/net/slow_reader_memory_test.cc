// What the queue of a peer that does not read takes: little more than the bytes in it, however
// small the pieces are.
#include "support/mappings.h"
#include "support/one_peer_test.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>

namespace millrace::test {
namespace {

constexpr std::size_t kChunkBytes = 256 * 1024;  // what the pool maps at a time

// A header of its own and a payload that others get too, as frames of a broadcast are sent.
void send_frame(Connection& c, const SharedBytes& payload) {
  c.send("head");
  c.send(payload);
}

// The size of the payload.
class SlowReaderMemoryTest : public OnePeerTest, public ::testing::WithParamInterface<std::size_t> {
 protected:
  const SharedBytes payload{ByteView(std::string(GetParam(), 'p'))};
};

TEST_P(SlowReaderMemoryTest, ABroadcastItDoesNotReadTakesLittleMoreThanItsBytes) {
  ServerOptions options;
  options.connection.limits.send_queue_bytes = 4 << 20;
  start_with_small_buffers(options);
  connection().send(pattern(1 << 16));
  run_for(5ms);
  const std::size_t before = connection().queued_bytes();
  ASSERT_GT(before, 0u);
  const Mappings mappings;
  for (int i = 0; i < 5000; ++i) send_frame(connection(), payload);
  const std::size_t queued = connection().queued_bytes() - before;
  EXPECT_EQ(queued, 5000 * (4 + GetParam()));
  EXPECT_LE(mappings.bytes(), static_cast<std::ptrdiff_t>(2 * queued + 4 * kChunkBytes));
}

TEST_P(SlowReaderMemoryTest, ABroadcastOutOfItsOwnCallbackTakesLittleMoreThanItsBytesToo) {
  std::optional<Mappings> mappings;
  recorder.when_open = [&](Connection& c) {
    mappings.emplace();
    std::size_t most = 0;
    for (int i = 0; i < 5000; ++i) {
      send_frame(c, payload);
      most = std::max(most, c.queued_bytes());
    }
    EXPECT_LE(mappings->bytes(), static_cast<std::ptrdiff_t>(2 * most + 4 * kChunkBytes)) << most;
  };
  start_with_small_buffers();
}

INSTANTIATE_TEST_SUITE_P(Payloads, SlowReaderMemoryTest,
                         ::testing::Values(1, 10, 100, 511, 512, 700),
                         [](const auto& test) { return std::to_string(test.param) + "Bytes"; });

}  // namespace
}  // namespace millrace::test
