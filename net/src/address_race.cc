#include "address_race.h"

#include <millrace/check.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <new>
#include <utility>

namespace millrace {
namespace {

constexpr std::chrono::milliseconds kShortestTurn{10};
constexpr std::chrono::milliseconds kLongestTurn{2000};

// How much an address's failure says about the endpoint: that the machine has no way to this
// address (it may simply be without IPv6) says least, that somebody answered most.
int weight(std::error_code failure) noexcept {
  if (failure.category() != std::system_category()) return 4;
  switch (failure.value()) {
    case EAFNOSUPPORT:
      return 0;
    case EADDRNOTAVAIL:
    case ENETUNREACH:
    case ENETDOWN:
      return 1;
    case EHOSTUNREACH:
    case EHOSTDOWN:
      return 2;
    case ETIMEDOUT:
      return 3;
    default:
      return 4;
  }
}

}  // namespace

AddressRace::AddressRace(EventLoop& loop, const ClientOptions& options, Result result)
    : loop_(loop),
      options_(options),
      fast_open_(options.fast_open),
      result_(std::move(result)),
      resolution_delay_(loop, [this] { schedule(); }),
      next_turn_(loop, [this] { go_on(); }),
      deadline_(loop, [this] { out_of_time(); }) {
  const auto delay = options.race.attempt_delay;
  MILLRACE_CHECK(delay >= kShortestTurn && delay <= kLongestTurn,
                 "RaceOptions::attempt_delay is between 10 ms and 2 s");
}

void AddressRace::start(const Endpoint& endpoint) {
  MILLRACE_DCHECK(!active_);
  attempts_.clear();
  turn_ = 0;
  name_ = endpoint.host;
  options_.fast_open = fast_open_ && endpoint.addresses.size() == 1;
  v6_.failure = v4_.failure = {};
  try {
    if (endpoint.is_name()) {
      preferred_ = SocketAddress::Family::ipv6;
      look_up(endpoint);
    } else {
      preferred_ = endpoint.addresses[0].family();
      for (const SocketAddress& address : endpoint.addresses) add(address);
    }
  } catch (...) {
    cancel();
    throw;
  }
  active_ = true;
  if (options_.connect_timeout.count() > 0) deadline_.start(options_.connect_timeout);
  try_next();
}

// Both families at the same time: who has no addresses of one of them shall not wait for it longer
// than need be.
void AddressRace::look_up(const Endpoint& name) {
  const auto local = options_.local.family();
  const auto wanted = [&](SocketAddress::Family family) {
    return local == SocketAddress::Family::none || local == family;
  };
  if (wanted(SocketAddress::Family::ipv6)) ask(v6_, name, Resolver::Families::ipv6);
  if (wanted(SocketAddress::Family::ipv4)) ask(v4_, name, Resolver::Families::ipv4);
}

void AddressRace::ask(Question& question, const Endpoint& name, Resolver::Families family) {
  Resolver& resolver = options_.resolver ? *options_.resolver : Resolver::of(loop_);
  question.lookup = resolver.resolve(
      name.host, name.port, family,
      [this, &question](std::error_code why, std::span<const SocketAddress> addresses) {
        take_answer(question, why, addresses);
      });
}

void AddressRace::take_answer(Question& question, std::error_code why,
                              std::span<const SocketAddress> addresses) {
  question.failure = why;
  try {
    for (const SocketAddress& address : addresses) add(address);
  } catch (const std::bad_alloc&) {
    question.failure = std::make_error_code(std::errc::not_enough_memory);
  }
  if (&question == &v6_) resolution_delay_.cancel();
  if (&question == &v4_ && v6_.lookup.active() && attempts_.empty() && waiting() > 0) {
    return resolution_delay_.start(options_.race.resolution_delay);
  }
  schedule();
}

// There is something new: the next turn may be due.
void AddressRace::schedule() {
  if (resolution_delay_.active()) return;
  if (running_ == 0) return go_on();
  if (waiting() == 0 || next_turn_.active()) return;
  next_turn_.start(last_turn_ + Duration(options_.race.attempt_delay) - loop_.now());
}

void AddressRace::add(const SocketAddress& address) {
  const std::size_t there = attempts_.size() + waiting();
  if (known(address) || there == kMostAddresses) return;
  // Room for what becomes of it: its turn must not fail for want of that.
  attempts_.reserve(there + 1);
  const auto local = options_.local.family();
  if (local != SocketAddress::Family::none && address.family() != local) {
    attempts_.push_back({address, nullptr, system_error_code(EAFNOSUPPORT)});
  } else {
    waiting_[address.family() == preferred_ ? 0 : 1].push_back(address);
  }
}

bool AddressRace::known(const SocketAddress& address) const noexcept {
  const auto is_it = [&](const SocketAddress& other) { return other == address; };
  return std::any_of(waiting_[0].begin(), waiting_[0].end(), is_it) ||
         std::any_of(waiting_[1].begin(), waiting_[1].end(), is_it) ||
         std::any_of(attempts_.begin(), attempts_.end(),
                     [&](const Attempt& attempt) { return attempt.address == address; });
}

SocketAddress AddressRace::take_next() {
  if (waiting_[turn_].empty()) turn_ = 1 - turn_;
  const SocketAddress next = waiting_[turn_].front();
  waiting_[turn_].erase(waiting_[turn_].begin());
  turn_ = 1 - turn_;
  return next;
}

// The next address has its turn; when none is left and none runs, the end is near, but never
// inside this call.
void AddressRace::try_next() {
  if (waiting() > 0) try_one(take_next());
  if (waiting() > 0) {
    next_turn_.start(options_.race.attempt_delay);
  } else if (running_ == 0 && !resolving()) {
    next_turn_.start(Duration(0));
  } else {
    next_turn_.cancel();
  }
}

void AddressRace::try_one(const SocketAddress& address) noexcept {
  last_turn_ = loop_.now();
  attempts_.push_back({address, nullptr, {}});
  try {
    attempts_.back().connector =
        Connector::start(loop_, address, options_,
                         [this, number = attempts_.size() - 1](UniqueFd socket, std::error_code e) {
                           attempt_ended(number, std::move(socket), e);
                         });
    ++running_;
  } catch (const std::bad_alloc&) {
    attempts_.back().failure = std::make_error_code(std::errc::not_enough_memory);
  }
}

void AddressRace::go_on() {
  if (waiting() == 0 && running_ == 0 && !resolving()) return lose();
  try_next();
}

void AddressRace::attempt_ended(std::size_t number, UniqueFd socket, std::error_code failure) {
  Attempt& attempt = attempts_[number];
  attempt.connector = nullptr;
  attempt.failure = failure;
  --running_;
  if (!failure) return finish(std::move(socket), SocketAddress(attempt.address), {});
  go_on();
}

void AddressRace::out_of_time() {
  for (Attempt& attempt : attempts_) {
    if (attempt.connector) attempt.failure = system_error_code(ETIMEDOUT);
  }
  if (attempts_.empty() && resolving()) return finish({}, {}, system_error_code(ETIMEDOUT));
  lose();
}

void AddressRace::lose() {
  finish({}, {}, attempts_.empty() ? why_no_address() : most_telling());
}

std::error_code AddressRace::most_telling() const noexcept {
  const auto most = std::max_element(
      attempts_.begin(), attempts_.end(),
      [](const Attempt& a, const Attempt& b) { return weight(a.failure) < weight(b.failure); });
  return most->failure;
}

std::error_code AddressRace::why_no_address() const noexcept {
  // That there is none of one family says nothing about the name.
  if (v6_.failure && v6_.failure != error::name_has_no_address) return v6_.failure;
  if (v4_.failure) return v4_.failure;
  return v6_.failure ? v6_.failure : system_error_code(EAFNOSUPPORT);
}

std::string AddressRace::detail() const {
  std::string text;
  for (const Question* question : {&v6_, &v4_}) {
    if (!question->failure || question->failure == error::name_has_no_address) continue;
    text += (text.empty() ? "" : "; ") + name_ + (question == &v6_ ? " (IPv6): " : " (IPv4): ") +
            question->failure.message();
  }
  for (const Attempt& attempt : attempts_) {
    if (!text.empty()) text += "; ";
    text += attempt.address.to_string() + ": ";
    if (attempt.connector) {
      text += "no answer yet";
    } else {
      text += attempt.failure ? attempt.failure.message() : "connected";
    }
  }
  return text;
}

void AddressRace::finish(UniqueFd socket, const SocketAddress& peer, std::error_code why) {
  const SocketAddress kept = peer;
  cancel();
  result_(std::move(socket), kept, why);  // may be the end of us
}

void AddressRace::cancel() noexcept {
  active_ = false;
  next_turn_.cancel();
  deadline_.cancel();
  resolution_delay_.cancel();
  v6_.lookup.cancel();
  v4_.lookup.cancel();
  for (Attempt& attempt : attempts_) {
    if (!attempt.connector) continue;
    std::exchange(attempt.connector, nullptr)->cancel();
    if (!attempt.failure) attempt.failure = std::make_error_code(std::errc::operation_canceled);
  }
  running_ = 0;
  for (auto& list : waiting_) list.clear();
}

}  // namespace millrace
