#include "echo_workload.h"

#include <millrace/client.h>
#include <millrace/error.h>
#include <millrace/send_writer.h>
#include <millrace/server.h>
#include <millrace/timer.h>

#include "stream_model.h"
#include "support/sim/sim_world.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

// How long the workload does as it likes; then faults end, and all has to come to an end in order.
constexpr Duration kActive = 10s;
// When the decisions are exhausted before: what is under way goes on undisturbed for so long.
constexpr Duration kUndisturbed = 1s;
constexpr Duration kPatience = 600s;

class EchoWorkload;

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

void Mischief::perform(Connection& c, Side& side) {
  Decisions& decisions = world_.decisions();
  if (!decisions.chance(per_mille_)) return;
  switch (decisions.below(8)) {
    case 0:
      side.did_close = true;
      return c.close();
    case 1:
      side.did_abort = true;
      return c.abort();
    case 2:
      side.did_end = true;
      return c.end();
    case 3:
      side.did_throw = true;
      throw std::runtime_error("mischief");
    case 4:
      return c.flush();
    case 5:
      return world_.kernel().vanish(c.native_handle());
    case 6:
      return c.pause_reading(), c.resume_reading();
    default:
      c.pause_reading();
      // Somebody else lets it go on, much later.
      c.loop().post([ref = c.ref()] {
        if (Connection* there = ref.get()) there->resume_reading();
      });
      return;
  }
}

// The state of one connection, on the side where it is its context.
struct State {
  Side* side = nullptr;
  std::uint64_t to_send = 0;  // in all; of a server's side: as much as has arrived
  Timer resume;
};

class EchoHandler : public ConnectionHandler {
 public:
  EchoHandler(EchoWorkload& workload, bool is_client) : workload_(workload), client_(is_client) {}

  void on_open(Connection& c) override;
  void on_data(Connection& c, ReceiveBuffer& in) override;
  void on_drained(Connection& c) override;
  void on_peer_end(Connection& c) override;
  void on_close(Connection& c, std::error_code why) override;

 private:
  State* state_of(Connection& c);
  void send_more(Connection& c, State& state);
  bool send_one(Connection& c, State& state);
  void maybe_pause(Connection& c, State& state);

  EchoWorkload& workload_;
  const bool client_;
};

class EchoWorkload {
 public:
  explicit EchoWorkload(Decisions& by)
      : decisions(by),
        world(decisions, sim_options(decisions)),
        mischief(world, static_cast<unsigned>(decisions.below(4) * 15)) {}

  Report run();

