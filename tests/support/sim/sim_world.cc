#include "support/sim/sim_world.h"

#include <millrace/connection.h>

#include "connection_core.h"
#include "support/in_kernel.h"

#include <algorithm>
#include <string>
#include <utility>

namespace millrace::test {
namespace {

// Turns of all loops between two things that happen in the kernel. What the product may do in them
// is bounded: a task posted, a callback owed, a batch accepted. More is a loop that spins.
constexpr std::uint64_t kTurnsPerEvent = 2000;
constexpr std::size_t kProblemsKept = 10;

}  // namespace

SimWorld::SimWorld(Decisions& decisions, const SimOptions& options)
    : decisions_(decisions), kernel_(decisions, options) {}

SimWorld::~SimWorld() {
  loops_.clear();
}

EventLoop& SimWorld::add_loop() {
  return *loops_.emplace_back(std::make_unique<EventLoop>());
}

bool SimWorld::step() {
  if (run_a_loop()) {
    check_spinning();
    return true;
  }
  check_asleep();
  const InKernel in_kernel;
  return kernel_.step();
}

// One of those that would not sleep.
bool SimWorld::run_a_loop() {
  EventLoop* chosen = nullptr;
  std::uint64_t ready = 0;
  for (const auto& loop : loops_) {
    const auto wait = loop->next_timeout();
    if (wait != Duration::zero() && !kernel_.readable(loop->backend_fd())) continue;
    if (decisions_.below(++ready) == 0) chosen = loop.get();
  }
  if (!chosen) return false;
  chosen->run_once(Duration::zero());
  ++turns_;
  return true;
}

// So that time comes to it.
void SimWorld::come_to(TimePoint when) {
  const InKernel in_kernel;
  kernel_.at(when, [] {});
}

void SimWorld::run_for(Duration length) {
  const TimePoint end = kernel_.now() + length;
  come_to(end);
  while (kernel_.now() < end && problems_.empty()) step();
}

bool SimWorld::run_until(const std::function<bool()>& done, Duration limit) {
  const TimePoint end = kernel_.now() + limit;
  come_to(end);
  while (!done()) {
    if (kernel_.now() >= end || !problems_.empty()) return false;
    step();
  }
  return true;
}

void SimWorld::opened(Connection& c) {
  const InKernel in_kernel;
  if (is_live(c)) problem("on_open of a connection that is open already");
  live_.push_back(&c);
}

void SimWorld::closed(Connection& c) {
  const InKernel in_kernel;
  if (!is_live(c)) problem("on_close of a connection that is not open");
  std::erase(live_, &c);
}

bool SimWorld::is_live(const Connection& c) const {
  return std::find(live_.begin(), live_.end(), &c) != live_.end();
}

void SimWorld::problem(std::string text) {
  if (problems_.size() < kProblemsKept) problems_.push_back(std::move(text));
}

void SimWorld::check_spinning() {
  const std::uint64_t progress = kernel_.events_run() + kernel_.bytes_moved();
  if (std::exchange(progress_seen_, progress) != progress) turns_at_event_ = turns_;
  if (turns_ - turns_at_event_ <= kTurnsPerEvent) return;
  const InKernel in_kernel;
  problem(std::to_string(kTurnsPerEvent) + " turns of the loops while nothing happened: they spin");
  turns_at_event_ = turns_;
}

// All loops sleep: whatever waits must have somebody who will wake for it.
void SimWorld::check_asleep() {
  const InKernel in_kernel;
  for (Connection* c : live_) {
    const ConnectionCore& core = ConnectionCore::of(*c);
    const auto watched = kernel_.interest(c->loop().backend_fd(), core.fd());
    const std::uint32_t mask = watched.value_or(0);
    const bool writes = (mask & EPOLLOUT) != 0;
    if (c->queued_bytes() > 0 && !writes && watched) {
      problem("connection " + std::to_string(c->id()) + ": " + std::to_string(c->queued_bytes()) +
              " bytes are queued, and nothing will send them");
    }
    if (c->queued_bytes() == 0 && writes) {
      problem("connection " + std::to_string(c->id()) + ": EPOLLOUT is armed for an empty queue");
    }
    if (!watched && !c->reading_paused()) {
      problem("connection " + std::to_string(c->id()) + ": not watched, and not paused");
    }
  }
}

}  // namespace millrace::test
