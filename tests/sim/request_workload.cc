#include "request_workload.h"

#include <millrace/error.h>
#include <millrace/framed_client.h>
#include <millrace/framed_server.h>
#include <millrace/timer.h>

#include "connection_core.h"
#include "stream_model.h"
#include "support/sim/sim_world.h"
#include "workload_setup.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

constexpr Duration kRequestsActive = 20s;
constexpr Duration kRequestsPatience = 900s;
constexpr Duration kRequestsLatencyMost = 20ms;
constexpr std::size_t kIdBytes = 8;
constexpr std::size_t kLargestPayload = 40'000;

// The bytes of a request and of its reply follow from its number.
std::string message(std::uint64_t id, bool reply) {
  const std::uint64_t stream = id * 2 + (reply ? 1 : 0);
  const std::size_t n = (id * 2654435761u) % (id % 7 == 0 ? kLargestPayload : 200);
  std::string made(reinterpret_cast<const char*>(&id), kIdBytes);
  made += pattern(stream, 0, n);
  return made;
}

std::uint64_t id_of(ByteView frame) {
  std::uint64_t id = 0;
  if (frame.size() >= kIdBytes) std::memcpy(&id, frame.data(), kIdBytes);
  return id;
}

// What both sides do about being opened and closed.
struct Life {
  SimWorld& world;
  ConnectionOptions options;
  bool is_client;
  std::uint64_t opened = 0;

  Side& open(Connection& c) {
    world.opened(c);
    Side& side = c.emplace_context<Side>();
    side.stream = ++opened;
    side.is_client = is_client;
    side.opened = true;
    return side;
  }
  void close(Connection& c, std::error_code why) {
    world.closed(c);
    auto& side = *c.context<Side>();
    side.accepted = c.stats().bytes_sent + c.queued_bytes();
    check_end(world, side, c, why, options);
  }
  // A Unix socket has no reset: who is cut off sees an end.
  void bad_frame(FramedConnection& c, const FrameError& error) {
    const bool may_be_cut = ConnectionCore::of(c.connection()).over_unix();
    if (may_be_cut && error.code == error::frame_truncated) return;
    world.problem("a stream of frames that makes no sense");
  }
};

class Answering final : public FramedHandler {
 public:
  Answering(SimWorld& world, const ConnectionOptions& options, bool in_order)
      : life_{world, options, false}, in_order_(in_order) {}

  void calm() { calm_ = true; }
  Side& side(Connection& c) { return *c.context<Side>(); }

  void drains(bool now) { draining_ = now; }
  void on_open(Connection& c) override { life_.open(c).was_drained = draining_; }
  void on_frame(FramedConnection& c, ByteView frame) override {
    const std::uint64_t id = id_of(frame);
    if (frame.text() != message(id, false)) {
      return life_.world.problem("a request of " + std::to_string(frame.size()) +
                                 " bytes that nobody sent");
    }
    Decisions& decisions = life_.world.decisions();
    if (!calm_ && decisions.chance(3)) return act(c.connection());
    if (in_order_ || decisions.below(2) == 0) {
      c.send_frame(message(id, true));
    } else {
      answer_later(c, id);
    }
  }
  void on_frames_end(FramedConnection& c) override {
    side(c.connection()).peer_ended = true;
    c->close();
  }
  void on_bad_frame(FramedConnection& c, const FrameError& error) override {
    life_.bad_frame(c, error);
  }
  void on_close(Connection& c, std::error_code why) override { life_.close(c, why); }

 private:
  void answer_later(FramedConnection& c, std::uint64_t id) {
    const auto wait = std::chrono::milliseconds(life_.world.decisions().below(500));
    auto timer = std::make_shared<std::unique_ptr<Timer>>();
    *timer = std::make_unique<Timer>(c->loop(), [this, id, ref = c->ref(), timer] {
      if (Connection* there = ref.get()) framed(*there).send_frame(message(id, true));
      const auto self = std::move(*timer);  // it ends with this callback
    });
    (*timer)->start(wait);
    waiting_.push_back(timer);
  }
  void act(Connection& c) {
    // Who is at the other end of a Unix socket does not vanish.
    const bool over_unix = ConnectionCore::of(c).over_unix();
    switch (life_.world.decisions().below(4)) {
      case 0:
        side(c).did_abort = true;
        return c.abort();
      case 2:
        if (!over_unix) return life_.world.kernel().vanish(c.native_handle());
        [[fallthrough]];
      case 1:
        side(c).did_close = true;
        return c.close();
      default:
        side(c).did_throw = true;
        throw std::runtime_error("an answer that throws");
    }
  }

