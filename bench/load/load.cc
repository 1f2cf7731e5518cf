#include "load.h"

#include <millrace/client.h>
#include <millrace/event_loop.h>

#include "meter.h"
#include "progress.h"
#include "session.h"

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <vector>

namespace millrace::bench {
namespace {

using namespace std::chrono_literals;

// Attempts under way at one time: more would overflow the backlog of a careful server, and a SYN
// that is dropped comes back only after a second.
constexpr std::size_t kConnectsAtOnce = 128;
// How long answers may take after the last message was sent.
constexpr auto kAnswerLimit = 5s;

class Run final : public ConnectionHandler {
 public:
  explicit Run(const LoadOptions& options)
      : options_(options),
        tally_{.payload = Payload(options.message_bytes), .verify = options.verify} {
    if (options.framed) {
      framing_.emplace(LengthPrefixOptions{.max_payload_bytes = options.message_bytes});
    }
  }

  LoadResult run();

 private:
  const LengthPrefix* framing() const { return framing_ ? &*framing_ : nullptr; }
  bool open_loop() const { return options_.rate > 0; }

  void on_open(Connection& c) override;
  void on_data(Connection& c, ReceiveBuffer& in) override;
  void on_close(Connection& c, std::error_code why) override;
  void on_connect_failed(std::error_code why) override;

  void connect_all();
  void connect_one();
  void start_sending();
  void send_what_is_due();
  template <class Done>
  void spin_until(Done&& done);
  void pass(std::chrono::nanoseconds length);
  void fail(const std::string& kind) { ++tally_.errors[kind]; }

