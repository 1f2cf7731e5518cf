// An echo server in two flavours: bytes as they come, or length-prefixed frames. What it shows: the
// whole life of a server from arguments to a clean end, and backpressure, so that a peer which does
// not read its echo costs bounded memory.
#include <millrace/millrace.h>

#include <csignal>
#include <exception>
#include <iostream>
#include <memory>
#include <string>

#include <CLI/CLI.hpp>

using namespace millrace;

namespace {

struct Totals {
  std::uint64_t connections = 0;
  std::uint64_t bytes = 0;
} totals;

void count(Connection& c) {
  ++totals.connections;
  totals.bytes += c.stats().bytes_received;
}

std::unique_ptr<Server> echo_bytes(EventLoop& loop) {
  return std::make_unique<Server>(
      loop, Callbacks{.on_data =
                          [](Connection& c, ReceiveBuffer& in) {
                            if (!c.send(in.view())) c.pause_reading();
                            in.consume_all();
                          },
                      .on_drained = [](Connection& c) { c.resume_reading(); },
                      .on_close = [](Connection& c, std::error_code) { count(c); }});
}

std::unique_ptr<Server> echo_frames(EventLoop& loop) {
  return std::make_unique<FramedServer>(
      loop, FrameCallbacks{
                .on_frame =
                    [](FramedConnection& c, ByteView frame) {
                      if (!c.send_frame(frame)) c->pause_reading();
                    },
                .on_drained = [](FramedConnection& c) { c->resume_reading(); },
                .on_close = [](FramedConnection& c, std::error_code) { count(c.connection()); }});
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Sends back what it receives.");
  std::string address;
  std::string framing = "none";
  app.add_option("--listen", address,
                 "HOST:PORT to listen on; port 0 lets the kernel choose; or unix:PATH")
      ->required();
  app.add_option("--framing", framing, "none, or length-prefix: 4 bytes, big-endian")
      ->check(CLI::IsMember({"none", "length-prefix"}));
  CLI11_PARSE(app, argc, argv);
  try {
    EventLoop loop;
    SignalWatcher stop(loop, {SIGINT, SIGTERM}, [&](int) { loop.stop(); });
    auto server = framing == "none" ? echo_bytes(loop) : echo_frames(loop);
    server->listen(address);
    std::cout << "listening on " << server->address() << std::endl;
    loop.run();
    server.reset();
    std::cout << "served " << totals.connections << " connections, " << totals.bytes << " bytes\n";
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "echo_server: " << e.what() << '\n';
    return 1;
  }
}
