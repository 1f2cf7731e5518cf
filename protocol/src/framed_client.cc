#include <millrace/framed_client.h>

#include "framed_room.h"

#include <utility>

namespace millrace {

FramedClient::FramedClient(EventLoop& loop, FramedHandler& handler, const ClientOptions& options)
    : Client(loop, handler, with_room_for_frames(options, handler.framing())) {}

FramedClient::FramedClient(EventLoop& loop, FrameCallbacks callbacks, const Framing& framing,
                           const ClientOptions& options)
    : Client(loop, make_framed_handler(std::move(callbacks), framing),
             with_room_for_frames(options, framing)) {}

}  // namespace millrace
