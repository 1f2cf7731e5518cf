#include <millrace/framed_connection.h>
#include <millrace/framing.h>

namespace millrace {

Framing::Framing() {
  static const auto kDefault = std::make_shared<const Of<LengthPrefix>>(LengthPrefix());
  codec_ = kDefault;
}

std::string Framing::encode(ByteView payload) const {
  FrameEdges edges;
  wrap(payload, edges);
  std::string frame;
  frame.reserve(edges.size());
  for (const ByteView part : {edges.before(), edges.payload(), edges.after()}) {
    frame += part.text();
  }
  return frame;
}

FrameError frame_error(const Decoded& found, const Connection& c, std::size_t unconsumed) {
  return {.code = found.error,
          .announced = found.announced,
          .limit = found.limit,
          .offset = c.stats().bytes_received - unconsumed,
          .detail = found.detail};
}

void Framing::tell_oversized(const Decoded& found, std::size_t unconsumed, const FrameState& state,
                             FramedConnection& c, FrameReceiver& to) {
  c.skipped_ = state.skipping() ? state.note : 0;
  to.on_oversized_frame(c, frame_error(found, c.connection(), unconsumed));
  c.skipped_ = 0;
}

}  // namespace millrace
