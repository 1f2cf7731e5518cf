#include <millrace/framed_server.h>

#include "framed_room.h"

#include <utility>

namespace millrace {

FramedServer::FramedServer(EventLoop& loop, FramedHandler& handler, const ServerOptions& options)
    : Server(loop, handler, with_room_for_frames(options, handler.framing())) {}

FramedServer::FramedServer(EventLoop& loop, FrameCallbacks callbacks, const Framing& framing,
                           const ServerOptions& options)
    : Server(loop, make_framed_handler(std::move(callbacks), framing),
             with_room_for_frames(options, framing)) {}

}  // namespace millrace
