#include "action_stage.h"

#include <millrace/error.h>
#include <millrace/loop_services.h>

#include "support/in_kernel.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace millrace::test {

using namespace std::chrono_literals;

namespace {

const SocketAddress kAddress = SocketAddress::loopback(7000);
const SocketAddress kFramedAddress = SocketAddress::loopback(7001);
const SocketAddress kNobody = SocketAddress::loopback(7002);

bool is_callback_of_connection(Place place) {
  return place <= Place::frame || place == Place::connect;
}

}  // namespace

// The two ends of a plain connection.

class Stage::PlainSide : public ConnectionHandler {
 public:
  explicit PlainSide(Stage& stage) : stage_(stage), watch_(stage.watch_) {}
  void on_peer_end(Connection& c) override {
    watch_.peer_ended(c);
    c.close();
  }
  void on_close(Connection& c, std::error_code why) override { watch_.closed(c, why); }

 protected:
  Stage& stage_;
  Watch& watch_;
};

class Stage::PlainServerSide final : public PlainSide {
 public:
  using PlainSide::PlainSide;
  void on_open(Connection& c) override {
    const Side& side = watch_.opened(c, false);
    if (++stage_.opened_ == 1) {
      stage_.bystander_ref_ = c.ref();
    } else {
      stage_.victim_ref_ = c.ref();
      stage_.victim_stream_ = side.stream;
    }
    watch_.send(c, 100, Watch::How::view);
    stage_.act_on_victim(Place::open, c);
  }
  void on_data(Connection& c, ReceiveBuffer& in) override {
    const bool first = watch_.side_of(c).received == 0;
    watch_.arrived(c, in.view());
    watch_.send(c, in.size(), Watch::How::together);
    if (first) watch_.send(c, 60'000, Watch::How::owned);  // far above the watermark
    stage_.act_on_victim(Place::data, c);
    in.consume_all();
  }
  void on_drained(Connection& c) override {
    watch_.side_of(c);
    stage_.act_on_victim(Place::drained, c);
  }
  void on_peer_end(Connection& c) override {
    watch_.peer_ended(c);
    watch_.send(c, 50, Watch::How::shared);
    stage_.act_on_victim(Place::peer_end, c);
    c.close();
  }
  void on_close(Connection& c, std::error_code why) override {
    Side& side = watch_.closed(c, why);
    if (c.id() != stage_.victim_ref_.id()) return;  // get() says nothing any more
    if (stage_.place_ == Place::close && !stage_.acted_) stage_.target_side_ = &side;
    stage_.act(Place::close, &c);
  }
};

class Stage::PlainClientSide final : public PlainSide {
 public:
  using PlainSide::PlainSide;
  void on_open(Connection& c) override {
    watch_.opened(c, true);
    watch_.send(c, 3'000, Watch::How::view);
    if (stage_.victim_ && stage_.victim_->connection() == &c) {
      if (stage_.place_ == Place::connect) stage_.act(Place::connect, &c);
    }
  }
  void on_data(Connection& c, ReceiveBuffer& in) override {
    watch_.arrived(c, in.view());
    in.consume_all();
  }
};

// The two ends of a framed one.

class Stage::FramedSide : public FramedHandler {
 public:
  explicit FramedSide(Stage& stage) : stage_(stage), watch_(stage.watch_) {}
  void on_frames_end(FramedConnection& c) override {
    watch_.peer_ended(c.connection());
    c->close();
  }
  void on_close(Connection& c, std::error_code why) override { watch_.closed_uncompared(c, why); }