  LoadOptions options_;
  Tally tally_;
  std::optional<LengthPrefix> framing_;
  EventLoop loop_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<Connection*> sessions_;  // those that send, by session number; null once closed
  std::size_t attempts_under_way_ = 0;
  std::size_t opened_ = 0;
  std::size_t alive_ = 0;    // of the sessions
  bool responding_ = false;  // closed loop: each answer is followed by the next message
  bool closing_ = false;
  std::uint64_t scheduled_ = 0;  // open loop: messages sent since schedule_start_
  TimePoint schedule_start_;
  std::optional<Meter> meter_;  // while measuring
};

void Run::on_open(Connection& c) {
  --attempts_under_way_;
  const std::size_t number = opened_++;
  if (number >= options_.connections) return;  // one of the idle ones
  c.emplace_context<Session>(tally_, number);
  sessions_.push_back(&c);
  ++alive_;
}

void Run::on_data(Connection& c, ReceiveBuffer& in) {
  auto* session = c.context<Session>();
  if (!session) {
    fail("data on an idle connection");
    return in.consume_all();
  }
  // One reading of the clock serves everything that has arrived and what is sent in answer.
  session->receive(c, in, framing(), Clock::now(), responding_ && !open_loop());
}

void Run::on_close(Connection& c, std::error_code why) {
  std::replace(sessions_.begin(), sessions_.end(), &c, static_cast<Connection*>(nullptr));
  if (const auto* session = c.context<Session>()) {
    tally_.under_way -= session->under_way();
    --alive_;
  }
  if (!closing_) fail(why ? "closed: " + why.message() : "closed by the server");
}

void Run::on_connect_failed(std::error_code why) {
  --attempts_under_way_;
  fail("connect: " + why.message());
}

void Run::connect_one() {
  ClientOptions client;
  client.connection.limits.receive_bytes = options_.message_bytes + 1024 * 1024;
  client.connection.limits.high_watermark_bytes = SIZE_MAX;
  client.connection.limits.send_queue_bytes = SIZE_MAX;
  ++attempts_under_way_;
  clients_.push_back(std::make_unique<Client>(loop_, *this, client));
  clients_.back()->connect(options_.server);
}

void Run::connect_all() {
  const std::size_t wanted = options_.connections + options_.idle_connections;
  while (clients_.size() < wanted || attempts_under_way_ > 0) {
    while (clients_.size() < wanted && attempts_under_way_ < kConnectsAtOnce) connect_one();
    loop_.run_once(100ms);
  }
  if (sessions_.empty()) {
    throw std::runtime_error("no connection to " + options_.server.to_string() + ": " +
                             tally_.errors.begin()->first);
  }
}

// Runs the loop until done(), asleep between events or not.
template <class Done>
void Run::spin_until(Done&& done) {
  while (!done()) {
    if (open_loop() && responding_) send_what_is_due();
    // Open loop: the next message is due in less than a timer can tell.
    const bool spin = options_.spin || (open_loop() && responding_);
    loop_.run_once(spin ? 0ms : 20ms);
  }
}

void Run::pass(std::chrono::nanoseconds length) {
  const TimePoint end = Clock::now() + length;
  std::uint64_t done_before = 0;
  spin_until([&] {
    const TimePoint now = Clock::now();
    const std::uint64_t done = tally_.answered + scheduled_;
    if (meter_) meter_->turn(now, done != done_before);
    done_before = done;
    return alive_ == 0 || now >= end;
  });
}

void Run::start_sending() {
  responding_ = true;
  if (open_loop()) {
    schedule_start_ = Clock::now();
    return;
  }
  for (Connection* c : sessions_) {
    for (std::size_t i = 0; c && i < options_.depth; ++i) {
      c->context<Session>()->send(*c, framing(), Clock::now());
    }
  }
}

// Open loop: the k-th message is due at start + k / rate, whatever became of those before it, and
// its latency counts from then: a server that stalls cannot hide it by making us send less.
void Run::send_what_is_due() {
  const std::chrono::duration<double> since = Clock::now() - schedule_start_;
  const auto due = static_cast<std::uint64_t>(since.count() * options_.rate);
  for (; scheduled_ < due; ++scheduled_) {
    Connection* c = sessions_[scheduled_ % sessions_.size()];
    if (!c) continue;
    const std::chrono::duration<double> offset(static_cast<double>(scheduled_) / options_.rate);
    const TimePoint intended =
        schedule_start_ + std::chrono::duration_cast<Clock::duration>(offset);
    c->context<Session>()->send(*c, framing(), intended);
  }
}

LoadResult Run::run() {
  connect_all();
  const Timer progress =
      options_.progress
          ? loop_.every(200ms,
                        [this, line = Progress()]() mutable {
                          line.show(tally_.messages, tally_.messages * options_.message_bytes,
                                    opened_, tally_.errors);
                        })
          : Timer(loop_, [] {});
  start_sending();
  pass(options_.warmup);

  LoadResult result;
  meter_.emplace(options_.server_pid);
  tally_.measuring = true;
  pass(options_.duration);
  tally_.measuring = false;
  meter_->finish(result);
  meter_.reset();

  responding_ = false;
  const TimePoint limit = Clock::now() + kAnswerLimit;
  spin_until([&] { return tally_.under_way == 0 || Clock::now() >= limit; });
  if (tally_.under_way > 0) tally_.errors["answer missing"] += tally_.under_way;

  closing_ = true;
  clients_.clear();
  result.messages = tally_.messages;
  result.total_messages = tally_.answered;
  result.bytes = tally_.messages * options_.message_bytes;
  result.latency = std::move(tally_.latency);
  result.errors = std::move(tally_.errors);
  return result;
}

}  // namespace

double LoadResult::message_rate() const noexcept {
  const std::chrono::duration<double> seconds = elapsed;
  return seconds.count() > 0 ? static_cast<double>(messages) / seconds.count() : 0;
}

double LoadResult::megabyte_rate() const noexcept {
  const std::chrono::duration<double> seconds = elapsed;
  return seconds.count() > 0 ? static_cast<double>(bytes) / seconds.count() / 1e6 : 0;
}

LoadResult run_load(const LoadOptions& options) {
  return Run(options).run();
}

}  // namespace millrace::bench
