// All watchers of a loop share one inbox, which the process's signal handler fills, and one
// eventfd, which tells the loop that it has. (A signalfd would need each signal blocked in every
// thread of the process, whoever started it, and programs that are started would inherit that; and
// of two loops that watch one signal only one would see it.)
#include <millrace/check.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/loop_services.h>
#include <millrace/signal_watcher.h>
#include <millrace/unique_fd.h>

#include "signal_inbox.h"
#include "syscalls.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>

namespace millrace {

namespace {

std::atomic<std::uint64_t> threads{0};  // that have watched signals

// Of this thread: how many loops watch a signal (loops may share a thread), and whether it was
// blocked before the first of them did.
struct LetThrough {
  const std::uint64_t thread = ++threads;  // an address may be that of a later thread again
  std::array<unsigned, NSIG> loops{};
  std::array<bool, NSIG> was_blocked{};
};
thread_local LetThrough let_through;

// Signals taken per turn: a callback that raises one must not keep the loop.
constexpr int kSignalsPerTurn = 64;

sigset_t only(int number) noexcept {
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, number);
  return one;
}

}  // namespace

class SignalWatcher::Subscription final : public Mortal {
 public:
  Subscription(SignalHub* its_hub, std::vector<int> its_signals,
               Function<void(const SignalInfo&)> its_callback)
      : hub(its_hub), signals(std::move(its_signals)), callback(std::move(its_callback)) {}

  SignalHub* hub;
  std::vector<int> signals;
  Function<void(const SignalInfo&)> callback;
};

// All of one loop's subscriptions. Its descriptor is open, and its inbox in use, while there are
// any.
class SignalHub {
 public:
  using Subscription = SignalWatcher::Subscription;

  explicit SignalHub(EventLoop& loop) : loop_(loop) {}

  void add(Subscription& subscription);
  void remove(Subscription* subscription) noexcept;
  void bury(std::unique_ptr<Subscription> subscription) noexcept {
    loop_.services().bury(std::move(subscription));
  }

 private:
  class Target;
  void open();
  void close() noexcept;
  void start(int number);
  void stop(int number) noexcept;
  void dispatch(const SignalInfo& info);

  EventLoop& loop_;
  Target* target_ = nullptr;
  SignalInbox inbox_;
  std::array<unsigned, NSIG> wanted_{};
  std::array<std::uint64_t, NSIG> through_{};  // LetThrough::thread, where it was first wanted
  std::vector<Subscription*> subscriptions_;   // null: removed while dispatching
  bool dispatching_ = false;
};

class SignalHub::Target final : public IoTarget {
 public:
  Target(EventLoop& loop, SignalHub& hub) : IoTarget(loop), hub_(hub) {}

  int watch(int fd) noexcept { return attach(fd, Interest::read); }
  void end() noexcept {
    detach_and_close();
    bury();
  }

 private:
  void handle_io(IoEvents) override {
    // None after the last watcher is gone, or was replaced.
    for (int left = kSignalsPerTurn; left > 0 && attached(); --left) {
      const std::optional<SignalInfo> info = hub_.inbox_.take();
      if (!info) return;
      hub_.dispatch(*info);
    }
  }
  // The parent's loop must not be woken by what the child is told, nor the other way round.
  void handle_reinit() override {
    const UniqueFd own(sys::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!own || sys::dup3(own.get(), fd(), O_CLOEXEC) < 0) throw_system_error(errno, "eventfd");
    hub_.inbox_.reinit();
  }
  void handle_burial() noexcept override { loop().services().slab<Target>().destroy(this); }

  SignalHub& hub_;
};

void SignalHub::add(Subscription& subscription) {
  MILLRACE_CHECK(!loop_.services().forked_away(), "this loop belongs to the parent process");
  if (!target_) open();
  std::size_t started = 0;
  try {
    subscriptions_.push_back(&subscription);
    for (const int number : subscription.signals) {
      start(number);
      ++started;
    }
  } catch (...) {
    subscription.signals.resize(started);
    remove(&subscription);
    throw;
  }
}