  Life life_;
  const bool in_order_;
  bool calm_ = false;
  bool draining_ = false;  // its server
  std::vector<std::weak_ptr<std::unique_ptr<Timer>>> waiting_;
};

class Asking final : public FramedHandler {
 public:
  Asking(SimWorld& world, EventLoop& loop, const ClientOptions& options, std::uint64_t first_id,
         std::uint64_t count, std::size_t depth, bool in_order)
      : life_{world, options.connection, true},
        next_(first_id),
        end_(first_id + count),
        depth_(depth),
        in_order_(in_order),
        client_(std::make_unique<FramedClient>(loop, *this, options)),
        impatience_(loop, [this] { give_up(); }) {}

  void start(const SocketAddress& at) { client_->connect(at); }
  bool done() const { return next_ == end_ && unanswered_.empty(); }
  Client& client() { return *client_; }
  std::uint64_t answered_bytes() const { return answered_bytes_; }
  std::uint64_t opened() const { return life_.opened; }

  void on_open(Connection& c) override {
    life_.open(c);
    under_way_.clear();
    // What the connection before this one did not bring.
    for (const std::uint64_t id : unanswered_) ask(c, id);
    fill(c);
  }
  void on_frame(FramedConnection& c, ByteView frame) override {
    const std::uint64_t id = id_of(frame);
    const auto asked = std::find(under_way_.begin(), under_way_.end(), id);
    if (asked == under_way_.end()) {
      return life_.world.problem("a reply to " + std::to_string(id) + ", which was not asked");
    }
    if (in_order_ && asked != under_way_.begin()) life_.world.problem("replies out of order");
    if (frame.text() != message(id, true)) life_.world.problem("a reply with wrong bytes");
    under_way_.erase(asked);
    unanswered_.erase(id);
    answered_bytes_ += frame.size();
    impatience_.start(kAnswerTime);
    fill(c.connection());
  }
  void on_drained(Connection& c) override { fill(c); }
  void on_frames_end(FramedConnection& c) override {
    c->context<Side>()->peer_ended = true;
    c->close();
  }
  void on_bad_frame(FramedConnection& c, const FrameError& error) override {
    life_.bad_frame(c, error);
  }
  void on_close(Connection& c, std::error_code why) override {
    impatience_.cancel();
    life_.close(c, why);
  }

 private:
  static constexpr auto kAnswerTime = 10s;

  void ask(Connection& c, std::uint64_t id) {
    under_way_.push_back(id);
    framed(c).send_frame(message(id, false));
  }
  void fill(Connection& c) {
    while (next_ < end_ && under_way_.size() < depth_ && c.queued_bytes() < 100'000) {
      unanswered_.insert(next_);
      ask(c, next_++);
    }
    if (!under_way_.empty()) {
      impatience_.start(kAnswerTime);
    } else if (next_ == end_) {
      c.context<Side>()->did_close = true;
      client_->close();
    }
  }
  // The reply does not come: a new connection has to bring it.
  void give_up() {
    Connection* c = client_->connection();
    if (!c) return;
    c->context<Side>()->did_abort = true;
    c->abort();
  }

  Life life_;
  std::uint64_t next_;
  const std::uint64_t end_;
  const std::size_t depth_;
  const bool in_order_;
  std::set<std::uint64_t> unanswered_;
  std::deque<std::uint64_t> under_way_;  // on this connection, in the order of asking
  std::uint64_t answered_bytes_ = 0;
  std::unique_ptr<FramedClient> client_;
  Timer impatience_;
};

class RequestWorkload {
 public:
  RequestWorkload(Decisions& by, const SocketAddress& address)
      : decisions_(by),
        world_(by, random_sim_options(by, kRequestsLatencyMost)),
        in_order_(by.below(2) == 0),
        address_(address) {}

  Report run();

 private:
  void start_server();
  void destroy_server();
  void start_clients();
  void act();
  bool all_done() const;
  void finish();

  Decisions& decisions_;
  SimWorld world_;
  const bool in_order_;
  ServerOptions server_options_;
  SocketAddress address_;
  std::unique_ptr<Answering> answering_;
  std::unique_ptr<FramedServer> server_;
  std::vector<std::unique_ptr<Asking>> asking_;
};

