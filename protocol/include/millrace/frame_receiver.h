// FrameReceiver is who gets the frames of a connection. FramedHandler is one: override these there.
// Called in the loop's thread, by Framing::deliver().
#pragma once

#include <millrace/bytes.h>

namespace millrace {

struct FrameError;
class FramedConnection;

class FrameReceiver {
 public:
  // One whole frame, as its framing gives it; a view that is valid until the callback returns.
  virtual void on_frame(FramedConnection& c, ByteView frame) = 0;
  // Only with Oversize::discard: a frame is larger than allowed. Its bytes are skipped, and the
  // next frame follows. By default nothing.
  virtual void on_oversized_frame(FramedConnection&, const FrameError&) {}

 protected:
  ~FrameReceiver() = default;
};

}  // namespace millrace
