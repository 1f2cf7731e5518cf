#include <millrace/check.h>
#include <millrace/client.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/loop_services.h>

#include "address_race.h"
#include "backoff.h"
#include "callback_handler.h"
#include "connection_core.h"
#include "endpoint.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>

namespace millrace {

// Outlives its Client by the rest of the iteration, because a callback that it holds may be
// running.
class Client::Core final : public ConnectionOwner, public Mortal {
 public:
  Core(EventLoop& loop, const ClientOptions& options)
      : ConnectionOwner(options.connection),
        loop_(loop),
        socket_(options.socket),
        reconnect_(options.reconnect),
        queue_limit_(options.queue_bytes),
        backoff_(options.reconnect),
        race_(loop, options,
              [this](UniqueFd socket, const SocketAddress& peer, std::error_code failure) {
                handle_result(std::move(socket), peer, failure);
              }),
        retry_timer_(loop, [this] { attempt_again(); }),
        cancelled_timer_(loop, [this] { report_cancelled(); }) {}

  void use(ConnectionHandler& handler) { handler_ = &handler; }
  void use(std::unique_ptr<ConnectionHandler> handler) {
    MILLRACE_CHECK(handler != nullptr, "a Client needs a handler");
    owned_handler_ = std::move(handler);
    handler_ = owned_handler_.get();
  }

  EventLoop& loop() const noexcept { return loop_; }
  void connect(Endpoint endpoint);
  SendResult send(ByteView first, ByteView second, ByteView third);
  void close();
  void end() noexcept;  // the Client is gone
  State state() const noexcept;
  void on_state_changed(Function<void(State)> callback) {
    on_state_changed_ = std::move(callback);
    replaced_ = true;
  }
  Connection* connection() const noexcept { return first_connection(); }
  unsigned failures() const noexcept { return failures_; }
  void restart_backoff() noexcept { failures_ = 0; }
  std::optional<std::chrono::milliseconds> next_attempt_in() const noexcept;
  std::error_code last_error() const noexcept { return last_error_; }
  std::string attempt_detail() const { return race_.detail(); }
  std::size_t queued_bytes() const noexcept { return queue_.size(); }
  const ClientStats& stats() const noexcept { return stats_; }

 private:
  void attempt();
  void attempt_again();
  void handle_result(UniqueFd socket, const SocketAddress& peer, std::error_code failure);
  void handle_failure(std::error_code why);
  void report_failure(std::error_code why) noexcept;
  void report_cancelled();
  void connection_opened(ConnectionCore& connection) noexcept override { hand_over(connection); }
  void connection_ended(const ConnectionCore& connection) noexcept override;
  void try_again_later() noexcept;
  bool may_try_again(Backoff::Milliseconds wait) const noexcept;
  bool will_connect() const noexcept;
  SendResult keep(ByteView first, ByteView second, ByteView third) noexcept;
  void hand_over(ConnectionCore& connection) noexcept;
  void drop_queue() noexcept;
  void tell_state() noexcept;

