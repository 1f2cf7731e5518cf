#include <millrace/check.h>
#include <millrace/connection_pool.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>

#include "connection_pool_core.h"
#include "endpoint.h"

#include <algorithm>
#include <cerrno>
#include <exception>
#include <new>
#include <utility>

namespace millrace {
namespace {

// Requests that are served, or told that they are not, in one turn: each runs a callback, and the
// loop has other work.
constexpr int kRequestsPerTurn = 64;

}  // namespace

void LeaseRequest::Waiter::List::push_back(Waiter& waiter) noexcept {
  waiter.list = this;
  waiter.previous = last;
  waiter.next = nullptr;
  (last ? last->next : first) = &waiter;
  last = &waiter;
  ++size;
}

void LeaseRequest::Waiter::List::remove(Waiter& waiter) noexcept {
  (waiter.previous ? waiter.previous->next : first) = waiter.next;
  (waiter.next ? waiter.next->previous : last) = waiter.previous;
  waiter.list = nullptr;
  --size;
}

ConnectionPool::Core::Core(EventLoop& loop, std::string target,
                           const ConnectionPoolOptions& options)
    : loop_(loop),
      target_(std::move(target)),
      options_([&] {
        ConnectionPoolOptions made = options;
        made.client.reconnect.enabled = false;  // whoever needs the next one makes it
        return made;
      }()),
      backoff_(options.client.reconnect),
      serve_timer_(loop, [this] { serve(); }),
      retry_timer_(loop, [this] { serve(); }),
      sweep_timer_(loop, [this] { sweep(); }),
      expiry_timer_(loop, [this] { expire_waiting(); }) {
  MILLRACE_CHECK(options.max_connections > 0, "ConnectionPoolOptions::max_connections is positive");
}

// --- Requests ---

std::unique_ptr<LeaseRequest::Waiter> ConnectionPool::Core::acquire(Acquired done) {
  MILLRACE_CHECK(done, "ConnectionPool::acquire() needs a callback");
  auto waiter = std::make_unique<Waiter>(std::move(done));
  if (waiting_.size >= options_.max_waiting) {
    ++stats_.refused;
    waiter->failure = error::pool_full;
    failed_.push_back(*waiter);
  } else {
    waiter->deadline = later(loop_.now(), Delay(options_.acquire_timeout).value());
    waiting_.push_back(*waiter);
    if (waiting_.size == 1) schedule_expiry();
  }
  serve_soon();
  return waiter;
}

void ConnectionPool::Core::fail_waiting(std::error_code why) noexcept {
  while (Waiter* waiter = waiting_.first) {
    waiter->leave();
    waiter->failure = why;
    failed_.push_back(*waiter);
  }
  serve_soon();
}

void ConnectionPool::Core::expire_waiting() noexcept {
  while (Waiter* waiter = waiting_.first) {
    if (waiter->deadline > loop_.now()) break;
    waiter->leave();
    // That nobody answers says more than that it takes long.
    waiter->failure = last_error_ ? last_error_ : make_error_code(error::pool_timeout);
    failed_.push_back(*waiter);
    ++stats_.timed_out;
  }
  schedule_expiry();
  if (failed_.first) serve_soon();
}

void ConnectionPool::Core::schedule_expiry() noexcept {
  expiry_timer_.cancel();
  if (options_.acquire_timeout.count() == 0 || !waiting_.first) return;
  expiry_timer_.start(waiting_.first->deadline - loop_.now());
}

// --- Serving ---

void ConnectionPool::Core::serve() {
  if (!tell_failed() || !lend_idle()) return;
  make_connections();
  while (idle_.size() > options_.max_idle) {
    ++stats_.closed_old;
    close(*idle_.front());
  }
  if (!sweep_timer_.active()) schedule_sweep();
}

// False when the pool is gone.
bool ConnectionPool::Core::tell_failed() {
  for (int left = kRequestsPerTurn; failed_.first; --left) {
    if (left == 0) {
      serve_soon();
      return true;
    }
    Waiter& waiter = *failed_.first;
    waiter.leave();
    Acquired done = std::move(waiter.done);  // the waiter may go in it
    try {
      done(waiter.failure, ConnectionLease());
    } catch (...) {
      loop_.services().report_exception(std::current_exception(), "acquire");
    }
    if (ended_) return false;
  }
  return true;
}

// Lends what there is to who waits; false when the pool is gone.
bool ConnectionPool::Core::lend_idle() {
  for (int left = kRequestsPerTurn; waiting_.first && !idle_.empty(); --left) {
    PooledConnection& place = *idle_.back();
    if (left == 0) {
      serve_soon();
      return true;
    }
    if (worn_out(place) || too_long_idle(place) || !place.sound()) {
      ++stats_.closed_old;
      close(place);
    } else if (!needs_check(place)) {
      lend(place);
    } else if (coming() < waiting_.size) {
      try_out(place, check_);
    } else {
      return true;  // the others are older
    }
    if (ended_) return false;
  }
  return true;
}

void ConnectionPool::Core::lend(PooledConnection& place) {
  set_use(place, Use::lent);
  place.is_new = false;
  ++place.uses;
  ++stats_.leases;
  Waiter& waiter = *waiting_.first;
  waiter.leave();
  schedule_expiry();
  Acquired done = std::move(waiter.done);  // the waiter may go in it
  try {
    done({}, place.lend());
  } catch (...) {
    loop_.services().report_exception(std::current_exception(), "acquire");
  }
}

void ConnectionPool::Core::try_out(PooledConnection& place, const Trial& trial) noexcept {
  set_use(place, Use::trial);
  place.tried = loop_.now();
  schedule_sweep();
  const auto callback = trial.callback;
  try {
    (*callback)(place.lend());
  } catch (...) {
    loop_.services().report_exception(std::current_exception(), "pool check");
  }
}

// --- Making connections ---

bool ConnectionPool::Core::may_connect() const noexcept {
  if (coming() >= waiting_.size || open() >= options_.max_connections) return false;
  // An endpoint that does not answer is asked by one at a time, and not at once.
  return failures_ == 0 || (!retry_timer_.active() && coming() == 0);
}

void ConnectionPool::Core::make_connections() {
  while (may_connect()) make_connection();
}

void ConnectionPool::Core::make_connection() noexcept {
  try {
    places_.reserve(places_.size() + 1);
    idle_.reserve(places_.size() + 1);  // to give back takes no memory
    auto place = std::make_unique<PooledConnection>(*this, loop_, options_.client);
    place->connect(target_);
    ++counts_[static_cast<std::size_t>(Use::connecting)];
    places_.push_back(std::move(place));
  } catch (const std::system_error& e) {  // the loop's resolver could not be made
    attempt_failed(e.code());
  } catch (const std::bad_alloc&) {
    attempt_failed(std::make_error_code(std::errc::not_enough_memory));
  }
}

void ConnectionPool::Core::attempt_failed(std::error_code why) noexcept {
  ++stats_.failed;
  last_error_ = why;
  if (!retry_timer_.active()) retry_timer_.start(backoff_.after(++failures_));
  // Nobody who waits shall hope for a connection that nobody has and nobody makes.
  if (open() == 0) fail_waiting(why);
}

void ConnectionPool::Core::attempt_succeeded() noexcept {
  failures_ = 0;
  last_error_ = {};
  retry_timer_.cancel();
}

// --- What happens to a place ---

void ConnectionPool::Core::set_use(PooledConnection& place, Use use) noexcept {
  --counts_[static_cast<std::size_t>(place.use)];
  ++counts_[static_cast<std::size_t>(use)];
  if (place.use == Use::idle) std::erase(idle_, &place);
  if (use == Use::idle) idle_.push_back(&place);
  place.use = use;
}

void ConnectionPool::Core::opened(PooledConnection& place) noexcept {
  ++stats_.made;
  place.opened = place.used = place.checked = loop_.now();
  if (prepare_) return try_out(place, prepare_);
  attempt_succeeded();
  set_use(place, Use::idle);
  serve_soon();
}

void ConnectionPool::Core::returned(PooledConnection& place, bool good) noexcept {
  good = good && place.sound();
  place.take_back();
  if (place.use == Use::closing) return;
  const bool trial = place.use == Use::trial;
  if (!good || (!trial && worn_out(place))) {
    if (good) ++stats_.closed_old;
    close(place);
    if (trial) trial_failed(place, error::pool_check_failed);
  } else {
    if (trial && place.is_new) attempt_succeeded();
    if (!trial || place.is_new) place.used = loop_.now();
    place.checked = loop_.now();
    place.is_new = false;
    set_use(place, Use::idle);
  }
  serve_soon();
}

void ConnectionPool::Core::trial_failed(const PooledConnection& place,
                                        std::error_code why) noexcept {
  if (place.is_new) return attempt_failed(why);
  ++stats_.closed_bad;
}

void ConnectionPool::Core::spoiled(PooledConnection& place) noexcept {
  ++stats_.closed_bad;
  close(place);
  serve_soon();
}

void ConnectionPool::Core::close(PooledConnection& place) noexcept {
  set_use(place, Use::closing);
  if (!place.piped()) place.close();
}

void ConnectionPool::Core::ended(PooledConnection& place) noexcept {
  const Use was = place.use;
  const std::error_code why = place.last_error();
  set_use(place, Use::closing);
  place.take_back();
  if (was == Use::connecting) attempt_failed(why);
  if (was == Use::trial) trial_failed(place, why ? why : make_error_code(error::pool_check_failed));
  if (was == Use::idle) ++stats_.closed_bad;
  --counts_[static_cast<std::size_t>(Use::closing)];
  const auto here = std::find_if(places_.begin(), places_.end(),
                                 [&](const auto& other) { return other.get() == &place; });
  loop_.services().bury(std::move(*here));  // its callback is running
  places_.erase(here);
  serve_soon();
}

// --- Growing old ---

bool ConnectionPool::Core::worn_out(const PooledConnection& place) const noexcept {
  const auto most = options_.max_lifetime;
  if (most.count() > 0 && loop_.now() - place.opened >= most) return true;
  return options_.max_uses > 0 && place.uses >= options_.max_uses;
}

bool ConnectionPool::Core::too_long_idle(const PooledConnection& place) const noexcept {
  const auto most = options_.idle_timeout;
  return most.count() > 0 && loop_.now() - place.used >= most;
}

bool ConnectionPool::Core::needs_check(const PooledConnection& place) const noexcept {
  return check_ && !place.is_new && loop_.now() - place.checked >= options_.check_after;
}

void ConnectionPool::Core::sweep() noexcept {
  for (std::size_t i = 0; i < idle_.size();) {
    PooledConnection& place = *idle_[i];
    if (!worn_out(place) && !too_long_idle(place)) {
      ++i;
      continue;
    }
    ++stats_.closed_old;
    close(place);
  }
  const auto longest = options_.check_timeout;
  for (const auto& place : places_) {
    if (place->use != Use::trial || longest.count() == 0) continue;
    if (loop_.now() - place->tried < longest) continue;
    place->tried = TimePoint::max();  // its end is on its way
    place->abort(system_error_code(ETIMEDOUT));
  }
  schedule_sweep();
}

void ConnectionPool::Core::schedule_sweep() noexcept {
  TimePoint next = TimePoint::max();
  const auto add = [&](TimePoint since, std::chrono::milliseconds most) {
    if (most.count() > 0) next = std::min(next, later(since, Delay(most).value()));
  };
  for (const PooledConnection* place : idle_) {
    add(place->used, options_.idle_timeout);
    add(place->opened, options_.max_lifetime);
  }
  if (count(Use::trial) > 0) {
    for (const auto& place : places_) {
      if (place->use == Use::trial) add(place->tried, options_.check_timeout);
    }
  }
  sweep_timer_.cancel();
  if (next != TimePoint::max()) sweep_timer_.start(next - loop_.now());
}

// --- The pool ---

ConnectionPoolStats ConnectionPool::Core::stats() const noexcept {
  ConnectionPoolStats stats = stats_;
  stats.connecting = coming();
  stats.idle = count(Use::idle);
  stats.lent = count(Use::lent);
  stats.waiting = waiting_.size + failed_.size;
  return stats;
}

void ConnectionPool::Core::end() noexcept {
  ended_ = true;
  for (Timer* timer : {&serve_timer_, &retry_timer_, &sweep_timer_, &expiry_timer_}) {
    timer->cancel();
  }
  // All of them first: the on_close of one may end the lease of another.
  for (const auto& place : places_) place->empty_lease();
  for (const auto& place : places_) place->end();
  serve_timer_.cancel();  // an on_close may have called acquire()
  expiry_timer_.cancel();
  for (Waiter::List* list : {&waiting_, &failed_}) {
    while (list->first) list->first->leave();
  }
}

ConnectionPool::ConnectionPool(EventLoop& loop, std::string_view target,
                               const ConnectionPoolOptions& options)
    : core_(std::make_unique<Core>(loop, std::string(target), options)) {
  Endpoint::parse(target).check_options(options.client.socket);  // throws now, not when one asks
}

ConnectionPool::ConnectionPool(EventLoop& loop, const SocketAddress& address,
                               const ConnectionPoolOptions& options)
    : ConnectionPool(loop, address.to_string(), options) {}

ConnectionPool::~ConnectionPool() {
  core_->end();
  LoopServices& services = core_->loop().services();
  services.bury(std::move(core_));
}

LeaseRequest ConnectionPool::acquire(Acquired done) {
  return LeaseRequest(core_->acquire(std::move(done)));
}
void ConnectionPool::prepare_new(Function<void(ConnectionLease)> prepare) {
  core_->prepare_new(std::move(prepare));
}
void ConnectionPool::check_idle(Function<void(ConnectionLease)> check) {
  core_->check_idle(std::move(check));
}
ConnectionPoolStats ConnectionPool::stats() const noexcept {
  return core_->stats();
}
std::error_code ConnectionPool::last_error() const noexcept {
  return core_->last_error();
}

LeaseRequest::LeaseRequest() noexcept = default;
LeaseRequest::LeaseRequest(std::unique_ptr<Waiter> waiter) noexcept : waiter_(std::move(waiter)) {}
LeaseRequest::LeaseRequest(LeaseRequest&& other) noexcept = default;
LeaseRequest& LeaseRequest::operator=(LeaseRequest&& other) noexcept = default;
LeaseRequest::~LeaseRequest() = default;

bool LeaseRequest::active() const noexcept {
  return waiter_ && waiter_->list;
}
void LeaseRequest::cancel() noexcept {
  waiter_.reset();
}

}  // namespace millrace
