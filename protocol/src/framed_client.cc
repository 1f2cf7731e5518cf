#include <millrace/check.h>
#include <millrace/framed_client.h>

#include "framed_room.h"

#include <utility>

namespace millrace {

namespace {

FramedHandler& handler_of_client(const std::unique_ptr<FramedHandler>& handler) {
  MILLRACE_CHECK(handler != nullptr, "a FramedClient needs a handler");
  return *handler;
}

}  // namespace

FramedClient::FramedClient(EventLoop& loop, FramedHandler& handler, const ClientOptions& options)
    : Client(loop, handler, with_room_for_frames(options, handler.framing())), handler_(handler) {}

FramedClient::FramedClient(EventLoop& loop, std::unique_ptr<FramedHandler> handler,
                           const ClientOptions& options)
    : FramedClient(loop, handler_of_client(handler), std::move(handler), options) {}

FramedClient::FramedClient(EventLoop& loop, const FramedHandler& handler,
                           std::unique_ptr<FramedHandler>&& owned, const ClientOptions& options)
    : Client(loop, std::move(owned), with_room_for_frames(options, handler.framing())),
      handler_(handler) {}

FramedClient::FramedClient(EventLoop& loop, FrameCallbacks callbacks, const Framing& framing,
                           const ClientOptions& options)
    : FramedClient(loop, make_framed_handler(std::move(callbacks), framing), options) {}

SendResult FramedClient::send_frame(ByteView payload) {
  Connection* c = connection();
  FrameEdges edges;
  (c && c->is_open() ? handler_.framed(*c).framing() : handler_.framing()).wrap(payload, edges);
  return send_together(edges.before(), edges.payload(), edges.after());
}

}  // namespace millrace
