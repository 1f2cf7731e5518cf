#include "sim_relay.h"

#include <millrace/pipe.h>

#include <utility>

namespace millrace::test {

SimRelay::SimRelay(SimWorld& world, EventLoop& loop, const ServerOptions& options,
                   const SocketAddress& target)
    : world_(world),
      loop_(loop),
      target_(target),
      server_(loop,
              {.on_open =
                   [this](Connection& c) {
                     world_.opened(c);
                     connect_for(c);
                   },
               .on_close = [this](Connection& c, std::error_code) { world_.closed(c); }},
              options) {
  client_options_.connection = options.connection;
  client_options_.socket = options.listen.socket;
  client_options_.connect_timeout = std::chrono::seconds(5);
  server_.listen(SocketAddress::loopback(0));
}

SimRelay::~SimRelay() {
  // Gone from the map before they end: what they report then finds nothing there.
  std::exchange(clients_, {}).clear();
}

std::optional<std::uint16_t> SimRelay::client_of(std::uint16_t port) const {
  const auto found = client_ports_.find(port);
  if (found == client_ports_.end()) return std::nullopt;
  return found->second;
}

void SimRelay::connect_for(Connection& accepted) {
  accepted.pause_reading();
  const std::uint64_t id = accepted.id();
  Callbacks callbacks;
  callbacks.on_open = [this, ref = accepted.ref()](Connection& c) {
    world_.opened(c);
    join(ref, c);
  };
  callbacks.on_close = [this, id](Connection& c, std::error_code) {
    world_.closed(c);
    clients_.erase(id);
  };
  callbacks.on_connect_failed = [this, id, ref = accepted.ref()](std::error_code why) {
    if (Connection* c = ref.get()) c->abort(why);
    clients_.erase(id);
  };
  const auto [client, added] =
      clients_.try_emplace(id, loop_, std::move(callbacks), client_options_);
  client->second.connect(target_);
}

void SimRelay::join(const ConnectionRef& accepted, Connection& connected) {
  Connection* c = accepted.get();
  if (!c) return connected.abort();
  client_ports_[connected.local().port()] = c->peer().port();
  pipe(*c, connected);
}

}  // namespace millrace::test
