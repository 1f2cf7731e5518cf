// FramedClient is a Client of frames: everything that a Client does, with a
// FramedHandler or FrameCallbacks, and with room for the largest frame to be received.
//
//   FramedClient client(loop, {.on_frame = [](FramedConnection& c, ByteView frame) { ... }});
//   client.connect("127.0.0.1:7000");
//   client.send_frame("hello");              // waits for the connection
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

  // As FramedConnection::send_frame() while there is a connection; before, and while it waits to
  // reconnect, the frame is kept as Client::send() keeps bytes, in the handler's framing. Throws
  // what that one throws.
  SendResult send_frame(ByteView payload);

 private:
  // `handler` is what `owned` owns, named before it is handed on.
  FramedClient(EventLoop& loop, const FramedHandler& handler,
               std::unique_ptr<FramedHandler>&& owned, const ClientOptions& options);

  const FramedHandler& handler_;
};

}  // namespace millrace
