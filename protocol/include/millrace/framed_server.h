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

#include <memory>

namespace millrace {

class FramedServer : public Server {
 public:
  // A handler of yours, which outlives the server, one that the server owns, or the same as
  // lambdas. The handler's framing counts.
  FramedServer(EventLoop& loop, FramedHandler& handler, const ServerOptions& options = {});
  FramedServer(EventLoop& loop, std::unique_ptr<FramedHandler> handler,
               const ServerOptions& options = {});
  FramedServer(EventLoop& loop, FrameCallbacks callbacks, const Framing& framing = {},
               const ServerOptions& options = {});

 private:
  // `handler` is what `owned` owns, named before it is handed on.
  FramedServer(EventLoop& loop, const FramedHandler& handler,
               std::unique_ptr<FramedHandler>&& owned, const ServerOptions& options);
};

}  // namespace millrace
