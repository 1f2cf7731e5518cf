#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/framed_handler.h>

#include <stdexcept>
#include <utility>

namespace millrace {
namespace {

// What a connection that was switched is framed by.
struct SwitchedFraming {
  Framing framing;
};

}  // namespace

const Framing& FramedHandler::framing_of(Connection& c) const noexcept {
  if (&c.handler() != &switched_) return framing_;
  return c.context<SwitchedFraming>()->framing;
}

void FramedHandler::switch_framing(Connection& c, Framing next) {
  if (SwitchedFraming* old = c.context<SwitchedFraming>()) {
    // Views of the connection may refer to it until their callback returns, and so may the loop
    // that cuts its frames.
    c.loop().defer([replaced = old->framing] {});
    old->framing = std::move(next);
  } else {
    c.emplace_context<SwitchedFraming>(std::move(next));
  }
  c.set_handler(switched_);
}

void FramedHandler::Switched::on_data(Connection& c, ReceiveBuffer& in) {
  const Framing framing = c.context<SwitchedFraming>()->framing;  // on_frame may switch again
  handler_.cut(c, in, framing);
}

void FramedHandler::Switched::on_peer_end(Connection& c) {
  const Framing framing = c.context<SwitchedFraming>()->framing;
  handler_.end(c, framing);
}

void FramedHandler::cut(Connection& c, ReceiveBuffer& in, const Framing& framing) {
  FramedConnection framed(c, framing);
  Decoded failure;
  if (framing.deliver(in, framed, *this, failure)) return;
  const FrameError error = frame_error(failure, c, in.size());
  in.consume_all();
  fail(framed, error);
}

void FramedHandler::end(Connection& c, const Framing& framing) {
  FramedConnection framed(c, framing);
  const ByteView rest = c.unconsumed();
  FrameState state;
  state.note = c.remembered();
  if (rest.empty() && state.note == 0) return on_frames_end(framed);
  Decoded found = rest.empty() ? Decoded() : framing.decode(rest, state);
  found.error = error::frame_truncated;
  found.limit = 0;
  fail(framed, frame_error(found, c, rest.size()));
}

void FramedHandler::fail(FramedConnection& c, const FrameError& error) {
  on_bad_frame(c, error);
  c->close(error.code, error.text() + " from " + c->peer().to_string());
}

}  // namespace millrace
