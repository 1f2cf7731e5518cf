#include <millrace/compressed.h>
#include <millrace/framed_server.h>
#include <millrace/framings.h>

#include "support/framed_test.h"
#include "support/one_peer_test.h"
#include "support/process.h"

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <zstd.h>

namespace millrace::test::compressed_test {
namespace {

using CompressedTest = FramedTest;

std::string zstd(std::string_view bytes) {
  std::string packed(ZSTD_compressBound(bytes.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), 3));
  return packed;
}

// As those who do not know the size when they begin: the frame does not say it.
std::string zstd_of_unknown_size(std::string_view bytes) {
  std::string packed(ZSTD_compressBound(bytes.size()), '\0');
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_outBuffer to{packed.data(), packed.size(), 0};
  ZSTD_inBuffer part{bytes.data(), bytes.size(), 0};
  ZSTD_compressStream2(context, &to, &part, ZSTD_e_continue);
  ZSTD_compressStream2(context, &to, &part, ZSTD_e_end);
  ZSTD_freeCCtx(context);
  packed.resize(to.pos);
  EXPECT_EQ(ZSTD_getFrameContentSize(packed.data(), packed.size()), ZSTD_CONTENTSIZE_UNKNOWN);
  return packed;
}

Decoded decode(const std::string& packed, std::size_t max = 1000) {
  static FrameState state;
  return Compressed(LengthPrefix(), {.max_payload_bytes = max})
      .decode(ByteView(frame(packed)), state);
}

TEST_F(CompressedTest, PayloadsOfEverySizeComeBack) {
  const Compressed codec{LengthPrefix()};
  FrameState state;
  for (const std::size_t n : {0u, 1u, 100u, 1000u, 100'000u, 2'000'000u}) {
    for (const std::string& payload : {std::string(n, 'a'), pattern(n)}) {
      const std::string packed = Framing(codec).encode(payload);
      const Decoded found = codec.decode(ByteView(packed), state);
      ASSERT_EQ(found.status, Decoded::frame_ready);
      EXPECT_TRUE(same_bytes(found.frame.text(), payload));
      EXPECT_EQ(found.consumed, packed.size());
    }
  }
  EXPECT_LT(Framing(codec).encode(std::string(100'000, 'a')).size(), 200u);
}

TEST_F(CompressedTest, WhatAnyZstdHasMadeIsUnderstood) {
  const std::string text(500, 'z');
  EXPECT_EQ(decode(zstd(text)).frame, ByteView(text));
  EXPECT_EQ(decode(zstd_of_unknown_size(text)).frame, ByteView(text));
}

TEST_F(CompressedTest, NoFrameBecomesMoreThanTheLimit) {
  EXPECT_EQ(decode(zstd(std::string(1000, 'z'))).frame.size(), 1000u);
  EXPECT_EQ(decode(zstd_of_unknown_size(std::string(1000, 'z'))).frame.size(), 1000u);
  const Decoded said = decode(zstd(std::string(1001, 'z')));
  EXPECT_EQ(said.status, Decoded::failed);
  EXPECT_EQ(said.error, error::frame_too_large);
  EXPECT_EQ(said.announced, 1001u);
  EXPECT_EQ(said.limit, 1000u);
  const Decoded unsaid = decode(zstd_of_unknown_size(std::string(1001, 'z')));
  EXPECT_EQ(unsaid.error, error::frame_too_large);
  EXPECT_EQ(unsaid.announced, 0u);
  // A kilobyte that would become a gigabyte.
  EXPECT_EQ(decode(zstd(std::string(64'000'000, '\0'))).error, error::frame_too_large);
}

TEST_F(CompressedTest, ASizeThatIsOnlySaidTakesNoMemory) {
  // A frame that says it holds 512 MiB and whose first block is cut off.
  std::string packed = zstd(std::string(1'000'000, 'z'));
  const unsigned char header[] = {0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x20};
  packed = std::string(reinterpret_cast<const char*>(header), sizeof header) + packed.substr(9);
  ASSERT_EQ(ZSTD_getFrameContentSize(packed.data(), packed.size()), 0x20000000u);
  const std::size_t before = resident_bytes();
  EXPECT_EQ(decode(packed, std::size_t{1} << 30).status, Decoded::failed);
  // An eighth of it is what the address sanitizer keeps books on.
  EXPECT_LT(resident_bytes(), before + (100u << 20));
}

TEST_F(CompressedTest, WhatIsNotOneWholeZstdFrameIsCorrupt) {
  const std::string good = zstd("some text to be compressed, some text to be compressed");
  EXPECT_EQ(decode("").error, error::frame_corrupt);
  EXPECT_EQ(decode("plain text").error, error::frame_corrupt);
  EXPECT_EQ(decode(good + "x").error, error::frame_corrupt);
  EXPECT_EQ(decode(good + good).error, error::frame_corrupt) << "one frame, one payload";
  for (std::size_t n = 0; n < good.size(); ++n) {
    EXPECT_EQ(decode(good.substr(0, n)).status, Decoded::failed) << n;
  }
  const unsigned char skippable[] = {0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'};
  EXPECT_EQ(decode(std::string(reinterpret_cast<const char*>(skippable), 9)).status,
            Decoded::failed);
}

TEST_F(CompressedTest, OptionsThatMakeNoSenseAreNamed) {
  const auto text = [](const CompressedOptions& options) {
    try {
      Compressed(LengthPrefix(), options);
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(text({.level = 100}).rfind("CompressedOptions::level is 100: not from ", 0), 0u);
  EXPECT_EQ(
      text({.max_payload_bytes = 0}).rfind("CompressedOptions::max_payload_bytes is 0: not", 0),
      0u);
  EXPECT_EQ(text({.level = -5}), "");
  EXPECT_THROW(Compressed{LengthField()}, std::invalid_argument) << "its header is in the frame";
}

TEST_F(CompressedTest, MoreThanTheLimitIsNotSent) {
  const Framing framing = Compressed(LengthPrefix(), {.max_payload_bytes = 1000});
  EXPECT_NO_THROW(framing.encode(std::string(1000, 'x')));
  EXPECT_THROW(framing.encode(std::string(1001, 'x')), std::length_error);
}

TEST_F(CompressedTest, LayersComposeAndAServerEchoesThroughThem) {
  const Framing framing = Compressed(Checksummed(VarintLength()));
  FramedServer server(loop(),
                      {.on_frame =
                           [](FramedConnection& c, ByteView f) {
                             c.send_frame(f);
                             FrameWriter writer = c.frame_writer();
                             writer.write(f);
                             writer.commit();
                             c.send_frames({f, f});
                             c.send_frame(SharedBytes(f));
                           }},
                      framing);
  RawSocket peer = connect(server);
  std::string sent;
  std::string wanted;
  for (const std::string& payload :
       {std::string("small"), std::string(100'000, 'a'), pattern(50'000), std::string()}) {
    sent += framing.encode(payload);
    for (int i = 0; i < 5; ++i) wanted += framing.encode(payload);
  }
  peer.send_all(sent);
  EXPECT_TRUE(same_bytes(receive(peer, wanted.size()), wanted));
  peer.close();
  EXPECT_TRUE(run_until([&] { return server.connection_count() == 0; }));
}

TEST_F(CompressedTest, AFrameStaysReadableUntilItsCallbackReturns) {
  const Framing framing = Compressed(LengthPrefix());
  when_frame = [&](FramedConnection& c, ByteView f) {
    const std::string before(f.text());
    // The same layer, in the same thread, at work for others.
    FrameState other;
    const std::string packed = framing.encode(std::string(70'000, 'o'));
    EXPECT_EQ(framing.decode(ByteView(packed), other).frame.size(), 70'000u);
    c.send_frame(std::string(70'000, 's'));
    EXPECT_TRUE(same_bytes(f.text(), before));
  };
  FramedServer server(loop(), keep(), framing);
  RawSocket peer = connect(server);
  peer.send_all(framing.encode(pattern(60'000)) + framing.encode(pattern(10)));
  ASSERT_TRUE(run_until([&] { return frames.size() == 2; }));
  EXPECT_TRUE(same_bytes(frames[0], pattern(60'000)));
  peer.close();
  EXPECT_TRUE(until_closed());
}

TEST_F(CompressedTest, OneValueServesManyThreads) {
  const Framing framing = Compressed(Checksummed(LengthPrefix()));
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&framing, t] {
      FrameState state;
      for (unsigned i = 0; i < 200; ++i) {
        const std::string payload = pattern(i * 37, t * 1000 + i);
        const std::string packed = framing.encode(payload);
        EXPECT_TRUE(framing.decode(ByteView(packed), state).frame == ByteView(payload));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace millrace::test::compressed_test
