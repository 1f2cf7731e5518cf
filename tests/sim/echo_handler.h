// The two sides of an echo workload: what its connections do when they are called back, and what
// they share. Loop's thread.
#pragma once

#include <millrace/connection_handler.h>
#include <millrace/server.h>
#include <millrace/timer.h>

#include "sim_relay.h"
#include "stream_model.h"
#include "support/sim/sim_world.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace millrace::test {

// Does something at random with a connection of its own, or one of the others.
class Mischief {
 public:
  Mischief(SimWorld& world, unsigned per_mille) : world_(world), per_mille_(per_mille) {}
  void stop() { per_mille_ = 0; }
  void perform(Connection& c, Side& side);

 private:
  SimWorld& world_;
  unsigned per_mille_;
};

struct EchoSetting {
  EchoSetting(Decisions& by, const SimOptions& sim)
      : decisions(by), world(by, sim), mischief(world, static_cast<unsigned>(by.below(4) * 15)) {}

  Side& new_side(std::uint64_t stream, bool is_client);
  // Of a server's side behind a relay, as soon as that has passed anything on: whose it is.
  void resolve(Side& side, const Connection& c) const;

  Decisions& decisions;
  SimWorld world;
  Mischief mischief;
  ServerOptions options;
  std::vector<std::unique_ptr<Side>> sides;
  std::unique_ptr<SimRelay> relay;
  bool over_unix = false;
  bool ending = false;    // no more mischief
  bool draining = false;  // the server
  std::uint64_t bytes = 0;
};

class EchoHandler final : public ConnectionHandler {
 public:
  EchoHandler(EchoSetting& setting, bool is_client) : setting_(setting), client_(is_client) {}

  void on_open(Connection& c) override;
  void on_data(Connection& c, ReceiveBuffer& in) override;
  void on_drained(Connection& c) override;
  void on_peer_end(Connection& c) override;
  void on_close(Connection& c, std::error_code why) override;

  // Mischief from outside of its callbacks; nothing for a connection that is none of these.
  static void disturb(EchoSetting& setting, Connection& c);

 private:
  struct State;
  State* state_of(Connection& c);
  void send_more(Connection& c, State& state);
  bool send_one(Connection& c, State& state);
  SendResult pass_some(Connection& c, Side& side, std::string_view bytes);
  void take_passed(Connection& c, Side& side);
  void maybe_pause(Connection& c, State& state);

  EchoSetting& setting_;
  const bool client_;
};

}  // namespace millrace::test
