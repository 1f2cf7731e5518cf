// Frames without a socket: cutting them out of a full buffer through the public decoder, and
// queueing them for sending through the public connection.
#include <millrace/framed_connection.h>
#include <millrace/framings.h>
#include <millrace/receive_buffer.h>
#include <millrace/server.h>
#include <millrace/unique_fd.h>

#include "in_loop.h"

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

namespace millrace::bench {
namespace {

UniqueFd connect_to(Server& server) {
  server.listen(SocketAddress::loopback(0));
  UniqueFd peer(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const SocketAddress address = server.address();
  if (::connect(peer.get(), address.native(), address.native_size()) != 0) std::abort();
  return peer;
}

constexpr std::size_t kStreamBytes = 64 * 1024;

std::string stream_of(const Framing& framing, std::size_t payload_bytes) {
  const std::string frame = framing.encode(std::string(payload_bytes, 'x'));
  std::string stream;
  while (stream.size() < kStreamBytes) stream += frame;
  return stream;
}

void count(benchmark::State& state, std::size_t frames, std::size_t stream_bytes) {
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(stream_bytes));
  state.counters["per_frame"] = benchmark::Counter(
      static_cast<double>(frames), benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

// Through the public decoder interface, as who has the bytes in memory uses it.
template <class Codec>
void decode(benchmark::State& state, const Codec& codec) {
  const std::string stream = stream_of(codec, static_cast<std::size_t>(state.range(0)));
  std::size_t frames = 0;
  std::size_t sum = 0;
  FrameState remembered;
  for (auto _ : state) {
    for (ByteView in(stream); !in.empty();) {
      const Decoded found = codec.decode(in, remembered);
      sum += found.frame.size() + static_cast<std::size_t>(found.frame[0]);
      in = in.from(found.consumed);
      ++frames;
    }
  }
  benchmark::DoNotOptimize(sum);
  count(state, frames, stream.size());
}
BENCHMARK_CAPTURE(decode, length_prefix, LengthPrefix())->Arg(64)->Arg(1024)->Arg(16 * 1024);
BENCHMARK_CAPTURE(decode, length_field,
                  LengthField({.offset_bytes = 2, .width_bytes = 4, .strip_bytes = 6}))
    ->Arg(64);
BENCHMARK_CAPTURE(decode, length_field_of_3_bytes, LengthField({.width_bytes = 3}))->Arg(64);
BENCHMARK_CAPTURE(decode, varint_length, VarintLength())->Arg(64)->Arg(1024);
BENCHMARK_CAPTURE(decode, fixed_length, FixedLength(64))->Arg(64);
BENCHMARK_CAPTURE(decode, net_string, NetString())->Arg(64);
BENCHMARK_CAPTURE(decode, lines, Lines())->Arg(64);
BENCHMARK_CAPTURE(decode, strict_lines, Lines({.end = LineEnd::strict_crlf}))->Arg(64);
BENCHMARK_CAPTURE(decode, delimited, Delimited("||"))->Arg(64);
BENCHMARK_CAPTURE(decode, header_block, HeaderBlock({.bodies_only = true}))->Arg(64);
BENCHMARK_CAPTURE(decode, checksummed, Checksummed(LengthPrefix()))->Arg(64)->Arg(16 * 1024);

// The whole way from a connection's bytes to on_frame, but for the socket.
void deliver(benchmark::State& state, const Framing& framing) {
  struct Count final : FrameReceiver {
    void on_frame(FramedConnection&, ByteView frame) override {
      sum += frame.size() + static_cast<std::size_t>(frame[0]);
      ++frames;
    }
    std::size_t frames = 0;
    std::size_t sum = 0;
  } receiver;
  const std::string stream = stream_of(framing, 64);
  EventLoop loop(kNoStalls);
  Server server(loop, {.on_open = [&](Connection& c) {
                  FramedConnection framed(c, framing);
                  for (auto _ : state) {
                    ReceiveBuffer in{ByteView(stream)};
                    Decoded failure;
                    if (!framing.deliver(in, framed, receiver, failure)) std::abort();
                  }
                  loop.stop();
                }});
  const UniqueFd peer = connect_to(server);
  loop.run();
  benchmark::DoNotOptimize(receiver.sum);
  count(state, receiver.frames, stream.size());
}
BENCHMARK_CAPTURE(deliver, length_prefix, LengthPrefix());
BENCHMARK_CAPTURE(deliver, lines, Lines());

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
template <class Send>
void queue(benchmark::State& state, const Framing& framing, Send send) {
  constexpr int kBatch = 512;  // stays below the size at which a queue is flushed
  EventLoop loop(kNoStalls);
  UniqueFd peer;
  Server server(loop, {.on_open = [&](Connection& c) {
                  FramedConnection framed(c, framing);
                  std::vector<std::byte> sink(64 * 1024);
                  while (state.KeepRunningBatch(kBatch)) {
                    for (int i = 0; i < kBatch; ++i) benchmark::DoNotOptimize(send(framed));
                    state.PauseTiming();
                    c.flush();
                    while (::recv(peer.get(), sink.data(), sink.size(), MSG_DONTWAIT) > 0) {
                    }
                    state.ResumeTiming();
                  }
                  loop.stop();
                }});
  peer = connect_to(server);
  loop.run();
}

void send_frame(benchmark::State& state, const Framing& framing) {
  const std::vector<std::byte> payload(64);
  queue(state, framing, [&](FramedConnection& c) { return c.send_frame(ByteView(payload)); });
}
BENCHMARK_CAPTURE(send_frame, length_prefix_64_B, LengthPrefix());
BENCHMARK_CAPTURE(send_frame, varint_length_64_B, VarintLength());
BENCHMARK_CAPTURE(send_frame, lines_64_B, Lines());
BENCHMARK_CAPTURE(send_frame, checksummed_64_B, Checksummed(LengthPrefix()));

void write_frame(benchmark::State& state, const Framing& framing) {
  const std::vector<std::byte> payload(64);
  queue(state, framing, [&](FramedConnection& c) {
    FrameWriter writer = c.frame_writer(64);
    writer.write(payload);
    return writer.commit();
  });
}
BENCHMARK_CAPTURE(write_frame, length_prefix_64_B, LengthPrefix());
BENCHMARK_CAPTURE(write_frame, varint_length_64_B, VarintLength());

}  // namespace
}  // namespace millrace::bench
