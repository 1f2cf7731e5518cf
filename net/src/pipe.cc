#include <millrace/check.h>
#include <millrace/connection_handler.h>
#include <millrace/loop_services.h>
#include <millrace/pipe.h>

#include "connection_core.h"

#include <algorithm>
#include <memory>

namespace millrace {
namespace {

// The other side of `c` has ended, with `why`.
void end_too(Connection& c, std::error_code why) {
  if (!why) return c.close();
  c.abort(why, "on the other side of its pipe");
}

// Lives until both connections have ended: each has one of its sides as its handler.
class Pipe final : public Mortal {
 public:
  Pipe(Connection& a, Connection& b) : a_(*this, a, b_), b_(*this, b, a_) {}

  static void start(std::unique_ptr<Pipe> pipe, Connection& a, Connection& b) noexcept {
    a.set_handler(pipe->a_);
    b.set_handler(pipe->b_);
    ConnectionCore::of(a).note_piped();
    ConnectionCore::of(b).note_piped();
    a.resume_reading();
    b.resume_reading();
    static_cast<void>(pipe.release());  // to end_side()
  }
  static bool has_side(const Connection& c) noexcept {
    return dynamic_cast<const Side*>(&c.handler()) != nullptr;
  }

 private:
  // The handler of one of the two connections.
  class Side final : public ConnectionHandler {
   public:
    Side(Pipe& pipe, Connection& mine, Side& other)
        : pipe_(pipe), other_(other), connection_(mine.ref()), before_(mine.handler()) {}

    void on_data(Connection& c, ReceiveBuffer& in) override;
    void on_drained(Connection&) override {
      if (Connection* source = other_.connection_.get()) source->resume_reading();
    }
    void on_peer_end(Connection&) override {
      if (Connection* sink = other_.connection_.get()) sink->end();
    }
    // The streams are let come to their ends: closing here would discard what the peer still sends,
    // and the other side would take what it got for the whole. The deadline resets both.
    void on_drain(Connection&) override {}
    void on_close(Connection& c, std::error_code why) override;

   private:
    static void end_after_rest(Connection& sink, ByteView rest);

    Pipe& pipe_;
    Side& other_;
    ConnectionRef connection_;
    ConnectionHandler& before_;  // outlives on_close of its connection
  };

  void end_side(LoopServices& services) noexcept {
    if (++ended_ == 2) services.bury(std::unique_ptr<Mortal>(this));
  }

  Side a_;
  Side b_;
  int ended_ = 0;
};

void Pipe::Side::on_data(Connection& c, ReceiveBuffer& in) {
  Connection* sink = other_.connection_.get();
  while (sink && !in.empty()) {
    // With no room at all one byte is tried: whoever is refused hears of the room that comes.
    const std::size_t room = std::max<std::size_t>(ConnectionCore::of(*sink).room(), 1);
    const ByteView part = in.view().first(std::min(in.size(), room));
    const SendResult result = sink->try_send(part);
    if (result == SendResult::closed) break;
    if (result.accepted()) in.consume(part.size());
    if (!result) return c.pause_reading();
  }
  // Nobody takes it any more; how the other side ends decides how this one does.
  in.consume_all();
}

void Pipe::Side::on_close(Connection& c, std::error_code why) {
  if (Connection* sink = other_.connection_.get()) {
    if (why) {
      end_too(*sink, why);
    } else {
      end_after_rest(*sink, c.unconsumed());
    }
  }
  pipe_.end_side(c.loop().services());
  before_.on_close(c, why);
}

// What was received while the sink had no room: its source is over, so nothing waits any longer.
void Pipe::Side::end_after_rest(Connection& sink, ByteView rest) {
  const bool lost = !rest.empty() && !sink.send(rest).accepted();
  end_too(sink, lost ? make_error_code(error::send_queue_overflow) : std::error_code());
}

}  // namespace

void pipe(Connection& a, Connection& b) {
  MILLRACE_CHECK(&a != &b, "pipe: a connection and itself");
  MILLRACE_CHECK(&a.loop() == &b.loop(), "pipe: the two connections are of different loops");
  const ConnectionCore& first = ConnectionCore::of(a);
  const ConnectionCore& second = ConnectionCore::of(b);
  if (first.is_open() && second.is_open()) {
    MILLRACE_CHECK(!Pipe::has_side(a) && !Pipe::has_side(b), "pipe: a connection that has a pipe");
    return Pipe::start(std::make_unique<Pipe>(a, b), a, b);
  }
  if (first.is_open()) end_too(a, second.end_reason());
  if (second.is_open()) end_too(b, first.end_reason());
}

}  // namespace millrace
