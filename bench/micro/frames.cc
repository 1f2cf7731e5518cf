// Frames without a socket: cutting them out of a full buffer through the public decoder, and
// queueing them for sending through the public connection.
#include <millrace/framed_connection.h>
#include <millrace/length_prefix.h>
#include <millrace/receive_buffer.h>
#include <millrace/server.h>
#include <millrace/unique_fd.h>

#include "in_loop.h"

#include <cstdint>
#include <cstdlib>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

namespace millrace::bench {
namespace {

std::vector<std::byte> stream_of(const LengthPrefix& framing, std::size_t payload_bytes,
                                 std::size_t total_bytes) {
  std::vector<std::byte> stream;
  while (stream.size() < total_bytes) {
    const std::size_t at = stream.size();
    stream.resize(at + framing.header_bytes() + payload_bytes, std::byte{1});
    framing.write_header(&stream[at], payload_bytes);
  }
  return stream;
}

void decode(benchmark::State& state) {
  const LengthPrefix framing;
  const auto stream = stream_of(framing, static_cast<std::size_t>(state.range(0)), 64 * 1024);
  std::size_t frames = 0;
  std::size_t sum = 0;
  for (auto _ : state) {
    ByteView in(stream);
    for (Decoded d = framing.decode(in); d.status == Decoded::frame_ready; d = framing.decode(in)) {
      sum += d.frame.size() + static_cast<std::size_t>(d.frame[0]);
      in = in.from(d.consumed);
      ++frames;
    }
  }
  benchmark::DoNotOptimize(sum);
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(stream.size()));
  state.counters["per_frame"] = benchmark::Counter(
      static_cast<double>(frames), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(decode)->Name("frame_decode_64_KiB_of_frames")->Arg(64)->Arg(1024)->Arg(16 * 1024);

// The way of a byte through ReceiveBuffer: look, consume.
void consume(benchmark::State& state) {
  const std::vector<std::byte> bytes(64 * 1024);
  std::size_t sum = 0;
  for (auto _ : state) {
    ReceiveBuffer in{ByteView(bytes)};
    while (in.size() >= 64) {
      sum += static_cast<std::size_t>(in.view()[0]);
      in.consume(64);
    }
  }
  benchmark::DoNotOptimize(sum);
  state.counters["per_consume"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * 1024,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}
BENCHMARK(consume)->Name("receive_buffer_consume_64_B");

// Encoding and queueing inside a callback, as replies are. What is queued is sent and read away
// without being measured.
void encode(benchmark::State& state) {
  constexpr int kBatch = 512;  // stays below the size at which a queue is flushed
  const std::vector<std::byte> payload(64);
  const Framing framing;
  EventLoop loop(kNoStalls);
  UniqueFd peer;
  Server server(loop, {.on_open = [&](Connection& c) {
                  FramedConnection framed(c, framing);
                  std::vector<std::byte> sink(64 * 1024);
                  while (state.KeepRunningBatch(kBatch)) {
                    for (int i = 0; i < kBatch; ++i) {
                      benchmark::DoNotOptimize(framed.send_frame(ByteView(payload)));
                    }
                    state.PauseTiming();
                    c.flush();
                    while (::recv(peer.get(), sink.data(), sink.size(), MSG_DONTWAIT) > 0) {
                    }
                    state.ResumeTiming();
                  }
                  loop.stop();
                }});
  server.listen(SocketAddress::loopback(0));
  peer.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const SocketAddress address = server.address();
  if (::connect(peer.get(), address.native(), address.native_size()) != 0) std::abort();
  loop.run();
}
BENCHMARK(encode)->Name("frame_encode_and_queue_64_B");

}  // namespace
}  // namespace millrace::bench
