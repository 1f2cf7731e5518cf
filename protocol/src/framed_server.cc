#include <millrace/check.h>
#include <millrace/framed_server.h>

#include "framed_room.h"

#include <utility>

namespace millrace {

namespace {

FramedHandler& handler_of_server(const std::unique_ptr<FramedHandler>& handler) {
  MILLRACE_CHECK(handler != nullptr, "a FramedServer needs a handler");
  return *handler;
}

}  // namespace

FramedServer::FramedServer(EventLoop& loop, FramedHandler& handler, const ServerOptions& options)
    : Server(loop, handler, with_room_for_frames(options, handler.framing())) {}

FramedServer::FramedServer(EventLoop& loop, std::unique_ptr<FramedHandler> handler,
                           const ServerOptions& options)
    : FramedServer(loop, handler_of_server(handler), std::move(handler), options) {}

FramedServer::FramedServer(EventLoop& loop, const FramedHandler& handler,
                           std::unique_ptr<FramedHandler>&& owned, const ServerOptions& options)
    : Server(loop, std::move(owned), with_room_for_frames(options, handler.framing())) {}

FramedServer::FramedServer(EventLoop& loop, FrameCallbacks callbacks, const Framing& framing,
                           const ServerOptions& options)
    : FramedServer(loop, make_framed_handler(std::move(callbacks), framing), options) {}

}  // namespace millrace
