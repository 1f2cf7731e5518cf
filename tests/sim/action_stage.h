// Stage is one run of one action inside one callback, on a kernel that is slow, interrupts and
// takes little at a time; it says what should not have been. A run: a bystander and a victim
// connect to a server; both send and are sent back, more than the victim can take at once; a timer,
// a posted and a deferred task run; both end. Or the victim does so in frames. One thread.
//
//   const Action close{"Close", Effect::none, [](Stage&, Connection& c) { c.close(); }};
//   Stage stage(Place::data, close, 1);
//   EXPECT_TRUE(stage.run().empty());
#pragma once

#include <millrace/client.h>
#include <millrace/framed_client.h>
#include <millrace/framed_server.h>
#include <millrace/server.h>
#include <millrace/timer.h>

#include "support/mappings.h"
#include "torture.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

namespace millrace::test {

// The callback in which it is done.
enum class Place {
  open,
  data,
  drained,
  peer_end,
  close,
  frame,
  timer,
  posted,
  deferred,
  connect,
  connect_failed,
  accept,
  kCount
};

class Stage;

// What an action does, as far as the ends of connections that are expected follow from it.
enum class Effect {
  none,             // all end as they would have
  aborts,           // the target, and its peer hears of it
  gives_reason,     // to the target
  throws,           //
  destroys_server,  //
  destroys_client,
  drains,
  stops_accepting,
};
struct Action {
  const char* name;
  Effect effect;
  void (*perform)(Stage&, Connection&);
};

class Stage {
 public:
  // So much that nothing takes it all at once.
  static constexpr std::size_t kMuch = 10'000'000;

  Stage(Place place, const Action& action, std::uint64_t seed);
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  // What was wrong.
  std::vector<std::string> run();

  // For actions.
  EventLoop& loop() { return loop_; }
  Server* server() {
    if (place_ == Place::frame) return framed_server_ ? &*framed_server_ : nullptr;
    return server_ ? &*server_ : nullptr;
  }
  void destroy_server() { place_ == Place::frame ? framed_server_.reset() : server_.reset(); }
  void destroy_client() {
    place_ == Place::frame ? framed_victim_.reset() : victim_.reset();
    client_destroyed_ = true;
  }
  void send(Connection& c, std::size_t n);
  void switch_handler(Connection& c);
  void start_timers(Connection& c);
  void post_tasks(Connection& c);

 private:
  // Who hears the callbacks.
  class PlainSide;
  class PlainServerSide;
  class PlainClientSide;
  class FramedSide;
  class FramedServerSide;
  class FramedClientSide;
  class SwitchedSide;
  class Nobody;

  static SimOptions sim_options(std::uint64_t seed);
  void set_up();
  void plan(Duration at, Function<void()> step);
  void act(Place here, Connection* c);
  void act_on_victim(Place here, Connection& c) {
    if (c.ref() == victim_ref_) act(here, &c);
  }
  // From outside of callbacks of connections.
  Connection* target() { return victim_ref_.get() ? victim_ref_.get() : bystander_ref_.get(); }
  void live_on();
  void check();
  void check_side(const Side& side);
  std::vector<std::error_code> reasons_for(const Side& side) const;
  bool is_of_acted_server(const Side& side) const {
    return !side.is_client && (side.stream == victim_stream_ || place_ != Place::frame);
  }
  void problem(const std::string& what) { watch_.problem(what); }

  const Place place_;
  const Action& action_;
  Mappings mappings_;
  SeededDecisions decisions_;
  SimWorld world_;
  Watch watch_{world_};
  EventLoop& loop_ = world_.add_loop();

  std::unique_ptr<FramedHandler> framed_server_side_;
  std::unique_ptr<FramedHandler> framed_client_side_;
  std::unique_ptr<ConnectionHandler> client_side_;
  std::unique_ptr<ConnectionHandler> nobody_;
  std::unique_ptr<ConnectionHandler> switched_;
  std::optional<Server> server_;
  std::optional<FramedServer> framed_server_;
  std::optional<Client> bystander_;
  std::optional<Client> victim_;
  std::optional<FramedClient> framed_victim_;
  std::optional<Client> refused_;
  std::vector<Timer> plan_;
  std::optional<Timer> running_timer_;
  std::vector<std::unique_ptr<Timer>> action_timers_;

  bool acted_ = false;
  bool client_destroyed_ = false;
  int made_handlers_ = 0;
  int opened_ = 0;
  ConnectionRef bystander_ref_;
  ConnectionRef victim_ref_;
  std::uint64_t victim_stream_ = 0;  // of either side
  Side* target_side_ = nullptr;
};

}  // namespace millrace::test
