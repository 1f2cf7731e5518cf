#include <millrace/framed_connection.h>
#include <millrace/framed_handler.h>
#include <millrace/send_writer.h>

#include <cstring>
#include <stdexcept>
#include <utility>

namespace millrace {

SendResult FramedConnection::send_frames(std::span<const ByteView> payloads) {
  std::size_t expected = 0;
  for (const ByteView payload : payloads) {
    expected +=
        payload.size() + framing_->overhead_bytes(payload.size()) + FrameEdges::kLargestAfterBytes;
  }
  SendWriter writer = connection_.writer(expected);
  std::size_t written = 0;
  for (const ByteView payload : payloads) {
    FrameEdges edges;
    framing_->wrap(payload, edges);
    std::byte* to = writer.grow(written, edges.size()).data() + written;
    for (const ByteView part : {edges.before(), edges.payload(), edges.after()}) {
      if (!part.empty()) std::memcpy(to, part.data(), part.size());
      to += part.size();
    }
    written += edges.size();
  }
  return writer.commit(written);
}

void FramedConnection::switch_framing(Framing next) {
  FramedHandler* handler = dynamic_cast<FramedHandler*>(&connection_.handler());
  if (auto* switched = dynamic_cast<FramedHandler::Switched*>(&connection_.handler())) {
    handler = &switched->handler();
  }
  if (!handler) {
    throw std::logic_error("switch_framing() of a connection whose handler is no FramedHandler");
  }
  handler->switch_framing(*this, std::move(next));
  framing_ = &handler->framing_of(connection_);
}

}  // namespace millrace
