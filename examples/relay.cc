// A TCP proxy: passes on what it receives, both ways, between whoever connects to it and a target.
// What it shows: pipe(), which does the work once both connections are there, and clients that come
// and go with the connections that they serve.
#include <millrace/millrace.h>
#include <millrace/pipe.h>

#include <csignal>
#include <exception>
#include <iostream>
#include <map>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>

using namespace millrace;

namespace {

class Relay {
 public:
  Relay(EventLoop& loop, const SocketAddress& target) : loop_(loop), target_(target) {}
  // The clients are gone from the map before they end: what they report then finds nothing there.
  ~Relay() { std::exchange(clients_, {}).clear(); }

  void connect_for(Connection& accepted) {
    accepted.pause_reading();  // until there is somebody to pass it on to
    const std::uint64_t id = accepted.id();
    const auto [client, added] = clients_.try_emplace(
        id, loop_,
        Callbacks{.on_open = [ref = accepted.ref()](Connection& c) { join(ref, c); },
                  .on_close = [this, id](Connection&, std::error_code) { clients_.erase(id); },
                  .on_connect_failed =
                      [this, id, ref = accepted.ref()](std::error_code why) {
                        if (Connection* c = ref.get()) c->abort(why);
                        clients_.erase(id);
                      }});
    client->second.connect(target_);
  }

 private:
  static void join(const ConnectionRef& accepted, Connection& connected) {
    if (Connection* c = accepted.get()) return pipe(*c, connected);
    connected.abort();  // it did not wait
  }

  EventLoop& loop_;
  const SocketAddress target_;
  std::map<std::uint64_t, Client> clients_;  // by the id of the connection that each is for
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Passes on what it receives, both ways.", "relay");
  std::string address;
  std::string target;
  app.add_option("--listen", address, "HOST:PORT to listen on; port 0 lets the kernel choose")
      ->required();
  app.add_option("--to", target, "HOST:PORT to connect to, once for each connection")->required();
  CLI11_PARSE(app, argc, argv);
  try {
    EventLoop loop;
    SignalWatcher stop(loop, {SIGINT, SIGTERM}, [&](int) { loop.stop(); });
    Relay relay(loop, SocketAddress::parse(target));
    Server server(loop, {.on_open = [&](Connection& c) { relay.connect_for(c); }});
    server.listen(address);
    std::cout << "listening on " << server.address() << std::endl;
    loop.run();
    return 0;
  } catch (const std::exception& e) {
    std::cerr << "relay: " << e.what() << '\n';
    return 1;
  }
}
