// The echo server over millrace, written as its users would write it: callbacks, and backpressure,
// so that a peer which does not read costs bounded memory. A broadcast is encoded once and
// shared by all connections.
#include <millrace/millrace.h>

#include "peer.h"

#include <memory>

using namespace millrace;
using peer::Mode;

namespace {

std::unique_ptr<Server> echo(EventLoop& loop) {
  return std::make_unique<Server>(
      loop, Callbacks{.on_data =
                          [](Connection& c, ReceiveBuffer& in) {
                            if (!c.send(in.view())) c.pause_reading();
                            in.consume_all();
                          },
                      .on_drained = [](Connection& c) { c.resume_reading(); }});
}

std::unique_ptr<Server> echo_frames(EventLoop& loop) {
  return std::make_unique<FramedServer>(
      loop, FrameCallbacks{.on_frame =
                               [](FramedConnection& c, ByteView frame) {
                                 if (!c.send_frame(frame)) c->pause_reading();
                               },
                           .on_drained = [](FramedConnection& c) { c->resume_reading(); }});
}

std::unique_ptr<Server> sink(EventLoop& loop) {
  return std::make_unique<Server>(  // what nobody asks for is consumed
      loop, Callbacks{.on_peer_end = [](Connection& c) {
        c.send(peer::big_endian(c.stats().bytes_received));
        c.close();
      }});
}

class Broadcast : public FramedHandler {
 public:
  explicit Broadcast(std::unique_ptr<Server>& server) : server_(server) {}

  void on_frame(FramedConnection& sender, ByteView frame) override {
    const SharedBytes news(sender.framing().encode(frame));
    server_->for_each([&](Connection& c) {
      if (&c != &sender.connection()) c.send(news);
    });
  }

 private:
  std::unique_ptr<Server>& server_;  // owns this
};

std::unique_ptr<Server> broadcast(EventLoop& loop, std::unique_ptr<Server>& server) {
  return std::make_unique<FramedServer>(loop, std::make_unique<Broadcast>(server));
}

}  // namespace

int main(int argc, char** argv) {
  const auto [port, mode] = peer::arguments(argc, argv, "millrace " PEER_VERSION);
  EventLoop loop;
  std::unique_ptr<Server> server;
  server = mode == Mode::framed      ? echo_frames(loop)
           : mode == Mode::sink      ? sink(loop)
           : mode == Mode::broadcast ? broadcast(loop, server)
                                     : echo(loop);
  server->listen(SocketAddress::loopback(port));
  peer::announce(server->address().port());
  loop.run();
}