 protected:
  Stage& stage_;
  Watch& watch_;
};

class Stage::FramedServerSide final : public FramedSide {
 public:
  using FramedSide::FramedSide;
  void on_open(Connection& c) override {
    stage_.victim_stream_ = watch_.opened(c, false).stream;
    stage_.victim_ref_ = c.ref();
  }
  void on_frame(FramedConnection& c, ByteView frame) override {
    watch_.side_of(c.connection());
    c.send_frame(frame);
    stage_.act_on_victim(Place::frame, c.connection());
  }
};

class Stage::FramedClientSide final : public FramedSide {
 public:
  using FramedSide::FramedSide;
  void on_open(Connection& c) override {
    watch_.opened(c, true);
    for (const std::size_t n : {3'000, 0, 10}) framed(c).send_frame(pattern(n, 0, n));
  }
  void on_frame(FramedConnection& c, ByteView frame) override {
    watch_.side_of(c.connection());
    if (frame.size() < kMuch && frame.text() != pattern(frame.size(), 0, frame.size())) {
      watch_.problem("a frame is not as it was sent");
    }
  }
  void on_bad_frame(FramedConnection&, const FrameError& e) override {
    watch_.problem("the stream of frames is broken: " + e.text());
  }
};

// After set_handler(): of whatever it was, the bytes go back.
class Stage::SwitchedSide final : public PlainSide {
 public:
  SwitchedSide(Stage& stage, bool framed) : PlainSide(stage), framed_(framed) {}
  void on_data(Connection& c, ReceiveBuffer& in) override {
    if (framed_ || watch_.side_of(c).is_client) {
      if (framed_) c.send(in.view());
      if (!framed_) watch_.arrived(c, in.view());
    } else {
      // What was seen and not consumed is seen again.
      watch_.arrived(c, in.view());
      watch_.send(c, in.size(), Watch::How::view);
    }
    in.consume_all();
  }
  void on_peer_end(Connection& c) override {
    // The one before may have heard of it too.
    watch_.side_of(c).peer_ended = true;
    c.close();
  }
  void on_close(Connection& c, std::error_code why) override {
    framed_ ? watch_.closed_uncompared(c, why) : watch_.closed(c, why);
  }

 private:
  const bool framed_;
};

class Stage::Nobody final : public PlainSide {
 public:
  using PlainSide::PlainSide;
  void on_data(Connection&, ReceiveBuffer&) override { watch_.problem("data out of nowhere"); }
  void on_connect_failed(std::error_code) override {
    stage_.act(Place::connect_failed, stage_.target());
  }
};

Stage::Stage(Place place, const Action& action, std::uint64_t seed)
    : place_(place), action_(action), decisions_(seed), world_(decisions_, sim_options(seed)) {
  watch_.allow_all();
  watch_.hook_exceptions(loop_);
}

SimOptions Stage::sim_options(std::uint64_t seed) {
  SimOptions options;
  options.send_buffer = options.receive_buffer = 16 * 1024;
  options.latency_least = 10us;
  options.latency_most = seed == 1 ? Duration(10us) : Duration(3ms);
  options.call = 200ns;
  options.faults = SimFaults::harmless();
  return options;
}

// What actions need.

void Stage::send(Connection& c, std::size_t n) {
  if (place_ == Place::frame) {
    static const std::string kFrame(kMuch, 'f');
    const auto payload = n < kMuch ? pattern(n, 0, n) : std::string_view(kFrame);
    return static_cast<void>(framed_server_side_->framed(c).send_frame(payload));
  }
  const InKernel in_kernel;
  Side* side = watch_.is_open(c) ? &watch_.side_of(c) : nullptr;
  std::string bytes;
  while (bytes.size() < n) {
    const std::uint64_t at = (side ? side->accepted : 0) + bytes.size();
    bytes += pattern(side ? side->stream : 0, at, n - bytes.size());
  }
  const auto taken = [&] { return c.queued_bytes() + c.stats().bytes_sent; };
  const std::uint64_t before = taken();
  c.send(ByteView(bytes));
  if (side) side->accepted += taken() - before;
}

void Stage::switch_handler(Connection& c) {
  switched_ = std::make_unique<SwitchedSide>(*this, place_ == Place::frame);
  c.set_handler(*switched_);
}

void Stage::start_timers(Connection& c) {
  for (int i = 0; i < 4; ++i) {
    action_timers_.push_back(std::make_unique<Timer>(loop_, [this, i, ref = c.ref()] {
      if (i == 1) problem("a cancelled timer fires");
      if (Connection* there = ref.get()) send(*there, 1);
      action_timers_[static_cast<std::size_t>(i)].reset();  // the running one
    }));
    action_timers_.back()->start(std::chrono::milliseconds(i));
  }
  action_timers_[1]->cancel();
  action_timers_[3].reset();
  running_timer_.reset();  // of this callback, if it is the timer's
}

void Stage::post_tasks(Connection& c) {
  c.ref().post([this](Connection& later) { send(later, 1); });
  loop_.post([this] {
    loop_.post([this] { loop_.defer([] {}); });
    loop_.defer([] {});
  });
  loop_.defer([this, ref = c.ref()] {
    if (Connection* later = ref.get()) send(*later, 1);
  });
}

// The run.

void Stage::act(Place here, Connection* c) {
  if (here != place_ || std::exchange(acted_, true)) return;
  if (!c) return problem("there is no connection to act upon");
  if (watch_.is_open(*c)) target_side_ = &watch_.side_of(*c);
  action_.perform(*this, *c);
}

void Stage::plan(Duration at, Function<void()> step) {
  plan_.emplace_back(loop_, std::move(step)).start(at);
}

void Stage::set_up() {
  ServerOptions options;
  options.connection.limits.high_watermark_bytes = 6'000;
  server_.emplace(
      loop_,
      [this] {
        if (++made_handlers_ == 2) act(Place::accept, target());
        return std::make_unique<PlainServerSide>(*this);
      },
      options);
  server_->listen(kAddress);
  client_side_ = std::make_unique<PlainClientSide>(*this);
  bystander_.emplace(loop_, *client_side_);
  bystander_->connect(kAddress);
  if (place_ == Place::frame) {
    framed_server_side_ = std::make_unique<FramedServerSide>(*this);
    framed_client_side_ = std::make_unique<FramedClientSide>(*this);
    framed_server_.emplace(loop_, *framed_server_side_);
    framed_server_->listen(kFramedAddress);
    framed_victim_.emplace(loop_, *framed_client_side_);
    plan(50ms, [this] { framed_victim_->connect(kFramedAddress); });
  } else {
    victim_.emplace(loop_, *client_side_);
    plan(50ms, [this] { victim_->connect(kAddress); });
  }
  nobody_ = std::make_unique<Nobody>(*this);
  refused_.emplace(loop_, *nobody_);
  plan(100ms, [this] { refused_->connect(kNobody); });
  running_timer_.emplace(loop_, [this] { act(Place::timer, target()); });
  running_timer_->start(1s);
  plan(1s, [this] {
    loop_.post([this] { act(Place::posted, target()); });
    loop_.defer([this] { act(Place::deferred, target()); });
  });
  plan(2s, [this] {
    if (victim_ && victim_->connection()) send(*victim_->connection(), 100);
  });
  plan(3s, [this] {
    if (victim_ && victim_->connection()) victim_->connection()->end();
    if (framed_victim_ && framed_victim_->connection()) framed_victim_->connection()->end();
  });
  plan(4s, [this] {
    if (bystander_->connection()) bystander_->connection()->end();
  });
  // What was paused, and what nobody ends.
  plan(20s, [this] {
    for (Connection* c : world_.live()) c->resume_reading();
  });
}

std::vector<std::string> Stage::run() {
  const InKernel in_kernel;
  set_up();
  world_.run_for(60s);
  if (world_.live_count() > 0) problem(std::to_string(world_.live_count()) + " connections hang");
  if (!acted_) problem("the callback did not come");
  check();
  plan_.clear();
  running_timer_.reset();
  action_timers_.clear();
  refused_.reset();
  bystander_.reset();
  victim_.reset();
  framed_victim_.reset();
  server_.reset();
  framed_server_.reset();
  if (world_.problems().empty()) live_on();
  watch_.check_streams();
  if (loop_.services().blocks().live_blocks() > 0) problem("buffers are still in use");
  bystander_ref_ = victim_ref_ = {};  // what they share with the loop outlives it
  world_.remove_loops();
  if (world_.kernel().open_descriptors() > 0) problem("descriptors were left open");
  if (mappings_.bytes() != 0) problem("mapped memory was not given back");
  return world_.problems();
}

void Stage::live_on() {
  check_serves(watch_, loop_);
  world_.run_for(5s);
  if (loop_.next_timeout()) problem("the loop is not quiet");
}

// The model.

void Stage::check() {
  if (watch_.exceptions() != (action_.effect == Effect::throws ? 1u : 0u)) {
    problem(std::to_string(watch_.exceptions()) + " exceptions were reported");
  }
  for (const auto& side : watch_.sides()) check_side(*side);
}

void Stage::check_side(const Side& side) {
  const auto allowed = reasons_for(side);
  if (std::find(allowed.begin(), allowed.end(), side.why) == allowed.end()) {
    problem(std::string(side.is_client ? "client" : "server") + " side of " +
            (&side == target_side_           ? "the target"
             : side.stream == victim_stream_ ? "the victim"
                                             : "the bystander") +
            " ended so: " + (side.why ? side.why.message() : std::string("in order")));
  }
  if (action_.effect != Effect::none || side.why) return;
  // Nothing has cut it off, and it has not closed before it had heard all: all has arrived.
  for (const auto& other : watch_.sides()) {
    if (other->stream != side.stream || other->is_client == side.is_client) continue;
    if (side.received < other->accepted && (side.peer_ended || &side != target_side_)) {
      problem("stream " + std::to_string(side.stream) + ": " +
              std::to_string(other->accepted - side.received) + " bytes did not arrive");
    }
  }
}

std::vector<std::error_code> Stage::reasons_for(const Side& side) const {
  const std::error_code in_order;
  const std::vector<std::error_code> heard_of{in_order, system_error_code(ECONNRESET),
                                              system_error_code(EPIPE)};
  const bool is_target = &side == target_side_;
  const bool of_victim = side.stream == victim_stream_;
  // on_close has come: what follows changes nothing.
  if (is_target && place_ == Place::close) return {in_order};
  const bool is_targets_peer = target_side_ && side.stream == target_side_->stream && !is_target;
  switch (action_.effect) {
    case Effect::none:
      break;
    case Effect::aborts:
      if (is_target) return {error::aborted};
      if (is_targets_peer) return heard_of;
      break;
    case Effect::gives_reason:
      if (is_target) return {error::idle_timeout};
      break;
    case Effect::throws:
      if (is_target && is_callback_of_connection(place_)) return {error::handler_exception};
      if (is_targets_peer || place_ == Place::accept) return heard_of;
      break;
    case Effect::destroys_server:
      if (is_of_acted_server(side)) {
        if (is_target) return {error::owner_destroyed};
        return {in_order, error::owner_destroyed};
      }
      if (is_target && client_destroyed_) return {error::owner_destroyed};
      if (!side.is_client) break;
      if (client_destroyed_) return {in_order, error::owner_destroyed, heard_of[1], heard_of[2]};
      if (place_ != Place::frame || of_victim) return heard_of;
      break;
    case Effect::destroys_client:
      if (is_target && side.is_client) return {error::owner_destroyed};
      if (of_victim || victim_stream_ == 0) {
        if (side.is_client) return {in_order, error::owner_destroyed};
        return heard_of;
      }
      break;
    case Effect::drains:
      if (is_of_acted_server(side)) return {in_order, error::drain_deadline};
      if (place_ != Place::frame || of_victim) return heard_of;
      break;
    case Effect::stops_accepting:
      if (is_target && place_ == Place::connect) return heard_of;  // was not accepted yet
      break;
  }
  return {in_order};
}

}  // namespace millrace::test
