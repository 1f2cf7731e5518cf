// FramedClient is a Client of frames: everything that a Client does, with a
// FramedHandler or FrameCallbacks, and with room for the largest frame to be received.
//
//   FramedClient client(loop, {.on_open = [](FramedConnection& c) { c.send_frame("hello"); },
//                              .on_frame = [](FramedConnection& c, ByteView frame) { ... }});
//   client.connect("127.0.0.1:7000");
#pragma once

#include <millrace/client.h>
#include <millrace/framed_handler.h>

namespace millrace {

class FramedClient : public Client {
 public:
  // The handler's framing counts; it outlives the client.
  FramedClient(EventLoop& loop, FramedHandler& handler, const ClientOptions& options = {});
  FramedClient(EventLoop& loop, FrameCallbacks callbacks, const Framing& framing = {},
               const ClientOptions& options = {});
};

}  // namespace millrace
