#include <millrace/framed_handler.h>

#include <utility>

namespace millrace {
namespace {

class FrameCallbackHandler final : public FramedHandler {
 public:
  FrameCallbackHandler(FrameCallbacks callbacks, Framing framing)
      : FramedHandler(std::move(framing)), callbacks_(std::move(callbacks)) {}

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
  void on_oversized_frame(FramedConnection& c, const FrameError& error) override {
    if (callbacks_.on_oversized_frame) callbacks_.on_oversized_frame(c, error);
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
    FramedConnection framed = this->framed(c);
    callback(framed, args...);
  }

  FrameCallbacks callbacks_;
};

}  // namespace

std::unique_ptr<FramedHandler> make_framed_handler(FrameCallbacks callbacks, Framing framing) {
  return std::make_unique<FrameCallbackHandler>(std::move(callbacks), std::move(framing));
}

}  // namespace millrace