void SignalHub::remove(Subscription* subscription) noexcept {
  for (const int number : subscription->signals) stop(number);
  std::replace(subscriptions_.begin(), subscriptions_.end(), subscription,
               static_cast<Subscription*>(nullptr));
  if (!dispatching_) std::erase(subscriptions_, nullptr);
  const bool none = std::all_of(subscriptions_.begin(), subscriptions_.end(),
                                [](const Subscription* s) { return s == nullptr; });
  if (none) close();
}

void SignalHub::open() {
  UniqueFd fd(sys::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd) throw_system_error(errno, "eventfd");
  auto* target = loop_.services().slab<Target>().make(loop_, *this);
  if (const int e = target->watch(fd.get())) {
    target->end();
    throw_system_error(e, "epoll_ctl for an eventfd");
  }
  target_ = target;
  inbox_.enter(fd.release());
}

void SignalHub::close() noexcept {
  inbox_.leave();
  std::exchange(target_, nullptr)->end();
}

void SignalHub::start(int number) {
  const bool is_signal = number >= 1 && number < NSIG;
  const auto at = is_signal ? static_cast<std::size_t>(number) : 0;
  if (wanted_[at] == 0) {
    if (const int e = is_signal ? inbox_.want(number) : EINVAL) {
      throw_system_error(e, "SignalWatcher: signal " + std::to_string(number));
    }
    through_[at] = let_through.thread;
    if (let_through.loops[at]++ == 0) {
      const sigset_t one = only(number);
      sigset_t before;
      sys::pthread_sigmask(SIG_UNBLOCK, &one, &before);  // one that is pending arrives now
      let_through.was_blocked[at] = sigismember(&before, number) == 1;
    }
  }
  ++wanted_[at];
}

void SignalHub::stop(int number) noexcept {
  const auto at = static_cast<std::size_t>(number);
  if (--wanted_[at] > 0) return;
  // Not where it was made in another thread: this one's mask, and what counts for it, stay.
  if (through_[at] == let_through.thread && --let_through.loops[at] == 0 &&
      let_through.was_blocked[at]) {
    const sigset_t one = only(number);
    sys::pthread_sigmask(SIG_BLOCK, &one, nullptr);
  }
  inbox_.drop(number);
}

void SignalHub::dispatch(const SignalInfo& info) {
  // Each of those present now, whatever they do to each other meanwhile.
  dispatching_ = true;
  const std::size_t present = subscriptions_.size();
  for (std::size_t i = 0; i < present; ++i) {
    Subscription* subscription = subscriptions_[i];
    if (!subscription || std::find(subscription->signals.begin(), subscription->signals.end(),
                                   info.number) == subscription->signals.end()) {
      continue;
    }
    try {
      subscription->callback(info);
    } catch (...) {
      loop_.services().report_exception(std::current_exception(), "signal");
    }
  }
  dispatching_ = false;
  std::erase(subscriptions_, nullptr);
}

SignalWatcher::SignalWatcher(EventLoop& loop, std::initializer_list<int> signals,
                             Function<void(const SignalInfo&)> callback) {
  MILLRACE_CHECK(callback, "a SignalWatcher needs a callback");
  auto* hub = &loop.services().local<SignalHub>(loop);
  std::unique_ptr<Subscription> made(new Subscription(hub, signals, std::move(callback)));
  made->hub->add(*made);
  subscription_ = made.release();
}

SignalWatcher::SignalWatcher(SignalWatcher&& other) noexcept
    : subscription_(std::exchange(other.subscription_, nullptr)) {}

SignalWatcher& SignalWatcher::operator=(SignalWatcher&& other) noexcept {
  if (this == &other) return *this;
  const SignalWatcher old(std::move(*this));
  subscription_ = std::exchange(other.subscription_, nullptr);
  return *this;
}

SignalWatcher::~SignalWatcher() {
  if (!subscription_) return;
  SignalHub& hub = *subscription_->hub;
  hub.remove(subscription_);
  hub.bury(std::unique_ptr<Subscription>(subscription_));  // its callback may be running
}

}  // namespace millrace
