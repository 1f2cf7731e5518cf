// Framing is any codec, for servers, clients and handlers that frame by it: LengthPrefix when none
// is said, LengthField, Lines, or one of your own (see FrameCodec). A handle to a shared,
// unchanging codec: cheap to copy, any thread. It is a codec itself.
//
//   FramedServer server(loop, {.on_frame = ...}, Lines({.max_line_bytes = 1024}));
//
//   const Framing framing = NetString();
//   const SharedBytes news(framing.encode("hello"));      // "5:hello,": encoded once ...
//   for (Connection* each : subscribers) each->send(news);  // ... sent to many
#pragma once

#include <millrace/connection.h>
#include <millrace/frame_codec.h>
#include <millrace/frame_receiver.h>
#include <millrace/length_prefix.h>
#include <millrace/receive_buffer.h>

#include <concepts>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace millrace {

class Framing {
 public:
  Framing();  // LengthPrefix()
  // The order matters: whether a Framing is a FrameCodec depends on whether this is a constructor.
  template <class C>
  requires(!std::same_as<C, Framing> && FrameCodec<C>) Framing(C codec)
      : codec_(std::make_shared<const Of<C>>(std::move(codec))) {}

  // One frame as it is sent. Throws what wrap() throws.
  std::string encode(ByteView payload) const;

  // What FrameCodec asks for.
  Decoded decode(ByteView input, FrameState& state) const { return codec_->decode(input, state); }
  std::size_t largest_frame_bytes() const noexcept { return codec_->largest_frame_bytes(); }
  std::size_t overhead_bytes(std::size_t payload_bytes) const noexcept {
    return codec_->overhead_bytes(payload_bytes);
  }
  void wrap(ByteView payload, FrameEdges& edges) const { codec_->wrap(payload, edges); }

  // For FramedHandler and FramedConnection: deliver() is decode() in a loop, send() is wrap() and
  // the sending. Each is one virtual call, where using the four above would be one for every frame
  // that has come and several for every frame that goes.
  //
  // Gives the frames at the front of `in` to `to`, until no more is to be done. False: the stream
  // makes no sense from the first byte left in `in` on, and why is in `failure`.
  bool deliver(ReceiveBuffer& in, FramedConnection& c, FrameReceiver& to, Decoded& failure) const {
    return codec_->deliver(in, c, to, failure);
  }
  SendResult send(Connection& c, ByteView payload) const { return codec_->send(c, payload); }
  SendResult send(Connection& c, const SharedBytes& payload) const {
    return codec_->send(c, payload);
  }

 private:
  struct Any {
    virtual ~Any() = default;
    virtual Decoded decode(ByteView input, FrameState& state) const = 0;
    virtual std::size_t largest_frame_bytes() const noexcept = 0;
    virtual std::size_t overhead_bytes(std::size_t payload_bytes) const noexcept = 0;
    virtual void wrap(ByteView payload, FrameEdges& edges) const = 0;
    virtual bool deliver(ReceiveBuffer& in, FramedConnection& c, FrameReceiver& to,
                         Decoded& failure) const = 0;
    virtual SendResult send(Connection& c, ByteView payload) const = 0;
    virtual SendResult send(Connection& c, const SharedBytes& payload) const = 0;
  };
  template <FrameCodec C>
  struct Of;
  static void tell_oversized(const Decoded& found, std::size_t unconsumed, const FrameState& state,
                             FramedConnection& c, FrameReceiver& to);

  std::shared_ptr<const Any> codec_;
};

// What of a frame is wrong that begins `unconsumed` bytes before the end of what c has received.
FrameError frame_error(const Decoded& found, const Connection& c, std::size_t unconsumed);

template <FrameCodec C>
struct Framing::Of final : Any {
  explicit Of(C value) : codec(std::move(value)) {}

  Decoded decode(ByteView input, FrameState& state) const override {
    return codec.decode(input, state);
  }
  std::size_t largest_frame_bytes() const noexcept override { return codec.largest_frame_bytes(); }
  std::size_t overhead_bytes(std::size_t payload_bytes) const noexcept override {
    return codec.overhead_bytes(payload_bytes);
  }
  void wrap(ByteView payload, FrameEdges& edges) const override { codec.wrap(payload, edges); }

  bool deliver(ReceiveBuffer& in, FramedConnection& c, FrameReceiver& to,
               Decoded& failure) const override {
    FrameState state;
    state.note = in.remembered();
    // Between two frames nothing is expected, and no memory held.
    while (!in.empty() && !in.stopped()) {
      const Decoded found = codec.decode(in.view(), state);
      found.check(in.size());
      switch (found.status) {
        case Decoded::frame_ready:
          in.consume(found.consumed);  // first: what on_frame leaves behind starts after it
          to.on_frame(c, found.frame);
          break;
        case Decoded::incomplete:
          in.expect(found.needed);
          in.remember(state.note);
          return true;
        case Decoded::skipped:
          in.consume(found.consumed);
          break;
        case Decoded::oversized: {
          const std::size_t unconsumed = in.size();
          in.consume(found.consumed);
          tell_oversized(found, unconsumed, state, c, to);
          break;
        }
        case Decoded::failed:
          failure = found;
          return false;
      }
    }
    in.remember(state.note);
    return true;
  }

  SendResult send(Connection& c, ByteView payload) const override {
    FrameEdges edges;
    codec.wrap(payload, edges);
    return c.send_together(edges.before(), edges.payload(), edges.after());
  }
  SendResult send(Connection& c, const SharedBytes& payload) const override {
    FrameEdges edges;
    codec.wrap(payload.view(), edges);
    // What the codec has changed, or taken a part of, can no longer be shared.
    if (edges.payload().data() != payload.view().data() ||
        edges.payload().size() != payload.size()) {
      return c.send_together(edges.before(), edges.payload(), edges.after());
    }
    return c.send_together(edges.before(), payload, edges.after());
  }

  const C codec;
};

}  // namespace millrace
