#include "support/faults.h"

#include "support/fault_script.h"
#include "support/in_kernel.h"
#include "support/sim/decisions.h"

#include <array>
#include <atomic>
#include <iterator>
#include <mutex>
#include <utility>

namespace millrace::test {
namespace {

struct Rule {
  Call call;
  Fault fault;
  When when;
};

std::mutex mutex;
std::vector<Rule> rules;
std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(Call::kCount)> counts{};
std::atomic<std::int64_t> clock_offset_ns{0};
std::atomic<std::int64_t> clock_stopped_at_ns{0};  // 0: it runs
std::atomic<bool> scripted{false};
// Under the mutex too:
Decisions* decider = nullptr;
SimFaults chances;
bool recording = false;
std::vector<RecordedCall> calls;
std::vector<std::pair<std::size_t, Fault>> by_number;

constexpr const char* kNames[] = {
    "accept4",    "bind",           "close",           "connect",     "epoll_create1",
    "epoll_ctl",  "epoll_wait",     "eventfd",         "getpeername", "getsockname",
    "getsockopt", "ioctl",          "listen",          "mmap",        "mremap",
    "read",       "recv",           "recvmmsg",        "recvmsg",     "send",
    "sendfile",   "sendmmsg",       "sendmsg",         "setsockopt",  "shutdown",
    "socket",     "timerfd_create", "timerfd_settime", "write"};
static_assert(std::size(kNames) == static_cast<std::size_t>(Call::kCount));

std::optional<Fault> by_rule(Call call, int fd) {
  for (auto rule = rules.begin(); rule != rules.end(); ++rule) {
    if (rule->call != call || (rule->when.fd != -1 && rule->when.fd != fd)) continue;
    if (rule->when.skip > 0) {
      --rule->when.skip;
      return std::nullopt;
    }
    const Fault fault = rule->fault;
    if (--rule->when.times == 0) rules.erase(rule);
    return fault;
  }
  return std::nullopt;
}

bool transfers(Call call) {
  return call == Call::recv || call == Call::send || call == Call::sendmsg ||
         call == Call::sendfile;
}

std::optional<Fault> no_room(Call call) {
  const bool makes_descriptor = call == Call::accept4 || call == Call::socket;
  if (makes_descriptor && decider->chance(chances.no_descriptor)) {
    return Fault::fail(decider->below(2) == 0 ? EMFILE : ENFILE);
  }
  const bool takes_memory = makes_descriptor || call == Call::send || call == Call::sendmsg ||
                            call == Call::epoll_ctl || call == Call::connect;
  if (!takes_memory || !decider->chance(chances.no_memory)) return std::nullopt;
  return Fault::fail(call != Call::epoll_ctl && decider->below(2) == 0 ? ENOBUFS : ENOMEM);
}

std::optional<Fault> by_chance(Call call) {
  const bool interruptible = transfers(call) || call == Call::accept4 || call == Call::epoll_wait;
  if (interruptible && decider->chance(chances.interrupted)) return Fault::fail(EINTR);
  if ((transfers(call) || call == Call::accept4) && decider->chance(chances.spurious)) {
    return Fault::fail(EAGAIN);
  }
  if (transfers(call) && decider->chance(chances.short_transfer)) {
    return Fault::shorten(1 + decider->size_up_to(4096));
  }
  if (call == Call::accept4 && decider->chance(chances.aborted)) return Fault::fail(ECONNABORTED);
  if ((call == Call::recv || call == Call::send) && decider->chance(chances.reset)) {
    return Fault::fail(ECONNRESET);
  }
  return no_room(call);
}

}  // namespace

const char* name_of(Call call) {
  return kNames[static_cast<std::size_t>(call)];
}

std::optional<Fault> next_fault(Call call, int fd, int operation) {
  counts[static_cast<std::size_t>(call)].fetch_add(1, std::memory_order_relaxed);
  if (!scripted.load(std::memory_order_acquire)) return std::nullopt;
  const InKernel in_kernel;
  const std::lock_guard lock(mutex);
  if (recording) {
    calls.push_back({call, fd, operation});
    for (const auto& [number, fault] : by_number) {
      if (number == calls.size() - 1) return fault;
    }
  }
  if (const auto fault = by_rule(call, fd)) return fault;
  return decider ? by_chance(call) : std::nullopt;
}

void adjust_clock(timespec& read) {
  std::int64_t ns = clock_stopped_at_ns.load();
  if (ns == 0) ns = read.tv_sec * 1'000'000'000 + read.tv_nsec;
  ns += clock_offset_ns.load();
  read.tv_sec = ns / 1'000'000'000;
  read.tv_nsec = ns % 1'000'000'000;
}

Faults::Faults() {
  for (auto& count : counts) count = 0;
}

Faults::~Faults() {
  const std::lock_guard lock(mutex);
  rules.clear();
  decider = nullptr;
  recording = false;
  calls.clear();
  by_number.clear();
  scripted = false;
  clock_offset_ns = 0;
  clock_stopped_at_ns = 0;
}

void Faults::on(Call call, Fault fault, When when) {
  const std::lock_guard lock(mutex);
  rules.push_back({call, fault, when});
  scripted = true;
}

void Faults::at_random(Decisions& decisions, const SimFaults& given) {
  const std::lock_guard lock(mutex);
  decider = &decisions;
  chances = given;
  scripted = true;
}

void Faults::record() {
  const std::lock_guard lock(mutex);
  recording = true;
  scripted = true;
}

std::vector<RecordedCall> Faults::recorded() const {
  const std::lock_guard lock(mutex);
  return calls;
}

void Faults::on_number(std::size_t number, Fault fault) {
  const std::lock_guard lock(mutex);
  by_number.emplace_back(number, fault);
}

std::uint64_t Faults::count(Call call) const {
  return counts[static_cast<std::size_t>(call)].load(std::memory_order_relaxed);
}

void Faults::advance_clock(std::chrono::nanoseconds by) {
  clock_offset_ns += by.count();
}

void Faults::stop_clock() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  clock_stopped_at_ns = now.tv_sec * 1'000'000'000 + now.tv_nsec - clock_offset_ns;
}

}  // namespace millrace::test