  ConnectionOptions connection_options() const { return options_.connection; }
  Side& new_side(std::uint64_t stream, bool is_client);
  // For the end of a connection: whom it was connected to.
  Side* other_side(const Side& side);
  std::uint64_t wanted_bytes() { return decisions.size_up_to(60'000); }

  Decisions& decisions;
  SimWorld world;
  Mischief mischief;
  bool ending = false;    // no more mischief
  bool draining = false;  // the server
  std::uint64_t bytes = 0;

 private:
  // A socket that is no connection of ours and behaves as it likes.
  struct Bare {
    UniqueFd fd;
    std::uint64_t stream;
    std::uint64_t sent = 0;
  };

  static SimOptions sim_options(Decisions& by);
  ServerOptions server_options();
  ClientOptions client_options();
  void start_server();
  void start_client();
  void start_bare();
  void act();
  void act_bare();
  void be_active();
  void come_to_an_end();
  void check_deliveries();

  ServerOptions options_;
  std::vector<std::unique_ptr<Side>> sides_;
  EchoHandler server_handler_{*this, false};
  EchoHandler client_handler_{*this, true};
  std::unique_ptr<Server> server_;
  SocketAddress address_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<Bare> bare_;
};

// Handler.

State* EchoHandler::state_of(Connection& c) {
  auto* state = c.context<State>();
  if (!state || !workload_.world.is_live(c)) {
    workload_.world.problem("a callback of a connection that is not open");
    return nullptr;
  }
  return state;
}

void EchoHandler::on_open(Connection& c) {
  workload_.world.opened(c);
  const std::uint64_t stream = client_ ? c.local().port() : c.peer().port();
  Side& side = workload_.new_side(stream, client_);
  side.was_drained = !client_ && workload_.draining;
  auto& state = c.emplace_context<State>(&side, client_ ? workload_.wanted_bytes() : 0,
                                         Timer(c.loop(), [ref = c.ref()] {
                                           if (Connection* there = ref.get())
                                             there->resume_reading();
                                         }));
  if (client_) send_more(c, state);
  workload_.mischief.perform(c, side);
}

bool EchoHandler::send_one(Connection& c, State& state) {
  Side& side = *state.side;
  const std::uint64_t left = state.to_send - side.accepted;
  // Not more than ever fits. And byte by byte would be thousands of turns of the loop when no
  // decisions are left.
  const auto most = std::min<std::uint64_t>(
      {left, 30'000, workload_.connection_options().limits.send_queue_bytes});
  const std::size_t n =
      workload_.decisions.exhausted() ? most : 1 + workload_.decisions.size_up_to(most - 1);
  const std::string_view bytes = next_bytes(side, n);
  if (!c.is_open()) return false;
  const std::size_t before = c.queued_bytes() + c.stats().bytes_sent;
  const SendResult result = [&]() -> SendResult {
    switch (workload_.decisions.below(6)) {
      case 0:
        return c.send(std::string(bytes));
      case 1:
        return c.send(SharedBytes(std::string(bytes)));
      case 2:
        return c.send_together(bytes.substr(0, n / 2), bytes.substr(n / 2));
      case 3: {
        SendWriter writer = c.writer(n);
        std::memcpy(writer.room().data(), bytes.data(), n);
        return writer.commit(n);
      }
      case 4:
        return c.try_send(bytes);
      default:
        return c.send(bytes);
    }
  }();
  const std::size_t taken = c.queued_bytes() + c.stats().bytes_sent - before;
  side.accepted += taken;
  if (taken != (result.accepted() ? n : 0)) {
    workload_.world.problem("send() took " + std::to_string(taken) + " of " + std::to_string(n) +
                            " bytes and said " + std::to_string(result.state()));
  }
  side.refused |= !result;
  return static_cast<bool>(result);
}

void EchoHandler::send_more(Connection& c, State& state) {
  Side& side = *state.side;
  while (side.accepted < state.to_send) {
    if (!send_one(c, state)) return;
  }
  if (!client_ || !c.is_open()) return;
  side.did_end = true;
  c.end();
}

void EchoHandler::maybe_pause(Connection& c, State& state) {
  if (!workload_.decisions.chance(30)) return;
  c.pause_reading();
  state.resume.start(std::chrono::milliseconds(workload_.decisions.below(300)));
}

void EchoHandler::on_data(Connection& c, ReceiveBuffer& in) {
  State* state = state_of(c);
  if (!state) return;
  Side& side = *state->side;
  std::size_t n = in.size();
  // Sometimes some is left for the next time, which comes with more or with the end.
  if (!workload_.ending && workload_.decisions.chance(50)) n = workload_.decisions.below(n + 1);
  check_arrived(workload_.world, side, side.stream, in.view().first(n));
  in.consume(n);
  side.received += n;
  workload_.bytes += n;
  if (!client_) {
    state->to_send = side.received;
    send_more(c, *state);
  }
  maybe_pause(c, *state);
  workload_.mischief.perform(c, side);
}

void EchoHandler::on_drained(Connection& c) {
  State* state = state_of(c);
  if (!state) return;
  send_more(c, *state);
  workload_.mischief.perform(c, *state->side);
}

void EchoHandler::on_peer_end(Connection& c) {
  State* state = state_of(c);
  if (!state) return;
  Side& side = *state->side;
  if (side.peer_ended) workload_.world.problem("on_peer_end twice");
  side.peer_ended = true;
  const ByteView rest = c.unconsumed();
  check_arrived(workload_.world, side, side.stream, rest);
  side.received += rest.size();
  workload_.bytes += rest.size();
  if (!client_) {
    state->to_send = side.received;
    // Above the watermark too: nothing more will come that could make it wait. Until it is closed.
    for (std::uint64_t before = ~side.accepted; side.accepted < state->to_send;) {
      if (std::exchange(before, side.accepted) == side.accepted) break;
      send_one(c, *state);
    }
  }
  workload_.mischief.perform(c, side);
  c.close();
}

void EchoHandler::on_close(Connection& c, std::error_code why) {
  State* state = state_of(c);
  if (!state) return;
  workload_.world.closed(c);
  check_end(workload_.world, *state->side, c, why, workload_.connection_options());
  state->resume.cancel();
}

// Workload.

SimOptions EchoWorkload::sim_options(Decisions& by) {
  SimOptions options;
  options.send_buffer = 4'608 + by.size_up_to(100'000);
  options.receive_buffer = 2'304 + by.size_up_to(100'000);
  options.latency_least = 1us;
  options.latency_most = Duration(static_cast<Duration::rep>(1000 + by.size_up_to(50'000'000)));
  options.call = 200ns;
  return options;
}

ServerOptions EchoWorkload::server_options() {
  ServerOptions options;
  options.max_connections = 1 + decisions.below(20);
  options.listen.backlog = 1 + static_cast<int>(decisions.below(20));
  auto& limits = options.connection.limits;
  limits.high_watermark_bytes = 1 + decisions.size_up_to(200'000);
  if (decisions.below(3) == 0) {
    limits.send_queue_bytes = 1'000 + decisions.size_up_to(200'000);
    constexpr std::array kOverflows{Overflow::close, Overflow::refuse, Overflow::drop_newest};
    limits.overflow = kOverflows[decisions.below(3)];
  }
  auto& timeouts = options.connection.timeouts;
  if (decisions.below(3) == 0)
    timeouts.idle = std::chrono::milliseconds(100 + decisions.below(20'000));
  if (decisions.below(6) == 0) {
    timeouts.lifetime = std::chrono::milliseconds(100 + decisions.below(20'000));
  }
  if (decisions.below(6) == 0) {
    timeouts.first_byte = std::chrono::milliseconds(100 + decisions.below(5'000));
    timeouts.message = std::chrono::milliseconds(100 + decisions.below(5'000));
  }
  options.listen.socket.user_timeout = 20s;
  options.listen.socket.keepalive_idle = 20s;
  return options;
}

ClientOptions EchoWorkload::client_options() {
  ClientOptions options;
  options.connection = options_.connection;
  options.socket.user_timeout = 20s;
  options.socket.keepalive_idle = 20s;
  options.connect_timeout = 5s;
  options.reconnect.enabled = decisions.below(2) == 0;
  options.reconnect.max_attempts = 20;
  return options;
}

Side& EchoWorkload::new_side(std::uint64_t stream, bool is_client) {
  auto& made = *sides_.emplace_back(std::make_unique<Side>());
  made.stream = stream;
  made.is_client = is_client;
  made.opened = true;
  return made;
}

Side* EchoWorkload::other_side(const Side& side) {
  for (const auto& each : sides_) {
    if (each->stream == side.stream && each->is_client != side.is_client) return each.get();
  }
  return nullptr;
}

void EchoWorkload::start_server() {
  draining = false;
  server_ = std::make_unique<Server>(world.loop(0), server_handler_, options_);
  for (int attempts = 0; attempts < 100; ++attempts) {
    try {
      server_->listen(address_);
      break;
    } catch (const std::system_error&) {
      continue;  // out of memory or descriptors: told, and nothing is lost
    }
  }
  if (address_.port() == 0) address_ = server_->address();
}

void EchoWorkload::start_client() {
  auto& loop = world.loop(decisions.below(world.loop_count()));
  auto& client =
      clients_.emplace_back(std::make_unique<Client>(loop, client_handler_, client_options()));
  client->connect(address_);
}

void EchoWorkload::start_bare() {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  if (!fd) return;
  ::connect(fd.get(), address_.native(), address_.native_size());
  sockaddr_in own{};
  socklen_t size = sizeof own;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&own), &size);
  bare_.push_back({std::move(fd), ntohs(own.sin_port)});
}

void EchoWorkload::act_bare() {
  const std::size_t at = decisions.below(bare_.size());
  Bare& one = bare_[at];
  char block[4096];
  switch (decisions.below(8)) {
    case 0:
      ::shutdown(one.fd.get(), SHUT_WR);
      break;
    case 1: {
      const linger now{1, 0};
      ::setsockopt(one.fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
      bare_.erase(bare_.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    }
    case 2:
      bare_.erase(bare_.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 3:
      world.kernel().vanish(one.fd.get());
      break;
    case 4:
      while (::recv(one.fd.get(), block, sizeof block, 0) > 0) continue;
      break;
    default: {
      const auto next = pattern(one.stream, one.sent, decisions.size_up_to(20'000));
      const ssize_t n = ::send(one.fd.get(), next.data(), next.size(), MSG_NOSIGNAL);
      if (n > 0) one.sent += static_cast<std::uint64_t>(n);
      break;
    }
  }
}

// What the world does by itself, now and then.
void EchoWorkload::act() {
  switch (decisions.below(12)) {
    case 0:
      return start_bare();
    case 1:
    case 2:
      return clients_.size() < 12 ? start_client() : void();
    case 3:
      if (clients_.empty() || decisions.below(4) != 0) return;
      for (const auto& side : sides_) side->was_destroyed |= side->is_client;
      clients_.erase(clients_.begin() +
                     static_cast<std::ptrdiff_t>(decisions.below(clients_.size())));
      return;
    case 4:
      if (decisions.below(10) != 0) return;
      for (const auto& side : sides_) side->was_destroyed |= !side->is_client;
      server_.reset();
      return start_server();
    case 5:
      if (decisions.below(10) != 0) return;
      for (const auto& side : sides_) side->was_drained |= !side->is_client;
      draining = true;
      server_->drain(std::chrono::milliseconds(decisions.below(5'000)));
      return;
    case 6:
      if (world.live().empty()) return;
      {
        Connection& c = *world.live()[decisions.below(world.live().size())];
        State& state = *c.context<State>();
        try {
          mischief.perform(c, *state.side);
        } catch (const std::runtime_error&) {
          return;  // not out of a callback
        }
      }
      return;
    default:
      if (!bare_.empty()) act_bare();
      return;
  }
}

void EchoWorkload::be_active() {
  TimePoint end = world.kernel().after(kActive);
  while (world.kernel().now() < end && world.problems().empty()) {
    if (!world.step() || decisions.chance(8)) {
      act();
      world.kernel().at(world.kernel().after(100ms), [] {});
    }
    if (decisions.exhausted()) end = std::min(end, world.kernel().after(kUndisturbed));
  }
}

void EchoWorkload::come_to_an_end() {
  ending = true;
  mischief.stop();
  world.kernel().faults() = {};
  bare_.clear();
  for (const auto& side : sides_) side->did_close = true;
  for (const auto& client : clients_) client->close();
  const bool over = world.run_until([&] { return world.live_count() == 0; }, kPatience);
  if (!over && world.problems().empty()) {
    world.problem(std::to_string(world.live_count()) + " connections did not come to an end");
  }
  for (const auto& side : sides_) side->was_destroyed = true;
  clients_.clear();
  server_.reset();
  world.run_for(200s);
}

// Whatever one side sent in an orderly life, and nobody on the other side gave up, has arrived.
void EchoWorkload::check_deliveries() {
  for (const auto& side : sides_) {
    if (!side->closed) world.problem("a connection without on_close");
    const Side* other = other_side(*side);
    if (!other) continue;
    if (other->received > side->accepted) world.problem("more has arrived than was sent");
    const bool heard_out = other->orderly() && other->peer_ended && !other->did_abort;
    if (side->orderly() && heard_out && side->lost == 0 && other->received != side->accepted) {
      world.problem("stream " + std::to_string(side->stream) + ": " +
                    std::to_string(side->accepted - other->received) + " bytes did not arrive");
    }
  }
}

Report EchoWorkload::run() {
  const std::size_t loops = 1 + decisions.below(3);
  for (std::size_t i = 0; i < loops; ++i) {
    world.add_loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  }
  constexpr std::array kFaults{SimFaults(), SimFaults::harmless(), SimFaults::harmful()};
  world.kernel().faults() = kFaults[decisions.below(kFaults.size())];
  const std::size_t own_descriptors = world.kernel().open_descriptors();
  options_ = server_options();
  address_ = SocketAddress::loopback(0);
  start_server();
  for (std::uint64_t i = 1 + decisions.below(6); i > 0; --i) start_client();
  be_active();
  come_to_an_end();
  check_deliveries();
  if (world.kernel().open_descriptors() != own_descriptors) {
    world.problem("descriptors were left open");
  }
  Report report{world.problems(), world.kernel().fingerprint(), sides_.size(), bytes,
                world.kernel().calls()};
  return report;
}

}  // namespace

Report run_echo_workload(Decisions& decisions) {
  EchoWorkload workload(decisions);
  return workload.run();
}

}  // namespace millrace::test
