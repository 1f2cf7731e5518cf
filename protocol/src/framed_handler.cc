#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/framed_handler.h>

#include <optional>
#include <stdexcept>
#include <utility>

namespace millrace {
namespace {

// What a connection that was switched is framed by.
struct SwitchedFraming {
  Framing framing;
  // The framing before it, as long as it skips an oversized frame, and how far it is.
  std::optional<Framing> skips = {};
  std::uint64_t note = 0;
  bool ended = false;  // on_frames_end has been told
};

}  // namespace

const Framing& FramedHandler::framing_of(Connection& c) const noexcept {
  if (&c.handler() != &switched_) return framing_;
  return c.context<SwitchedFraming>()->framing;
}

void FramedHandler::switch_framing(FramedConnection& framed, Framing next) {
  Connection& c = framed.connection();
  const Framing before = framing_of(c);
  const bool switched_before = &c.handler() == &switched_;
  const std::uint64_t note = framed.skipped_ != 0 ? framed.skipped_ : c.remembered();
  SwitchedFraming* state = c.context<SwitchedFraming>();
  if (!state) {
    state = &c.emplace_context<SwitchedFraming>(std::move(next));
  } else {
    // Views of the connection may refer to it until their callback returns, and so may the loop
    // that cuts its frames.
    c.loop().defer([replaced = state->framing] {});
    if (!switched_before) *state = {.framing = next};
    state->framing = std::move(next);
  }
  if (!state->skips && (note & FrameState::kSkipping) != 0) {
    state->skips = before;
    state->note = note;
  }
  state->ended |= framed.ended_;
  c.set_handler(switched_);
}

void FramedHandler::Switched::on_data(Connection& c, ReceiveBuffer& in) {
  if (!handler_.finish_skipping(c, in)) return;
  const Framing framing = c.context<SwitchedFraming>()->framing;  // on_frame may switch again
  handler_.cut(c, in, framing);
}

void FramedHandler::Switched::on_peer_end(Connection& c) {
  const SwitchedFraming& state = *c.context<SwitchedFraming>();
  if (state.ended) return;
  const Framing framing = state.framing;
  if (!state.skips) return handler_.end(c, framing);
  FramedConnection framed(c, framing);
  Decoded truncated;
  truncated.error = error::frame_truncated;
  handler_.fail(framed, frame_error(truncated, c, c.unconsumed().size()));
}

// What the framing before has begun to skip. True when it is done.
bool FramedHandler::finish_skipping(Connection& c, ReceiveBuffer& in) {
  SwitchedFraming& switched = *c.context<SwitchedFraming>();
  if (!switched.skips) return true;
  FrameState state;
  state.note = switched.note;
  while (state.skipping() && !in.empty()) {
    const Decoded found = switched.skips->decode(in.view(), state);
    found.check(in.size());
    if (found.status == Decoded::failed) {
      FramedConnection framed(c, switched.framing);
      const FrameError error = frame_error(found, c, in.size());
      in.consume_all();
      fail(framed, error);
      return false;
    }
    if (found.status == Decoded::incomplete) {
      in.expect(found.needed);
      break;
    }
    in.consume(found.consumed);
  }
  switched.note = state.note;
  if (state.skipping()) return false;
  switched.skips.reset();
  return true;
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
  if (rest.empty() && state.note == 0) {
    framed.ended_ = true;
    return on_frames_end(framed);
  }
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
