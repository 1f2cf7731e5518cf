// SimRelay stands between the clients and the server of a workload and passes on what it gets
// (pipe()), as examples/relay does. It knows which connection to the server is for which client.
// Loop's thread; it goes before its loop.
#pragma once

#include <millrace/client.h>
#include <millrace/server.h>

#include "support/sim/sim_world.h"

#include <cstdint>
#include <map>
#include <optional>

namespace millrace::test {

class SimRelay {
 public:
  // Throws std::system_error when it cannot listen.
  SimRelay(SimWorld& world, EventLoop& loop, const ServerOptions& options,
           const SocketAddress& target);
  ~SimRelay();

  SocketAddress address() const { return server_.address(); }
  // The port of the client for whom the relay has connected from `port`; none: not passed on yet.
  std::optional<std::uint16_t> client_of(std::uint16_t port) const;

 private:
  void connect_for(Connection& accepted);
  void join(const ConnectionRef& accepted, Connection& connected);

  SimWorld& world_;
  EventLoop& loop_;
  const SocketAddress target_;
  ClientOptions client_options_;
  std::map<std::uint64_t, Client> clients_;  // by the id of the connection that each is for
  std::map<std::uint16_t, std::uint16_t> client_ports_;
  Server server_;
};

}  // namespace millrace::test
