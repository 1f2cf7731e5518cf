// FramedClient is a Client of frames: everything that a Client does, with a
// FramedHandler or FrameCallbacks, and with room for the largest frame to be received.
//
//   FramedClient client(loop, {.on_open = [](FramedConnection& c) { c.send_frame("hello"); },
//                              .on_frame = [](FramedConnection& c, ByteView frame) { ... }});
//   client.connect("127.0.0.1:7000");
#pragma once

#include <millrace/client.h>
#include <millrace/framed_handler.h>

#include <memory>

namespace millrace {

class FramedClient : public Client {
 public:
  // A handler of yours, which outlives the client, one that the client owns, or the same as
  // lambdas. The handler's framing counts.
  FramedClient(EventLoop& loop, FramedHandler& handler, const ClientOptions& options = {});
  FramedClient(EventLoop& loop, std::unique_ptr<FramedHandler> handler,
               const ClientOptions& options = {});
  FramedClient(EventLoop& loop, FrameCallbacks callbacks, const Framing& framing = {},
               const ClientOptions& options = {});

 private:
  // `handler` is what `owned` owns, named before it is handed on.
  FramedClient(EventLoop& loop, const FramedHandler& handler,
               std::unique_ptr<FramedHandler>&& owned, const ClientOptions& options);
};

}  // namespace millrace
