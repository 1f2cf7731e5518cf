// One signalfd serves all watchers of a loop: the kernel gives a pending signal to whoever reads it
// first, so that two descriptors for one signal would each see only some of them.
#include <millrace/check.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/loop_services.h>
#include <millrace/signal_watcher.h>
#include <millrace/unique_fd.h>

#include "syscalls.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace millrace {

namespace {

// Of this thread: how many loops watch a signal (loops may share a thread), and whether it was
// blocked before the first of them did.
struct Watched {
  std::array<unsigned, NSIG> loops{};
  std::array<bool, NSIG> was_blocked{};
};
thread_local Watched watched;

// Signals taken per turn: a callback that raises one must not keep the loop.
constexpr int kSignalsPerTurn = 64;

}  // namespace

class SignalWatcher::Subscription final : public Mortal {
 public:
  Subscription(SignalHub* its_hub, std::vector<int> its_signals, Function<void(int)> its_callback)
      : hub(its_hub), signals(std::move(its_signals)), callback(std::move(its_callback)) {}

  SignalHub* hub;
  std::vector<int> signals;
  Function<void(int)> callback;
};

// All of one loop's subscriptions. Its descriptor is open while there are any.
class SignalHub {
 public:
  using Subscription = SignalWatcher::Subscription;

  explicit SignalHub(EventLoop& loop) : loop_(loop) { sigemptyset(&mask_); }

  void add(Subscription& subscription);
  void remove(Subscription* subscription) noexcept;
  void bury(std::unique_ptr<Subscription> subscription) noexcept {
    loop_.services().bury(std::move(subscription));
  }

 private:
  class Target;
  void open_or_update();
  void block(int number);
  void unblock(int number) noexcept;
  void dispatch(int number);

  EventLoop& loop_;
  Target* target_ = nullptr;
  sigset_t mask_;
  std::array<unsigned, NSIG> wanted_{};
  std::vector<Subscription*> subscriptions_;  // null: removed while dispatching
  bool dispatching_ = false;
};

class SignalHub::Target final : public IoTarget {
 public:
  Target(EventLoop& loop, SignalHub& hub) : IoTarget(loop), hub_(hub) {}

  int watch(int fd) noexcept { return attach(fd, Interest::read); }
  void end() noexcept {
    detach_and_close(true);
    bury();
  }

 private:
  void handle_io(IoEvents) override {
    signalfd_siginfo info;
    // One signal per read, and none after the last watcher is gone: its rest is not ours to take.
    for (int left = kSignalsPerTurn; left > 0 && attached(); --left) {
      if (sys::read(fd(), &info, sizeof info) != sizeof info) return;
      hub_.dispatch(static_cast<int>(info.ssi_signo));
    }
  }
  void handle_burial() noexcept override { loop().services().slab<Target>().destroy(this); }

  SignalHub& hub_;
};

void SignalHub::add(Subscription& subscription) {
  for (const int number : subscription.signals) {
    if (number < 1 || number >= NSIG || number == SIGKILL || number == SIGSTOP) {
      throw_system_error(EINVAL, "SignalWatcher: signal " + std::to_string(number));
    }
  }
  subscriptions_.push_back(&subscription);
  for (const int number : subscription.signals) {
    if (wanted_[static_cast<std::size_t>(number)]++ == 0) block(number);
  }
  try {
    open_or_update();
  } catch (...) {
    remove(&subscription);
    throw;
  }
}

void SignalHub::remove(Subscription* subscription) noexcept {
  for (const int number : subscription->signals) {
    if (--wanted_[static_cast<std::size_t>(number)] == 0) unblock(number);
  }
  *std::find(subscriptions_.begin(), subscriptions_.end(), subscription) = nullptr;
  if (!dispatching_) std::erase(subscriptions_, nullptr);
  const bool none = std::all_of(subscriptions_.begin(), subscriptions_.end(),
                                [](const Subscription* s) { return s == nullptr; });
  if (!target_) return;
  if (none) {
    std::exchange(target_, nullptr)->end();
  } else if (!LoopServices::ever_forked()) {
    // Else its mask may be another process's too. A signal too many does no harm: it is not
    // blocked.
    sys::signalfd(target_->fd(), &mask_, 0);
  }
}

void SignalHub::open_or_update() {
  if (target_ && !LoopServices::ever_forked()) {
    if (sys::signalfd(target_->fd(), &mask_, 0) < 0) throw_system_error(errno, "signalfd");
    return;
  }
  const int fd = sys::signalfd(-1, &mask_, SFD_NONBLOCK | SFD_CLOEXEC);
  if (fd < 0) throw_system_error(errno, "signalfd");
  UniqueFd owner(fd);
  auto* target = loop_.services().slab<Target>().make(loop_, *this);
  if (const int e = target->watch(fd)) {
    target->end();
    throw_system_error(e, "epoll_ctl for a signalfd");
  }
  static_cast<void>(owner.release());
  if (target_) target_->end();
  target_ = target;
}

void SignalHub::block(int number) {
  sigaddset(&mask_, number);
  const auto at = static_cast<std::size_t>(number);
  if (watched.loops[at]++ > 0) return;
  sigset_t one;
  sigset_t before;
  sigemptyset(&one);
  sigaddset(&one, number);
  sys::pthread_sigmask(SIG_BLOCK, &one, &before);
  watched.was_blocked[at] = sigismember(&before, number) == 1;
}

void SignalHub::unblock(int number) noexcept {
  sigdelset(&mask_, number);
  const auto at = static_cast<std::size_t>(number);
  if (watched.loops[at] == 0) return;  // it was made in another thread: this one's mask stays
  if (--watched.loops[at] > 0 || watched.was_blocked[at]) return;
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, number);
  // One that arrived while it was watched is done with; delivered now, it would kill the process.
  const timespec at_once{};
  sys::sigtimedwait(&one, &at_once);
  sys::pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
}

void SignalHub::dispatch(int number) {
  // Each of those present now, whatever they do to each other meanwhile.
  dispatching_ = true;
  const std::size_t present = subscriptions_.size();
  for (std::size_t i = 0; i < present; ++i) {
    Subscription* subscription = subscriptions_[i];
    if (!subscription || std::find(subscription->signals.begin(), subscription->signals.end(),
                                   number) == subscription->signals.end()) {
      continue;
    }
    try {
      subscription->callback(number);
    } catch (...) {
      loop_.services().report_exception(std::current_exception(), "signal");
    }
  }
  dispatching_ = false;
  std::erase(subscriptions_, nullptr);
}

SignalWatcher::SignalWatcher(EventLoop& loop, std::initializer_list<int> signals,
                             Function<void(int)> callback) {
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