  EventLoop& loop_;
  const SocketOptions socket_;
  const ReconnectOptions reconnect_;
  const std::size_t queue_limit_;
  ConnectionHandler* handler_ = nullptr;
  std::unique_ptr<ConnectionHandler> owned_handler_;
  Endpoint endpoint_;
  bool stopped_ = true;    // no reconnect
  bool ended_ = false;     // the Client is gone
  unsigned failures_ = 0;  // in a row; connections that did not last are among them
  TimePoint failing_since_;
  std::error_code last_error_;
  Backoff backoff_;
  AddressRace race_;
  Timer retry_timer_;
  Backoff::Milliseconds wait_{0};  // of the retry timer
  TimePoint waiting_since_;
  Timer cancelled_timer_;  // runs while on_connect_failed with ECANCELED is due
  // What send() keeps for the next connection, how many messages that is, and whether one was
  // refused.
  std::string queue_;
  std::uint64_t queued_messages_ = 0;
  bool refused_ = false;
  ClientStats stats_;
  State told_ = State::idle;  // what on_state_changed knows, or need not be told
  Function<void(State)> on_state_changed_;
  bool replaced_ = false;  // that callback, while it runs
};

void Client::Core::connect(Endpoint endpoint) {
  if (state() != State::idle) throw std::logic_error("Client::connect: it is not idle");
  endpoint.check_options(socket_);
  drop_queue();  // of an on_close that has led here: it was meant for another endpoint
  endpoint_ = std::move(endpoint);
  attempt();
  stopped_ = false;
  failures_ = 0;
  failing_since_ = loop_.now();
  told_ = state();
}

void Client::Core::attempt() {
  race_.start(endpoint_);
  ++stats_.attempts;
}

// Nobody calls this who could be told by an exception: an attempt that finds no memory has failed
// like any other, and the next one follows.
void Client::Core::attempt_again() {
  try {
    attempt();
    tell_state();
  } catch (const std::system_error& e) {  // the loop's resolver could not be made
    ++stats_.attempts;
    handle_failure(e.code());
  } catch (const std::bad_alloc&) {
    ++stats_.attempts;
    handle_failure(std::make_error_code(std::errc::not_enough_memory));
  }
}

void Client::Core::handle_result(UniqueFd socket, const SocketAddress& peer,
                                 std::error_code failure) {
  if (!failure) {
    last_error_ = {};
    ++stats_.connections;  // as on_open will see it
    const int e = ConnectionCore::open(loop_, *this, std::move(socket), peer, *handler_, {});
    if (e == 0) return tell_state();
    --stats_.connections;
    failure = system_error_code(e);
  }
  handle_failure(failure);
}

void Client::Core::handle_failure(std::error_code why) {
  ++failures_;
  ++stats_.failures;
  last_error_ = why;
  // First the wait, then the report: the callback sees the state that it leads to, and may end it.
  try_again_later();
  report_failure(why);
}

void Client::Core::report_failure(std::error_code why) noexcept {
  try {
    handler_->on_connect_failed(why);
  } catch (...) {
    loop_.services().report_exception(std::current_exception(), "on_connect_failed");
  }
  tell_state();
}

void Client::Core::connection_ended(const ConnectionCore& connection) noexcept {
  last_error_ = connection.end_reason();
  if (state() != State::idle) return tell_state();  // on_close has begun something new
  if (connection.age() >= reconnect_.stable_after) {
    failures_ = 0;
    failing_since_ = loop_.now();
  } else {
    ++failures_;
  }
  try_again_later();
  tell_state();
}

bool Client::Core::may_try_again(Backoff::Milliseconds wait) const noexcept {
  if (!reconnect_.enabled || stopped_) return false;
  if (reconnect_.max_attempts != 0 && failures_ >= reconnect_.max_attempts) return false;
  return reconnect_.give_up_after.count() == 0 ||
         (loop_.now() - failing_since_) + wait <= reconnect_.give_up_after;
}

void Client::Core::try_again_later() noexcept {
  wait_ = backoff_.after(failures_);
  waiting_since_ = loop_.now();
  if (may_try_again(wait_)) return retry_timer_.start(wait_);
  stopped_ = true;
  drop_queue();
}

std::optional<std::chrono::milliseconds> Client::Core::next_attempt_in() const noexcept {
  if (!retry_timer_.active()) return std::nullopt;
  const Duration left = Delay(wait_).value() - (loop_.now() - waiting_since_);
  return std::chrono::ceil<std::chrono::milliseconds>(std::max(left, Duration::zero()));
}

// Whether what is sent now may still go somewhere: not stopped while idle is only an on_close.
bool Client::Core::will_connect() const noexcept {
  return !stopped_ && (reconnect_.enabled || state() == State::connecting);
}

SendResult Client::Core::send(ByteView first, ByteView second, ByteView third) {
  ConnectionCore* connection = first_connection();
  if (connection && connection->open_for_sending() && queue_.empty()) {
    return connection->send_bytes(first, second, third);
  }
  const bool opening = connection && connection->open_for_sending();  // inside its on_open
  return opening || will_connect() ? keep(first, second, third) : SendResult::closed;
}

SendResult Client::Core::keep(ByteView first, ByteView second, ByteView third) noexcept {
  const std::size_t total = first.size() + second.size() + third.size();
  if (total > queue_limit_) return SendResult::too_large;
  if (total > queue_limit_ - queue_.size()) {
    refused_ = true;
    return SendResult::refused;
  }
  try {
    if (queue_.capacity() - queue_.size() < total) {
      queue_.reserve(std::min(queue_limit_, std::max(queue_.size() + total, 2 * queue_.size())));
    }
  } catch (const std::bad_alloc&) {
    refused_ = true;
    return SendResult::refused;
  }
  for (const ByteView part : {first, second, third}) queue_.append(part.text());
  ++queued_messages_;
  return SendResult::sent;
}

void Client::Core::hand_over(ConnectionCore& connection) noexcept {
  if ((queue_.empty() && !refused_) || !connection.open_for_sending()) return;
  if (!connection.send_kept(queue_, refused_)) return;  // no memory: for the next one
  std::string().swap(queue_);
  queued_messages_ = 0;
  refused_ = false;
}

void Client::Core::drop_queue() noexcept {
  stats_.dropped_messages += std::exchange(queued_messages_, 0);
  stats_.dropped_bytes += queue_.size();
  std::string().swap(queue_);
  refused_ = false;
}

void Client::Core::close() {
  const State before = state();
  stopped_ = true;
  retry_timer_.cancel();
  if (ConnectionCore* connection = first_connection()) {
    hand_over(*connection);  // in on_open: what was sent before close() still arrives
    connection->close();
  }
  drop_queue();
  if (race_.active()) {
    race_.cancel();
    cancelled_timer_.start(std::chrono::milliseconds(0));  // never from inside this call
  }
  if (state() != before) told_ = state();
}

void Client::Core::report_cancelled() {
  ++stats_.failures;
  last_error_ = std::make_error_code(std::errc::operation_canceled);
  report_failure(last_error_);
}

void Client::Core::end() noexcept {
  ended_ = true;
  end_connections(error::owner_destroyed);
  // Only now: an on_close may have called connect().
  stopped_ = true;
  retry_timer_.cancel();
  cancelled_timer_.cancel();
  race_.cancel();
}

Client::State Client::Core::state() const noexcept {
  if (first_connection()) return State::connected;
  if (race_.active() || cancelled_timer_.active()) return State::connecting;
  return retry_timer_.active() ? State::waiting : State::idle;
}

void Client::Core::tell_state() noexcept {
  const State now = state();
  if (ended_ || now == told_) return;
  told_ = now;
  if (!on_state_changed_) return;
  // It may replace itself, or be the end of us.
  Function<void(State)> callback = std::move(on_state_changed_);
  on_state_changed_ = {};
  replaced_ = false;
  try {
    callback(now);
  } catch (...) {
    loop_.services().report_exception(std::current_exception(), "on_state_changed");
  }
  if (!replaced_) on_state_changed_ = std::move(callback);
}

Client::Client(EventLoop& loop, ConnectionHandler& handler, const ClientOptions& options)
    : core_(std::make_unique<Core>(loop, options)) {
  core_->use(handler);
}

Client::Client(EventLoop& loop, std::unique_ptr<ConnectionHandler> handler,
               const ClientOptions& options)
    : core_(std::make_unique<Core>(loop, options)) {
  core_->use(std::move(handler));
}

Client::Client(EventLoop& loop, Callbacks callbacks, const ClientOptions& options)
    : Client(loop, std::make_unique<CallbackHandler>(std::move(callbacks)), options) {}

Client::~Client() {
  core_->end();
  LoopServices& services = core_->loop().services();
  services.bury(std::move(core_));
}

void Client::connect(std::string_view target) {
  core_->connect(Endpoint::parse(target));
}
void Client::connect(const SocketAddress& address) {
  core_->connect(Endpoint::of({&address, 1}));
}
void Client::connect(std::span<const SocketAddress> addresses) {
  core_->connect(Endpoint::of(addresses));
}
void Client::close() {
  core_->close();
}
SendResult Client::send_together(ByteView first, ByteView second, ByteView third) {
  return core_->send(first, second, third);
}
std::size_t Client::queued_bytes() const noexcept {
  return core_->queued_bytes();
}
Client::State Client::state() const noexcept {
  return core_->state();
}
void Client::on_state_changed(Function<void(State)> callback) {
  core_->on_state_changed(std::move(callback));
}
Connection* Client::connection() const noexcept {
  return core_->connection();
}
unsigned Client::failed_attempts() const noexcept {
  return core_->failures();
}
void Client::restart_backoff() noexcept {
  core_->restart_backoff();
}
std::optional<std::chrono::milliseconds> Client::next_attempt_in() const noexcept {
  return core_->next_attempt_in();
}
std::error_code Client::last_error() const noexcept {
  return core_->last_error();
}
std::string Client::attempt_detail() const {
  return core_->attempt_detail();
}
ClientStats Client::stats() const noexcept {
  return core_->stats();
}

}  // namespace millrace
