#include <millrace/error.h>
#include <millrace/framed_handler.h>

#include <utility>

namespace millrace {
namespace {

class FrameCallbackHandler final : public FramedHandler {
 public:
  FrameCallbackHandler(FrameCallbacks callbacks, const LengthPrefix& framing)
      : FramedHandler(framing), callbacks_(std::move(callbacks)) {}

  void on_open(Connection& c) override { call(callbacks_.on_open, c); }
  void on_frame(FramedConnection& c, ByteView frame) override {
    if (callbacks_.on_frame) callbacks_.on_frame(c, frame);
  }
  void on_drained(Connection& c) override { call(callbacks_.on_drained, c); }
  void on_frames_end(FramedConnection& c) override {
    if (callbacks_.on_frames_end) {
      callbacks_.on_frames_end(c);
    } else {
      FramedHandler::on_frames_end(c);
    }
  }
  void on_drain(Connection& c) override {
    if (callbacks_.on_drain) {
      call(callbacks_.on_drain, c);
    } else {
      FramedHandler::on_drain(c);
    }
  }
  void on_bad_frame(FramedConnection& c, const FrameError& error) override {
    if (callbacks_.on_bad_frame) callbacks_.on_bad_frame(c, error);
  }
  void on_close(Connection& c, std::error_code why) override { call(callbacks_.on_close, c, why); }
  void on_connect_failed(std::error_code why) override {
    if (callbacks_.on_connect_failed) callbacks_.on_connect_failed(why);
  }

 private:
  template <class F, class... Args>
  void call(F& callback, Connection& c, Args... args) {
    if (!callback) return;
    FramedConnection framed(c, framing());
    callback(framed, args...);
  }

  FrameCallbacks callbacks_;
};

}  // namespace

void FramedHandler::on_data(Connection& c, ReceiveBuffer& in) {
  FramedConnection framed(c, framing_);
  // Between two frames nothing is expected, and no memory held.
  while (!in.empty() && !in.stopped()) {
    const Decoded decoded = framing_.decode(in.view());
    switch (decoded.status) {
      case Decoded::frame_ready:
        in.consume(decoded.consumed);  // first: what on_frame leaves behind starts after it
        on_frame(framed, decoded.frame);
        break;
      case Decoded::incomplete:
        in.expect(decoded.needed);
        return;
      case Decoded::failed:
        fail(c, in.size(), decoded.error, decoded.announced);
        in.consume_all();
        return;
    }
  }
}

void FramedHandler::on_peer_end(Connection& c) {
  const ByteView rest = c.unconsumed();
  if (rest.empty()) {
    FramedConnection framed(c, framing_);
    return on_frames_end(framed);
  }
  const Decoded decoded = framing_.decode(rest);
  const bool has_header = decoded.needed > framing_.header_bytes();
  fail(c, rest.size(), error::frame_truncated,
       has_header ? decoded.needed - framing_.header_bytes() : 0);
}

void FramedHandler::fail(Connection& c, std::size_t unconsumed, std::error_code code,
                         std::uint64_t announced) {
  const FrameError error{code, announced, framing_.max_frame_bytes(),
                         c.stats().bytes_received - unconsumed};
  FramedConnection framed(c, framing_);
  on_bad_frame(framed, error);
  c.close(code, error.text() + " from " + c.peer().to_string());
}

std::unique_ptr<FramedHandler> make_framed_handler(FrameCallbacks callbacks,
                                                   const LengthPrefix& framing) {
  return std::make_unique<FrameCallbackHandler>(std::move(callbacks), framing);
}

}  // namespace millrace
