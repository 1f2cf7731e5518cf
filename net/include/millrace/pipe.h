// pipe() makes a proxy of two connections: what arrives on one is sent on the other, both ways,
// until both are over. Nobody keeps an object for it, and it may be called in any callback of
// either. Loop's thread only; both connections are of the same loop.
//
//   void on_open(Connection& upstream) override {      // of a Client, for a connection we accepted
//     if (Connection* accepted = accepted_.get()) pipe(*accepted, upstream);
//   }
//
// A side whose other one is above its high watermark is not read from until that has drained: what
// waits in between is no more than the watermark and what one receive brings.
//
//   what ends one side                    what becomes of the other
//   its peer ends the stream              end(): FIN behind what is queued; the other way goes on
//   both ways have ended; close()         close(): what is queued still arrives
//   reset, timeout, abort(), any error    abort() with the same reason: a stream that was cut must
//                                         not look complete; so does the side itself, which would
//                                         otherwise be closed gracefully (idle, lifetime ...)
//   its Server drains                     nothing: the streams go on to their ends, or until the
//                                         deadline, which aborts both
#pragma once

namespace millrace {

class Connection;

// What either has received and nobody has consumed goes first, in order, and so does the end of a
// peer that has ended before. Reading is resumed and from then on the pipe's own affair. Of all
// callbacks the handlers that the two had before get on_close alone; neither set_handler() nor
// pipe() may be called with them any more. If one of the two is no longer open, the other is ended
// as the table says.
void pipe(Connection& a, Connection& b);

}  // namespace millrace
