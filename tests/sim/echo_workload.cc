#include "echo_workload.h"

#include <millrace/client.h>
#include <millrace/error.h>
#include <millrace/server.h>

#include "echo_handler.h"
#include "workload_setup.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

// How long the workload does as it likes; then faults end, and all has to come to an end in order.
constexpr Duration kEchoActive = 10s;
// When the decisions are exhausted before: what is under way goes on undisturbed for so long.
constexpr Duration kUndisturbed = 1s;
constexpr Duration kEchoPatience = 600s;
constexpr Duration kEchoLatencyMost = 50ms;

class EchoWorkload final : private EchoSetting {
 public:
  enum class Kind { plain, relayed, over_unix };
  EchoWorkload(Decisions& by, Kind kind)
      : EchoSetting(by, random_sim_options(by, kEchoLatencyMost)), relayed_(kind == Kind::relayed) {
    over_unix = kind == Kind::over_unix;
  }

  Report run();

 private:
  // A socket that is no connection of ours and behaves as it likes.
  struct Bare {
    UniqueFd fd;
    std::uint64_t stream;
    std::uint64_t sent = 0;
  };

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

  Side* other_side(const Side& side);
  void start_relay();

  const bool relayed_;
  EchoHandler server_handler_{*this, false};
  EchoHandler client_handler_{*this, true};
  std::unique_ptr<Server> server_;
  SocketAddress address_;  // of the server
  SocketAddress front_;    // where clients connect to: the relay, if there is one
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<Bare> bare_;
};

