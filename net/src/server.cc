#include <millrace/check.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/log.h>
#include <millrace/loop_services.h>
#include <millrace/server.h>

#include "callback_handler.h"
#include "connection_core.h"
#include "first_read.h"
#include "socket_intake.h"

#include <exception>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace millrace {

// Outlives its Server by the rest of the iteration, because a callback that it holds may be
// running.
class Server::Core final : public ConnectionOwner, public Mortal {
 public:
  Core(EventLoop& loop, const ServerOptions& options)
      : ConnectionOwner(options.connection),
        loop_(loop),
        options_(options),
        drain_timer_(loop, [this] { handle_drain_timer(); }) {}

  void use(ConnectionHandler& handler) { handler_ = &handler; }
  void use(std::unique_ptr<ConnectionHandler> handler) {
    MILLRACE_CHECK(handler != nullptr, "a Server needs a handler");
    owned_handler_ = std::move(handler);
    handler_ = owned_handler_.get();
  }
  void use(HandlerFactory factory) {
    MILLRACE_CHECK(factory, "a Server needs a handler");
    factory_ = std::move(factory);
  }

  EventLoop& loop() const noexcept { return loop_; }
  void listen(const SocketAddress& address);
  std::error_code adopt(UniqueFd socket);
  SocketAddress address() const {
    return listeners_.empty() ? SocketAddress() : listeners_.front().address();
  }
  void stop_accepting();
  void drain(std::chrono::milliseconds deadline, Function<void(DrainResult)> done);
  void for_each(Function<void(Connection&)>& visit);
  ServerStats stats() const noexcept;
  void end() noexcept;  // the Server is gone

 private:
  template <class F>
  void for_each_listener(F&& f) {
    for (Listener& listener : listeners_) f(listener);
    for (Listener& listener : stopped_) f(listener);
  }
  void count(const ListenerStats& listener, ServerStats& into) const noexcept;
  void forget_handed_over();
  bool drained();
  std::unique_ptr<ConnectionHandler> make_handler();
  void opened_or_refused();
  bool full() const noexcept { return connection_count() >= options_.max_connections; }
  enum class Origin : bool { accepted, elsewhere };
  void accept(UniqueFd socket, const SocketAddress& peer, Origin origin = Origin::accepted);
  void connection_ended(const ConnectionCore& connection) override;
  void handle_drain_timer();
  void finish_drain() noexcept;

  EventLoop& loop_;
  ServerOptions options_;
  ConnectionHandler* handler_ = nullptr;
  std::unique_ptr<ConnectionHandler> owned_handler_;
  HandlerFactory factory_;
  std::vector<Listener> listeners_;
  SocketIntake* intake_ = nullptr;  // once something was adopted
  std::vector<Listener> stopped_;   // that have not handed over all that they had taken
  ServerStats stats_;               // without those of the listeners
  FirstRead first_read_;
  log::RateLimit log_limit_;
  bool ended_ = false;
  bool opening_ = false;          // the factory makes a handler: it may do anything
  bool only_report_due_ = false;  // of a drain of nobody
  DrainResult drained_;
  std::size_t being_cut_ = 0;  // of drained_.cut: those that have not ended yet
  std::vector<Function<void(DrainResult)>> drain_done_;
  Timer drain_timer_;
};

void Server::Core::listen(const SocketAddress& address) {
  if (only_report_due_) draining_ = false;  // who comes from now on is not concerned
  listeners_.emplace_back(
      loop_, address,
      [this](UniqueFd socket, const SocketAddress& peer) { accept(std::move(socket), peer); },
      options_.listen);
  if (full()) listeners_.back().pause();
}

std::error_code Server::Core::adopt(UniqueFd socket) {
  if (!intake_) {
    intake_ = loop_.services().slab<SocketIntake>().make(
        loop_, [this](UniqueFd one, const SocketAddress& peer) {
          accept(std::move(one), peer, Origin::elsewhere);
        });
    if (full()) intake_->pause();
  }
  if (only_report_due_) draining_ = false;  // as in listen()
  const std::error_code failure = intake_->add(std::move(socket));
  if (!failure) ++stats_.adopted;
  return failure;
}

void Server::Core::stop_accepting() {
  stopped_.reserve(stopped_.size() + listeners_.size());
  for (Listener& listener : listeners_) {
    listener.stop();
    stopped_.push_back(std::move(listener));
  }
  listeners_.clear();
  forget_handed_over();
}

void Server::Core::forget_handed_over() {
  std::erase_if(stopped_, [this](const Listener& listener) {
    if (listener.waiting() > 0) return false;
    count(listener.stats(), stats_);
    return true;
  });
}

// A factory makes one for each connection; null without a factory.
std::unique_ptr<ConnectionHandler> Server::Core::make_handler() {
  if (!factory_) return nullptr;
  try {
    opening_ = true;
    auto made = factory_();
    opening_ = false;
    MILLRACE_CHECK(made != nullptr, "a HandlerFactory returned no handler");
    return made;
  } catch (...) {
    opening_ = false;
    ++stats_.refused;
    opened_or_refused();
    throw;
  }
}

void Server::Core::opened_or_refused() {
  if (full()) {
    for_each_listener([](Listener& listener) { listener.pause(); });
    if (intake_) intake_->pause();
  }
  forget_handed_over();
  if (draining_ && drained()) finish_drain();
}

