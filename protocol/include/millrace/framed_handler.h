// FramedHandler is what you write for a protocol of length-prefixed frames: a ConnectionHandler
// that gets whole frames. One object may serve all connections of a server; it must outlive their
// on_close. All callbacks run in the loop's thread.
//
//   struct Echo : FramedHandler {
//     void on_frame(FramedConnection& c, ByteView frame) override { c.send_frame(frame); }
//   };
//
// A stream that breaks the framing gets on_bad_frame and is closed: on_close says
// error::frame_too_large, frame_corrupt or frame_truncated, close_detail() the numbers. Frames that
// were complete before are delivered first; none is after close(), abort(), pause_reading() or
// set_handler() (after a pause they come when reading is resumed).
#pragma once

#include <millrace/connection_handler.h>
#include <millrace/framed_connection.h>
#include <millrace/length_prefix.h>

namespace millrace {

class FramedHandler : public ConnectionHandler {
 public:
  explicit FramedHandler(const LengthPrefix& framing = LengthPrefix()) noexcept
      : framing_(framing) {}

  // One whole frame, without its header; a view that is valid until the callback returns.
  virtual void on_frame(FramedConnection& c, ByteView frame) = 0;
  // The peer has sent FIN between two frames. By default what is queued is sent and the connection
  // closed.
  virtual void on_frames_end(FramedConnection& c) { c->close(); }
  // The stream makes no sense; it will be closed when this returns. What is sent here still goes.
  virtual void on_bad_frame(FramedConnection&, const FrameError&) {}

  const LengthPrefix& framing() const noexcept { return framing_; }
  // The connection with this framing, to send frames from other callbacks and other places.
  FramedConnection framed(Connection& c) const noexcept { return FramedConnection(c, framing_); }

  void on_data(Connection& c, ReceiveBuffer& in) final;
  void on_peer_end(Connection& c) final;

 private:
  void fail(Connection& c, std::size_t unconsumed, std::error_code code, std::uint64_t announced);

  LengthPrefix framing_;
};

// The same as lambdas, shared by all connections.
struct FrameCallbacks {
  Function<void(FramedConnection&)> on_open = {};
  Function<void(FramedConnection&, ByteView frame)> on_frame = {};
  Function<void(FramedConnection&)> on_drained = {};
  Function<void(FramedConnection&)> on_frames_end = {};
  Function<void(FramedConnection&)> on_drain = {};
  Function<void(FramedConnection&, const FrameError&)> on_bad_frame = {};
  Function<void(FramedConnection&, std::error_code)> on_close = {};
  Function<void(std::error_code)> on_connect_failed = {};
};

// A handler that calls the lambdas.
std::unique_ptr<FramedHandler> make_framed_handler(FrameCallbacks callbacks,
                                                   const LengthPrefix& framing = LengthPrefix());

}  // namespace millrace
