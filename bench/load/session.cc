#include "session.h"

#include <algorithm>

namespace millrace::bench {

void Session::send(Connection& c, const LengthPrefix* framing, TimePoint since) {
  const ByteView message = tally_.payload.message(number_, next_sent_++);
  sent_.push_back(since);
  ++tally_.under_way;
  if (!framing) {
    c.send(message);
    return;
  }
  std::byte header[LengthPrefix::kLargestHeaderBytes];
  framing->write_header(header, message.size());
  c.send_together(ByteView(header, framing->header_bytes()), message);
}

void Session::receive(Connection& c, ReceiveBuffer& in, const LengthPrefix* framing, TimePoint now,
                      bool respond) {
  std::size_t answers = 0;
  if (framing) {
    for (;;) {
      const Decoded decoded = framing->decode(in.view());
      if (decoded.status == Decoded::incomplete) {
        in.expect(decoded.needed);
        break;
      }
      if (decoded.status == Decoded::failed) {
        ++tally_.errors["broken framing"];
        c.abort();
        return;
      }
      if (decoded.frame.size() == tally_.payload.message_bytes()) {
        receive_part(decoded.frame);
      } else {
        ++tally_.errors["frame of a wrong length"];
      }
      complete(now);
      ++answers;
      in.consume(decoded.consumed);
    }
  } else {
    while (!in.empty()) {
      const std::size_t missing = tally_.payload.message_bytes() - position_;
      const ByteView part = in.view().first(std::min(in.size(), missing));
      receive_part(part);
      in.consume(part.size());
      if (part.size() == missing) {
        complete(now);
        ++answers;
      }
    }
  }
  for (; respond && answers > 0; --answers) send(c, framing, now);
}

void Session::receive_part(ByteView part) {
  if (tally_.verify) {
    const ByteView whole = tally_.payload.message(number_, next_answer_);
    if (!(whole.from(position_).first(part.size()) == part)) intact_ = false;
  }
  position_ += part.size();
}

void Session::complete(TimePoint now) {
  position_ = 0;
  ++next_answer_;
  if (sent_.empty()) {
    ++tally_.errors["answer to nothing"];
    return;
  }
  if (!intact_) ++tally_.errors["wrong bytes"];
  intact_ = true;
  ++tally_.answered;
  if (tally_.measuring) {
    ++tally_.messages;
    tally_.latency.record(now - sent_.front());
  }
  sent_.pop_front();
  --tally_.under_way;
}

}  // namespace millrace::bench