void Server::Core::accept(UniqueFd socket, const SocketAddress& peer, Origin origin) {
  std::unique_ptr<ConnectionHandler> own = make_handler();
  if (ended_) return;  // the factory did that
  ConnectionHandler& handler = own ? *own : *handler_;
  const int error = ConnectionCore::open(loop_, *this, std::move(socket), peer, handler,
                                         std::move(own), &first_read_, origin == Origin::elsewhere);
  if (error != 0) ++stats_.refused;
  if (error != 0 && log::enabled(log::Level::warning) && log_limit_.allow(loop_.now())) {
    log::write(log::Level::warning,
               fmt::format("connection from {} refused: {} ({} more not shown)", peer.to_string(),
                           system_error_code(error).message(), log_limit_.suppressed()));
  }
  opened_or_refused();
}

void Server::Core::connection_ended(const ConnectionCore&) {
  for_each_listener([this](Listener& listener) {
    if (!full() && listener.paused()) listener.resume();
    listener.retry();  // a descriptor is free
  });
  if (intake_ && !full()) intake_->resume();
  if (!draining_) return;
  if (being_cut_ > 0) {
    --being_cut_;
  } else {
    ++drained_.finished;
  }
  if (drained()) finish_drain();
}

// Whether nobody is left to wait for.
bool Server::Core::drained() {
  forget_handed_over();
  const bool adopts = intake_ && intake_->waiting() > 0;
  return connection_count() == 0 && stopped_.empty() && !adopts && !opening_;
}

void Server::Core::drain(std::chrono::milliseconds deadline, Function<void(DrainResult)> done) {
  // Room first, of both: without memory nothing has happened.
  drain_done_.reserve(drain_done_.size() + 1);
  stop_accepting();
  if (done) drain_done_.push_back(std::move(done));
  if (!std::exchange(draining_, true)) drained_ = {};
  for (ConnectionCore* c = first_connection(); c; c = c->next_of_owner()) c->drain();
  // With nothing to wait for only the report is due: through the timer too, never from inside this
  // call.
  only_report_due_ = drained();
  drain_timer_.start(only_report_due_ ? std::chrono::milliseconds(0) : deadline);
}

void Server::Core::handle_drain_timer() {
  if (only_report_due_) return finish_drain();
  for (const Listener& listener : stopped_) {
    count(listener.stats(), stats_);
    stats_.dropped += listener.waiting();
    drained_.cut += listener.waiting();
  }
  stopped_.clear();
  if (intake_) drained_.cut += intake_->drop_waiting();
  if (connection_count() == 0) return finish_drain();
  // They end in the flush phase that follows, before any other does.
  being_cut_ = connection_count();
  drained_.cut += being_cut_;
  for (ConnectionCore* c = first_connection(); c; c = c->next_of_owner()) {
    c->abort(error::drain_deadline, {});
  }
}

void Server::Core::finish_drain() noexcept {
  draining_ = only_report_due_ = false;
  drain_timer_.cancel();
  const DrainResult result = drained_;
  for (auto& done : std::exchange(drain_done_, {})) {
    try {
      done(result);
    } catch (...) {
      loop_.services().report_exception(std::current_exception(), "drain");
    }
  }
}

void Server::Core::for_each(Function<void(Connection&)>& visit) {
  for (ConnectionCore* c = first_connection(); c && !ended_;) {
    ConnectionCore* next = c->next_of_owner();  // ends are deferred: it stays where it is
    if (c->is_open()) visit(*c);
    c = next;
  }
}

ServerStats Server::Core::stats() const noexcept {
  ServerStats sum = stats_;
  for (const Listener& listener : listeners_) count(listener.stats(), sum);
  for (const Listener& listener : stopped_) count(listener.stats(), sum);
  return sum;
}

void Server::Core::count(const ListenerStats& listener, ServerStats& into) const noexcept {
  into.accepted += listener.accepted;
  into.aborted += listener.aborted;
  into.exhausted += listener.exhausted;
  into.dropped += listener.dropped;
}

void Server::Core::end() noexcept {
  ended_ = true;
  end_connections(error::owner_destroyed);
  // Only now: an on_close may have called listen() or drain().
  draining_ = false;
  drain_timer_.cancel();
  listeners_.clear();
  stopped_.clear();
  if (intake_) std::exchange(intake_, nullptr)->end();
}

Server::Server(EventLoop& loop, ConnectionHandler& handler, const ServerOptions& options)
    : core_(std::make_unique<Core>(loop, options)) {
  core_->use(handler);
}

Server::Server(EventLoop& loop, std::unique_ptr<ConnectionHandler> handler,
               const ServerOptions& options)
    : core_(std::make_unique<Core>(loop, options)) {
  core_->use(std::move(handler));
}

Server::Server(EventLoop& loop, Callbacks callbacks, const ServerOptions& options)
    : Server(loop, std::make_unique<CallbackHandler>(std::move(callbacks)), options) {}

Server::Server(EventLoop& loop, HandlerFactory factory, const ServerOptions& options)
    : core_(std::make_unique<Core>(loop, options)) {
  core_->use(std::move(factory));
}

Server::~Server() {
  core_->end();
  LoopServices& services = core_->loop().services();
  services.bury(std::move(core_));
}

void Server::listen(std::string_view address) {
  listen(SocketAddress::parse(address));
}
void Server::listen(const SocketAddress& address) {
  core_->listen(address);
}
std::error_code Server::adopt(UniqueFd socket) {
  return core_->adopt(std::move(socket));
}
SocketAddress Server::address() const {
  return core_->address();
}
void Server::stop_accepting() {
  core_->stop_accepting();
}
void Server::drain(std::chrono::milliseconds deadline, Function<void(DrainResult)> done) {
  core_->drain(deadline, std::move(done));
}
std::size_t Server::connection_count() const noexcept {
  return core_->connection_count();
}
void Server::for_each(Function<void(Connection&)> visit) {
  core_->for_each(visit);
}
ServerStats Server::stats() const noexcept {
  return core_->stats();
}

}  // namespace millrace
