// FramedHandler is what you write for a protocol of frames: a ConnectionHandler that gets whole
// frames, cut by any Framing. One object may serve all connections of a server; it must outlive
// their on_close. All callbacks run in the loop's thread.
//
//   struct Echo : FramedHandler {
//     void on_frame(FramedConnection& c, ByteView frame) override { c.send_frame(frame); }
//   };
//
//   struct Smtp : FramedHandler {
//     Smtp() : FramedHandler(Lines({.end = LineEnd::strict_crlf})) {}
//     ...
//   };
//
// A stream that breaks the framing gets on_bad_frame and is closed: on_close says
// error::frame_too_large, frame_corrupt, frame_checksum or frame_truncated, close_detail() the
// numbers. Frames that were complete before are delivered first; none is after close(), abort(),
// pause_reading() or set_handler() (after a pause they come when reading is resumed), and the next
// one after switch_framing() is one of the new framing.
#pragma once

#include <millrace/connection_handler.h>
#include <millrace/framed_connection.h>
#include <millrace/framing.h>

namespace millrace {

class FramedHandler : public ConnectionHandler, public FrameReceiver {
 public:
  explicit FramedHandler(Framing framing = {}) noexcept : framing_(std::move(framing)) {}

  // And of FrameReceiver: on_frame(FramedConnection&, ByteView), on_oversized_frame().

  // The peer has sent FIN between two frames. By default what is queued is sent and the connection
  // closed.
  virtual void on_frames_end(FramedConnection& c) { c->close(); }
  // The stream makes no sense; it will be closed when this returns. What is sent here still goes.
  virtual void on_bad_frame(FramedConnection&, const FrameError&) {}

  // That of all connections but those that were switched to another one.
  const Framing& framing() const noexcept { return framing_; }
  // The connection with its framing, to send frames from other callbacks and other places.
  FramedConnection framed(Connection& c) const noexcept {
    return FramedConnection(c, framing_of(c));
  }

  void on_data(Connection& c, ReceiveBuffer& in) final { cut(c, in, framing_); }
  void on_peer_end(Connection& c) final { end(c, framing_); }

 private:
  friend class FramedConnection;
  // The handler of those connections that were switched to another framing.
  class Switched final : public ConnectionHandler {
   public:
    explicit Switched(FramedHandler& handler) noexcept : handler_(handler) {}
    FramedHandler& handler() const noexcept { return handler_; }

    void on_open(Connection& c) override { handler_.on_open(c); }
    void on_data(Connection& c, ReceiveBuffer& in) override;
    void on_drained(Connection& c) override { handler_.on_drained(c); }
    void on_peer_end(Connection& c) override;
    void on_drain(Connection& c) override { handler_.on_drain(c); }
    void on_close(Connection& c, std::error_code why) override { handler_.on_close(c, why); }

   private:
    FramedHandler& handler_;
  };

  const Framing& framing_of(Connection& c) const noexcept;
  void switch_framing(FramedConnection& c, Framing next);
  bool finish_skipping(Connection& c, ReceiveBuffer& in);
  void cut(Connection& c, ReceiveBuffer& in, const Framing& framing);
  void end(Connection& c, const Framing& framing);
  void fail(FramedConnection& c, const FrameError& error);

  Framing framing_;
  Switched switched_{*this};
};

// The same as lambdas, shared by all connections.
struct FrameCallbacks {
  Function<void(FramedConnection&)> on_open = {};
  Function<void(FramedConnection&, ByteView frame)> on_frame = {};
  Function<void(FramedConnection&)> on_drained = {};
  Function<void(FramedConnection&)> on_frames_end = {};
  Function<void(FramedConnection&)> on_drain = {};
  Function<void(FramedConnection&, const FrameError&)> on_oversized_frame = {};
  Function<void(FramedConnection&, const FrameError&)> on_bad_frame = {};
  Function<void(FramedConnection&, std::error_code)> on_close = {};
  Function<void(std::error_code)> on_connect_failed = {};
};

// A handler that calls the lambdas.
std::unique_ptr<FramedHandler> make_framed_handler(FrameCallbacks callbacks, Framing framing = {});

}  // namespace millrace