void RequestWorkload::start_server() {
  answering_->drains(false);
  server_ = std::make_unique<FramedServer>(world_.loop(0), *answering_, server_options_);
  listen_despite_faults(*server_, address_);
}

void RequestWorkload::destroy_server() {
  for (Connection* c : world_.live()) {
    if (Side& side = *c->context<Side>(); !side.is_client) side.was_destroyed = true;
  }
  server_.reset();
}

void RequestWorkload::start_clients() {
  ClientOptions options;
  options.reconnect.enabled = true;
  options.reconnect.longest_delay = 2s;
  options.connect_timeout = 3s;
  if (address_.path().empty()) options.socket.user_timeout = 15s;
  options.connection = server_options_.connection;
  const std::uint64_t clients = 1 + decisions_.below(6);
  for (std::uint64_t i = 0; i < clients; ++i) {
    asking_.push_back(std::make_unique<Asking>(
        world_, world_.loop(decisions_.below(world_.loop_count())), options, 1 + i * 100'000,
        1 + decisions_.size_up_to(150), 1 + decisions_.below(20), in_order_));
    asking_.back()->start(address_);
  }
}

void RequestWorkload::act() {
  switch (decisions_.below(6)) {
    case 0:
      world_.run_for(std::chrono::milliseconds(decisions_.below(200)));
      break;
    case 1:
      for (Connection* c : world_.live()) {
        if (Side& side = *c->context<Side>(); !side.is_client) side.was_drained = true;
      }
      answering_->drains(true);
      server_->drain(std::chrono::milliseconds(decisions_.below(1000)));
      break;
    case 2:
      destroy_server();
      break;
    default:
      return;
  }
  // Nobody listens for a while; then somebody does again.
  world_.run_for(std::chrono::milliseconds(decisions_.below(3000)));
  destroy_server();
  start_server();
}

bool RequestWorkload::all_done() const {
  return std::all_of(asking_.begin(), asking_.end(), [](const auto& one) { return one->done(); });
}

void RequestWorkload::finish() {
  world_.kernel().faults() = {};
  answering_->calm();
  if (!world_.run_until([this] { return all_done(); }, kRequestsPatience) &&
      world_.problems().empty()) {
    world_.problem("requests were not answered though nothing fails any more");
  }
  world_.run_until([this] { return world_.live_count() == 0; }, kRequestsPatience);
  if (world_.live_count() > 0 && world_.problems().empty()) {
    world_.problem("connections did not come to an end");
  }
}

Report RequestWorkload::run() {
  for (std::uint64_t i = 1 + decisions_.below(3); i > 0; --i) {
    world_.add_loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  }
  const std::size_t own_descriptors = world_.kernel().open_descriptors();
  constexpr std::array kFaults{SimFaults(), SimFaults::harmless(), SimFaults::harmful()};
  world_.kernel().faults() = kFaults[decisions_.below(kFaults.size())];
  server_options_.connection.limits.high_watermark_bytes = 1 + decisions_.size_up_to(100'000);
  server_options_.connection.timeouts.idle = 30s;
  if (address_.path().empty()) server_options_.listen.socket.user_timeout = 15s;
  answering_ = std::make_unique<Answering>(world_, server_options_.connection, in_order_);
  start_server();
  start_clients();
  const TimePoint end = world_.kernel().after(kRequestsActive);
  while (world_.kernel().now() < end && !all_done() && world_.problems().empty()) {
    if (!world_.step()) break;
    if (decisions_.chance(2)) act();
  }
  finish();
  Report report;
  for (const auto& one : asking_) {
    report.bytes += one->answered_bytes();
    report.connections += one->opened();
  }
  for (Connection* c : world_.live()) c->context<Side>()->was_destroyed = true;
  asking_.clear();
  server_.reset();
  world_.run_for(100s);
  if (world_.kernel().open_descriptors() != own_descriptors) {
    world_.problem("descriptors were left open");
  }
  report.problems = world_.problems();
  report.fingerprint = world_.kernel().fingerprint();
  report.calls = world_.kernel().calls();
  return report;
}

}  // namespace

Report run_request_workload(Decisions& decisions) {
  RequestWorkload workload(decisions, SocketAddress::loopback(0));
  return workload.run();
}

// A path: whoever comes back to it finds what the one before has left.
Report run_unix_request_workload(Decisions& decisions) {
  RequestWorkload workload(decisions, SocketAddress::unix_path("/sim/request"));
  return workload.run();
}

}  // namespace millrace::test