ServerOptions EchoWorkload::server_options() {
  ServerOptions made;
  made.max_connections = 1 + decisions.below(20);
  made.listen.backlog = 1 + static_cast<int>(decisions.below(20));
  auto& limits = made.connection.limits;
  limits.high_watermark_bytes = 1 + decisions.size_up_to(200'000);
  if (decisions.below(3) == 0) {
    limits.send_queue_bytes = 1'000 + decisions.size_up_to(200'000);
    constexpr std::array kOverflows{Overflow::close, Overflow::refuse, Overflow::drop_newest};
    limits.overflow = kOverflows[decisions.below(3)];
  }
  auto& timeouts = made.connection.timeouts;
  if (decisions.below(3) == 0)
    timeouts.idle = std::chrono::milliseconds(100 + decisions.below(20'000));
  if (decisions.below(6) == 0) {
    timeouts.lifetime = std::chrono::milliseconds(100 + decisions.below(20'000));
  }
  if (decisions.below(6) == 0) {
    timeouts.first_byte = std::chrono::milliseconds(100 + decisions.below(5'000));
    timeouts.message = std::chrono::milliseconds(100 + decisions.below(5'000));
  }
  if (over_unix && decisions.below(4) != 0) {
    limits.receive_descriptors = 1 + decisions.size_up_to(1'000);
    limits.send_descriptors = 1 + decisions.size_up_to(1'000);
  }
  if (over_unix) return made;
  made.listen.socket.user_timeout = 20s;
  made.listen.socket.keepalive_idle = 20s;
  return made;
}

ClientOptions EchoWorkload::client_options() {
  ClientOptions made;
  made.connection = options.connection;
  made.connect_timeout = 5s;
  if (over_unix) {
    made.local = SocketAddress::unix_abstract({});
  } else {
    made.socket.user_timeout = 20s;
    made.socket.keepalive_idle = 20s;
  }
  made.reconnect.enabled = decisions.below(2) == 0;
  made.reconnect.max_attempts = 20;
  return made;
}

Side* EchoWorkload::other_side(const Side& side) {
  for (const auto& each : sides) {
    if (each->stream == side.stream && each->is_client != side.is_client) return each.get();
  }
  return nullptr;
}

void EchoWorkload::start_server() {
  draining = false;
  server_ = std::make_unique<Server>(world.loop(0), server_handler_, options);
  listen_despite_faults(*server_, address_);
}

// Out of memory or descriptors at the beginning there is none, and clients go to the server.
void EchoWorkload::start_relay() {
  front_ = address_;
  if (!relayed_) return;
  try {
    relay = std::make_unique<SimRelay>(world, world.loop(decisions.below(world.loop_count())),
                                       options, address_);
    front_ = relay->address();
  } catch (const std::system_error&) {
    relay.reset();
  }
}

void EchoWorkload::start_client() {
  auto& loop = world.loop(decisions.below(world.loop_count()));
  auto& client =
      clients_.emplace_back(std::make_unique<Client>(loop, client_handler_, client_options()));
  client->connect(front_);
}

void EchoWorkload::start_bare() {
  UniqueFd fd(::socket(over_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  if (!fd) return;
  const SocketAddress any = SocketAddress::unix_abstract({});
  if (over_unix) ::bind(fd.get(), any.native(), any.native_size());
  ::connect(fd.get(), front_.native(), front_.native_size());
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&own), &size);
  bare_.push_back({std::move(fd), stream_of(SocketAddress::from_native(&own, size))});
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
      for (const auto& side : sides) side->was_destroyed |= side->is_client;
      clients_.erase(clients_.begin() +
                     static_cast<std::ptrdiff_t>(decisions.below(clients_.size())));
      return;
    case 4:
      if (decisions.below(10) != 0) return;
      for (const auto& side : sides) side->was_destroyed |= !side->is_client;
      server_.reset();
      return start_server();
    case 5:
      if (decisions.below(10) != 0) return;
      for (const auto& side : sides) side->was_drained |= !side->is_client;
      draining = true;
      server_->drain(std::chrono::milliseconds(decisions.below(5'000)));
      return;
    case 6:
      if (world.live().empty()) return;
      return EchoHandler::disturb(*this, *world.live()[decisions.below(world.live().size())]);
    default:
      if (!bare_.empty()) act_bare();
      return;
  }
}

void EchoWorkload::be_active() {
  TimePoint end = world.kernel().after(kEchoActive);
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
  for (const auto& side : sides) side->did_close = side->did_close || !side->closed;
  for (const auto& client : clients_) client->close();
  const bool over = world.run_until([&] { return world.live_count() == 0; }, kEchoPatience);
  if (!over && world.problems().empty()) {
    world.problem(std::to_string(world.live_count()) + " connections did not come to an end");
  }
  for (const auto& side : sides) side->was_destroyed = true;
  clients_.clear();
  relay.reset();
  server_.reset();
  world.run_for(200s);
}

// Whatever one side sent in an orderly life, and nobody on the other side gave up, has arrived.
void EchoWorkload::check_deliveries() {
  for (const auto& side : sides) {
    if (!side->closed) world.problem("a connection without on_close");
    const Side* other = other_side(*side);
    if (!other) continue;
    if (other->received > side->accepted) world.problem("more has arrived than was sent");
    if (other->descriptors_received > side->descriptors_sent) {
      world.problem("more descriptors have arrived than were sent");
    }
    const bool heard_out = other->orderly() && other->peer_ended && !other->did_abort;
    if (side->orderly() && heard_out && side->lost == 0 && other->received != side->accepted) {
      world.problem("stream " + std::to_string(side->stream) + ": " +
                    std::to_string(side->accepted - other->received) + " bytes did not arrive");
    }
    if (side->orderly() && heard_out && options.connection.limits.receive_descriptors > 0 &&
        other->descriptors_received != side->descriptors_sent) {
      world.problem("stream " + std::to_string(side->stream) + ": descriptors did not arrive");
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
  options = server_options();
  address_ = over_unix ? SocketAddress::unix_abstract({}) : SocketAddress::loopback(0);
  start_server();
  start_relay();
  for (std::uint64_t i = 1 + decisions.below(6); i > 0; --i) start_client();
  be_active();
  come_to_an_end();
  check_deliveries();
  if (world.kernel().open_descriptors() != own_descriptors) {
    world.problem("descriptors were left open");
  }
  Report report{world.problems(), world.kernel().fingerprint(), sides.size(), bytes,
                world.kernel().calls()};
  return report;
}

}  // namespace

Report run_echo_workload(Decisions& decisions) {
  EchoWorkload workload(decisions, EchoWorkload::Kind::plain);
  return workload.run();
}

Report run_relay_workload(Decisions& decisions) {
  EchoWorkload workload(decisions, EchoWorkload::Kind::relayed);
  return workload.run();
}

Report run_unix_echo_workload(Decisions& decisions) {
  EchoWorkload workload(decisions, EchoWorkload::Kind::over_unix);
  return workload.run();
}

}  // namespace millrace::test
