// FramedServer is a Server of frames: everything that a Server does, with a
// FramedHandler or FrameCallbacks, and with room for the largest frame to be received.
//
//   FramedServer server(loop, {.on_frame = [](FramedConnection& c, ByteView frame) {
//     c.send_frame(frame);
//   }});
//   server.listen("127.0.0.1:7000");
#pragma once

#include <millrace/framed_handler.h>
#include <millrace/server.h>

namespace millrace {

class FramedServer : public Server {
 public:
  // The handler's framing counts; it outlives the server.
  FramedServer(EventLoop& loop, FramedHandler& handler, const ServerOptions& options = {});
  FramedServer(EventLoop& loop, FrameCallbacks callbacks, const Framing& framing = {},
               const ServerOptions& options = {});
};

}  // namespace millrace
