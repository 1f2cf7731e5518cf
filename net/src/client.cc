#include <millrace/check.h>
#include <millrace/client.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/loop_services.h>

#include "apply_socket_options.h"
#include "callback_handler.h"
#include "connection_core.h"
#include "connector.h"
#include "syscalls.h"

#include <algorithm>
#include <cstdint>
#include <new>
#include <random>
#include <stdexcept>
#include <utility>

namespace millrace {

namespace {

// For jitter: it need not be more than different from client to client.
std::uint32_t random_seed() noexcept {
  std::uint32_t seed = 1;
  static_cast<void>(sys::getrandom(&seed, sizeof seed));
  return seed;
}

}  // namespace

// Outlives its Client by the rest of the iteration, because a callback that it holds may be
// running.
class Client::Core final : public ConnectionOwner, public Mortal {
 public:
  Core(EventLoop& loop, const ClientOptions& options)
      : ConnectionOwner(options.connection),
        loop_(loop),
        options_(options),
        retry_timer_(loop, [this] { attempt_again(); }),
        cancelled_timer_(loop, [this] { report_cancelled(); }) {
    MILLRACE_CHECK(options.reconnect.jitter >= 0 && options.reconnect.jitter <= 1,
                   "ReconnectOptions::jitter is a share between 0 and 1");
    MILLRACE_CHECK(options.reconnect.factor >= 1, "ReconnectOptions::factor is at least 1");
  }

  void use(ConnectionHandler& handler) { handler_ = &handler; }
  void use(std::unique_ptr<ConnectionHandler> handler) {
    MILLRACE_CHECK(handler != nullptr, "a Client needs a handler");
    owned_handler_ = std::move(handler);
    handler_ = owned_handler_.get();
  }

  EventLoop& loop() const noexcept { return loop_; }
  void connect(const SocketAddress& address);
  void close();
  void end() noexcept;  // the Client is gone
  State state() const noexcept;
  Connection* connection() const noexcept { return first_connection(); }

 private:
  void attempt();
  void attempt_again();
  void handle_result(UniqueFd socket, std::error_code failure);
  void handle_failure(std::error_code why);
  void report_cancelled();
  void connection_ended(const ConnectionCore& connection) override;
  void try_again_later();
  bool wants_reconnect() const noexcept;
  std::chrono::duration<double, std::milli> next_delay();

  EventLoop& loop_;
  ClientOptions options_;
  ConnectionHandler* handler_ = nullptr;
  std::unique_ptr<ConnectionHandler> owned_handler_;
  SocketAddress address_;
  Connector* connector_ = nullptr;
  bool stopped_ = true;    // no reconnect
  unsigned failures_ = 0;  // in a row; connections that were of no use are among them
  std::minstd_rand random_{random_seed()};
  Timer retry_timer_;
  Timer cancelled_timer_;  // runs while on_connect_failed with ECANCELED is due
};

void Client::Core::connect(const SocketAddress& address) {
  if (state() != State::idle) throw std::logic_error("Client::connect: it is not idle");
  const int domain = address.native()->sa_family;
  if (const auto wrong = check_socket_options(options_.socket, domain)) wrong.throw_for(address);
  address_ = address;
  stopped_ = false;
  failures_ = 0;
  attempt();
}

void Client::Core::attempt() {
  connector_ =
      Connector::start(loop_, address_, options_, [this](UniqueFd socket, std::error_code failure) {
        handle_result(std::move(socket), failure);
      });
}

// Nobody calls this who could be told by an exception: an attempt that finds no memory has failed
// like any other, and the next one follows.
void Client::Core::attempt_again() {
  try {
    attempt();
  } catch (const std::bad_alloc&) {
    handle_failure(std::make_error_code(std::errc::not_enough_memory));
  }
}

void Client::Core::handle_result(UniqueFd socket, std::error_code failure) {
  connector_ = nullptr;
  if (!failure) {
    const int e = ConnectionCore::open(loop_, *this, std::move(socket), address_, *handler_, {});
    if (e == 0) return;
    failure = system_error_code(e);
  }
  handle_failure(failure);
}

void Client::Core::handle_failure(std::error_code why) {
  ++failures_;
  // First the wait, then the report: the callback sees the state that it leads to, and may end it.
  try_again_later();
  handler_->on_connect_failed(why);
}

void Client::Core::connection_ended(const ConnectionCore& connection) {
  // A server that accepts and closes at once, over and over, is as good as one that refuses.
  const bool of_use =
      connection.bytes_received() > 0 || connection.age() >= options_.reconnect.longest_delay;
  failures_ = of_use ? 0 : failures_ + 1;
  if (state() == State::idle) try_again_later();  // unless on_close has begun something new
}

bool Client::Core::wants_reconnect() const noexcept {
  const ReconnectOptions& reconnect = options_.reconnect;
  if (!reconnect.enabled || stopped_) return false;
  return reconnect.max_attempts == 0 || failures_ < reconnect.max_attempts;
}

void Client::Core::try_again_later() {
  if (wants_reconnect()) {
    retry_timer_.start(next_delay());
  } else {
    stopped_ = true;
  }
}

std::chrono::duration<double, std::milli> Client::Core::next_delay() {
  const ReconnectOptions& reconnect = options_.reconnect;
  double ms = static_cast<double>(reconnect.first_delay.count());
  const auto longest = static_cast<double>(reconnect.longest_delay.count());
  for (unsigned i = 1; i < failures_ && ms < longest; ++i) ms *= reconnect.factor;
  ms = std::min(ms, longest);
  ms *= 1 - reconnect.jitter * std::uniform_real_distribution<double>(0, 1)(random_);
  return std::chrono::duration<double, std::milli>(ms);
}

void Client::Core::close() {
  stopped_ = true;
  retry_timer_.cancel();
  if (ConnectionCore* connection = first_connection()) connection->close();
  if (!connector_) return;
  std::exchange(connector_, nullptr)->cancel();
  cancelled_timer_.start(std::chrono::milliseconds(0));  // never from inside this call
}

void Client::Core::report_cancelled() {
  handler_->on_connect_failed(std::make_error_code(std::errc::operation_canceled));
}

void Client::Core::end() noexcept {
  end_connections(error::owner_destroyed);
  // Only now: an on_close may have called connect().
  stopped_ = true;
  retry_timer_.cancel();
  cancelled_timer_.cancel();
  if (connector_) std::exchange(connector_, nullptr)->cancel();
}

Client::State Client::Core::state() const noexcept {
  if (first_connection()) return State::connected;
  if (connector_ || cancelled_timer_.active()) return State::connecting;
  return retry_timer_.active() ? State::waiting : State::idle;
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

void Client::connect(std::string_view address) {
  connect(SocketAddress::parse(address));
}
void Client::connect(const SocketAddress& address) {
  core_->connect(address);
}
void Client::close() {
  core_->close();
}
Client::State Client::state() const noexcept {
  return core_->state();
}
Connection* Client::connection() const noexcept {
  return core_->connection();
}

}  // namespace millrace
