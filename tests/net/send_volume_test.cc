// Much more than fits the kernel's buffers, through connections whose peers take it late or not at
// all: every byte arrives in order or is accounted for, and memory stays within the limits.
#include "support/backpressure_echo.h"
#include "support/mappings.h"
#include "support/one_peer_test.h"

#include <algorithm>
#include <string>

namespace millrace::test {
namespace {

struct SendVolumeTest : OnePeerTest {
  // Runs the loop until `peer` has all that comes; each part goes to `take`.
  template <class Take>
  void receive_until_end(Take&& take) {
    ASSERT_TRUE(run_until(
        [&] {
          for (std::string part; !(part = peer.receive_some()).empty();) take(part);
          return peer.at_end() || (peer.last_error() != 0 && peer.last_error() != EAGAIN);
        },
        60s));
  }
};

// Compares a stream with a text repeated without end.
class Repeated {
 public:
  explicit Repeated(std::string text) : text_(std::move(text)) {}
  void operator()(std::string_view part) {
    while (!part.empty()) {
      const std::size_t at = bytes % text_.size();
      const std::size_t n = std::min(part.size(), text_.size() - at);
      ASSERT_TRUE(same_bytes(part.substr(0, n), std::string_view(text_).substr(at, n)));
      part.remove_prefix(n);
      bytes += n;
    }
  }
  std::size_t bytes = 0;

 private:
  std::string text_;
};

TEST_F(SendVolumeTest, TheEndOfTheStreamComesAfter123MegabytesThatWereQueuedBeforeIt) {
  constexpr std::size_t kWrites = 3 * 4096;
  const std::string part = pattern(10'024);
  ServerOptions options;
  options.connection.limits.send_queue_bytes = 256 << 20;
  start(options);
  const SharedBytes shared{ByteView(part)};
  std::size_t accepted = 0;
  for (std::size_t i = 0; i < kWrites; ++i) {
    accepted += (i % 3 == 0 ? connection().send(shared) : connection().send(part)).accepted();
  }
  connection().end();
  EXPECT_EQ(accepted, kWrites);
  EXPECT_GT(connection().queued_bytes(), 100u << 20);
  Repeated wanted(part);
  receive_until_end(wanted);
  EXPECT_TRUE(peer.at_end());
  EXPECT_EQ(wanted.bytes, kWrites * part.size());
  EXPECT_EQ(connection().queued_bytes(), 0u);
  EXPECT_EQ(recorder.drained, 1);
}

TEST_F(SendVolumeTest, OfTenThousandWritesEachArrivesInOrderWhenTheConnectionIsClosed) {
  start_with_small_buffers();
  const std::string all = pattern(10'000 * 1024);
  for (std::size_t at = 0; at < all.size(); at += 1024) {
    ASSERT_TRUE(connection().send(ByteView(all).from(at).first(1024)).accepted());
  }
  run_for(5ms);
  connection().close();
  std::string got;
  receive_until_end([&](const std::string& part) { got += part; });
  EXPECT_TRUE(peer.at_end());
  EXPECT_TRUE(same_bytes(got, all));
}

TEST_F(SendVolumeTest, OfTenThousandWritesEachIsSentOrLostWhenTheConnectionIsAborted) {
  std::uint64_t sent = 0;
  std::size_t lost = 0;
  recorder.when_close = [&](Connection& c, std::error_code) {
    sent = c.stats().bytes_sent;
    lost = c.stats().queued_bytes;
  };
  start_with_small_buffers();
  const std::string all = pattern(10'000 * 1024);
  for (std::size_t at = 0; at < all.size(); at += 1024) {
    ASSERT_TRUE(connection().send(ByteView(all).from(at).first(1024)).accepted());
  }
  std::string got = receive(peer, 100'000);
  connection().abort();
  receive_until_end([&](const std::string& part) { got += part; });
  EXPECT_FALSE(peer.at_end()) << "half of it must not look like the whole";
  ASSERT_TRUE(until_closed());
  EXPECT_EQ(sent + lost, all.size());
  EXPECT_GT(lost, 0u);
  EXPECT_LE(got.size(), sent);
  EXPECT_TRUE(same_bytes(got, std::string_view(all).substr(0, got.size())));
}

TEST_F(SendVolumeTest, AnEchoOf100MegabytesThatObeysTheWatermarksTakesLittleMemory) {
  constexpr std::size_t kTotal = 100 << 20;
  BackpressureEcho echo(recorder);
  start(BackpressureEcho::options());
  const std::string chunk = pattern(16 * 1024);
  const Mappings mappings;
  Repeated echoed(chunk);
  std::size_t sent = 0;
  ASSERT_TRUE(run_until(
      [&] {
        while (sent < kTotal) {
          const std::size_t n = peer.send_some(std::string_view(chunk).substr(sent % chunk.size()));
          if (n == 0) break;
          sent += n;
        }
        for (std::string part; !(part = peer.receive_some()).empty();) echoed(part);
        return echoed.bytes == kTotal;
      },
      60s));
  EXPECT_LE(echo.longest_queue(), BackpressureEcho::kLongestQueue);
  EXPECT_LE(mappings.bytes(), 1 << 20);
}

}  // namespace
}  // namespace millrace::test
