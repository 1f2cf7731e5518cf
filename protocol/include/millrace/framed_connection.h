// FramedConnection is a connection together with its framing: it sends frames; `->` is the
// connection itself. It is a view for the duration of a callback, in the loop's thread: to keep a
// connection, keep `c->ref()`, and make a FramedConnection of it again with
// FramedHandler::framed().
//
//   void on_frame(FramedConnection& c, ByteView frame) override {
//     if (frame.empty()) return c->close();
//     c.send_frame(frame);
//   }
#pragma once

#include <millrace/connection.h>
#include <millrace/frame_writer.h>
#include <millrace/framing.h>

#include <initializer_list>
#include <span>

namespace millrace {

class FramedConnection {
 public:
  FramedConnection(Connection& connection, const Framing& framing) noexcept
      : connection_(connection), framing_(&framing) {}
  FramedConnection(Connection& connection, Framing&& gone_too_soon) = delete;
  FramedConnection(const FramedConnection&) = delete;
  FramedConnection& operator=(const FramedConnection&) = delete;

  // Queues the frame: `payload`, which is copied, and what its framing puts around it. The results
  // are those of Connection::send(): the frame is queued whole or not at all. Throws
  // std::length_error when the payload is larger than the framing allows, std::invalid_argument
  // when it would not arrive as one frame; nothing is queued then.
  SendResult send_frame(ByteView payload) { return framing_->send(connection_, payload); }
  // The payload is shared with the other connections it is sent to, not copied.
  SendResult send_frame(const SharedBytes& payload) { return framing_->send(connection_, payload); }
  // Many at once: all are queued, or none is.
  SendResult send_frames(std::span<const ByteView> payloads);
  SendResult send_frames(std::initializer_list<ByteView> payloads) {
    return send_frames(std::span(payloads.begin(), payloads.size()));
  }
  // To serialise a frame straight into the send queue; about `payload_bytes` are expected.
  FrameWriter frame_writer(std::size_t payload_bytes = 256) {
    return FrameWriter(connection_, *framing_, payload_bytes);
  }

  // From now on the connection's frames are cut and made by `next`: at once for what is sent
  // through this object, and for what was received and is not delivered yet, in order; a frame that
  // is being skipped is skipped to its end. Inside on_frame no further frame is delivered before
  // that callback has returned. A peer that has ended has ended for the new framing too: when
  // on_frames_end was told before, it is told once more, unless the switch was made inside it. In a
  // callback call it on the FramedConnection that the callback was
  // given: another one goes on with the framing it was made with. The largest frame of `next` has
  // to fit ConnectionLimits::receive_bytes, which is only set for the framing the server or client
  // was made with. Afterwards c->handler() is not the FramedHandler itself. Throws
  // std::logic_error when the connection's handler is no FramedHandler.
  void switch_framing(Framing next);

  Connection* operator->() const noexcept { return &connection_; }
  Connection& connection() const noexcept { return connection_; }
  const Framing& framing() const noexcept { return *framing_; }

 private:
  friend class FramedHandler;
  friend class Framing;

  Connection& connection_;
  const Framing* framing_;
  std::uint64_t skipped_ = 0;  // while on_oversized_frame runs: FrameState::note, if there is more
  bool ended_ = false;         // on_frames_end has been told
};

}  // namespace millrace
