#include "signal_inbox.h"

#include "syscalls.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>

namespace millrace {

namespace {

constexpr int kForeign = -1;  // of another process

constexpr bool is_fault(int number) {
  return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL;
}

// Whether the kernel says who sent it, or which child it is about.
bool has_sender(const siginfo_t& info) {
  return info.si_signo == SIGCHLD || info.si_code == SI_USER || info.si_code == SI_QUEUE ||
         info.si_code == SI_TKILL || info.si_code == SI_MESGQ;
}

SignalInfo info_of(const siginfo_t& info) {
  SignalInfo result{.number = info.si_signo, .code = info.si_code};
  if (has_sender(info)) {
    result.pid = info.si_pid;
    result.uid = info.si_uid;
  }
  if (info.si_code == SI_QUEUE || info.si_code == SI_MESGQ) result.value = info.si_value.sival_int;
  return result;
}

}  // namespace

// One that a signal handler may take.
class SignalLock {
 public:
  void lock() noexcept {
    while (taken_.exchange(1, std::memory_order_acquire) != 0) {
      taken_.wait(1, std::memory_order_relaxed);
    }
  }
  void unlock() noexcept {
    taken_.store(0, std::memory_order_release);
    taken_.notify_one();
  }

 private:
  std::atomic<int> taken_{0};
};

// Of the process.
struct SignalRegistry {
  // Who watches a signal, and what it did before.
  struct Watched {
    std::atomic<int> by{0};  // the process whose inboxes want it; 0: nobody
    unsigned inboxes = 0;
    struct sigaction before {};
  };

  Watched& of(int number) noexcept { return signals[static_cast<std::size_t>(number)]; }

  int install(int number) noexcept;
  void uninstall(int number) noexcept;
  void watch_forks();
  void disown() noexcept;
  static void handle(int number, siginfo_t* info, void* context);

  // In this order: who enters, leaves, wants and drops holds both, the handler and take() the
  // second one only, fork() the first one only.
  SignalLock setup;
  SignalLock contents;
  SignalInbox* first = nullptr;
  std::array<Watched, NSIG> signals{};
  sigset_t mask_at_fork{};
};

namespace {

constinit SignalRegistry registry;

sigset_t all_signals() noexcept {
  sigset_t all;
  sigfillset(&all);
  return all;
}

class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    const sigset_t all = all_signals();
    sys::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { sys::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// To look into an inbox, outside of the handler.
struct ContentsLock {
  const SignalsBlocked blocked = {};
  const std::lock_guard<SignalLock> contents{registry.contents};
};

// To change which inboxes there are, or what they want.
struct RegistryLock {
  const SignalsBlocked blocked = {};
  const std::lock_guard<SignalLock> setup{registry.setup};
  const std::lock_guard<SignalLock> contents{registry.contents};
};

}  // namespace

void SignalRegistry::handle(int number, siginfo_t* info, void*) {
  const int saved = errno;  // it may have interrupted anything
  Watched& watched = registry.of(number);
  const int by = watched.by.load(std::memory_order_acquire);
  const int self = sys::getpid();
  if (by == self) {
    registry.contents.lock();
    for (SignalInbox* inbox = registry.first; inbox; inbox = inbox->next_) {
      if (inbox->pid_ == self && inbox->wanted_[static_cast<std::size_t>(number)]) {
        inbox->put(info_of(*info));
      }
    }
    registry.contents.unlock();
  } else if (by != 0) {
    // A child that has the parent's handlers and none of its loops. Nothing else of it may be
    // touched: after vfork() the memory is the parent's, after fork() the locks may be taken.
    sys::sigaction(number, &watched.before, nullptr);
    sys::raise(number);  // comes when this handler has returned
  }
  errno = saved;
}

int SignalRegistry::install(int number) noexcept {
  struct sigaction ours {};
  ours.sa_sigaction = &SignalRegistry::handle;
  ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  ours.sa_mask = all_signals();
  struct sigaction before {};
  Watched& watched = of(number);
  const int own_by = watched.by.exchange(sys::getpid(), std::memory_order_acq_rel);
  if (sys::sigaction(number, nullptr, &before) != 0) {
    watched.by.store(own_by, std::memory_order_release);
    return errno;
  }
  // In a child ours is there already, inherited.
  const bool is_ours =
      (before.sa_flags & SA_SIGINFO) != 0 && before.sa_sigaction == &SignalRegistry::handle;
  if (!is_ours) watched.before = before;
  if (sys::sigaction(number, &ours, nullptr) != 0) {
    watched.by.store(own_by, std::memory_order_release);
    return errno;
  }
  watched.inboxes = 0;
  return 0;
}

void SignalRegistry::uninstall(int number) noexcept {
  struct sigaction now {};
  // Somebody may have put another there meanwhile.
  if (sys::sigaction(number, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) != 0 &&
      now.sa_sigaction == &SignalRegistry::handle) {
    sys::sigaction(number, &of(number).before, nullptr);
  }
  of(number).by.store(0, std::memory_order_release);
}

// The child must find the locks free and the list whole. Whom the handler waits for must not wait
// for fork(): that takes further locks (malloc's), which the thread that it has interrupted may
// hold. So what is in the inboxes is not held still: no child looks at it before reinit().
void SignalRegistry::watch_forks() {
  static const int watching = pthread_atfork(
      [] {
        const sigset_t all = all_signals();
        sigset_t before;
        sys::pthread_sigmask(SIG_SETMASK, &all, &before);
        registry.setup.lock();
        registry.mask_at_fork = before;
      },
      [] {
        const sigset_t before = registry.mask_at_fork;
        registry.setup.unlock();
        sys::pthread_sigmask(SIG_SETMASK, &before, nullptr);
      },
      [] {
        const sigset_t before = registry.mask_at_fork;
        registry.disown();
        registry.contents.unlock();  // who had it is not in this process
        registry.setup.unlock();
        sys::pthread_sigmask(SIG_SETMASK, &before, nullptr);
      });
  static_cast<void>(watching);
}

// In a child: the number of the parent may one day be that of a process that descends from it.
void SignalRegistry::disown() noexcept {
  for (Watched& watched : signals) {
    if (watched.by.load(std::memory_order_relaxed) != 0) {
      watched.by.store(kForeign, std::memory_order_release);
    }
  }
  for (SignalInbox* inbox = first; inbox; inbox = inbox->next_) inbox->pid_ = kForeign;
}

void SignalInbox::enter(int eventfd) noexcept {
  registry.watch_forks();
  const RegistryLock lock;
  eventfd_ = eventfd;
  pid_ = sys::getpid();
  next_ = registry.first;
  registry.first = this;
}

void SignalInbox::leave() noexcept {
  const RegistryLock lock;
  SignalInbox** at = &registry.first;
  while (*at != this) at = &(*at)->next_;
  *at = next_;
}

int SignalInbox::want(int number) noexcept {
  if (number < 1 || number >= NSIG || is_fault(number)) return EINVAL;
  const RegistryLock lock;
  SignalRegistry::Watched& watched = registry.of(number);
  if (watched.by.load(std::memory_order_relaxed) != pid_) {
    if (const int e = registry.install(number)) return e;
  }
  ++watched.inboxes;
  wanted_[static_cast<std::size_t>(number)] = true;
  return 0;
}

void SignalInbox::drop(int number) noexcept {
  const RegistryLock lock;
  wanted_[static_cast<std::size_t>(number)] = false;
  if (pid_ != sys::getpid()) return;
  forget(number);
  if (--registry.of(number).inboxes == 0) registry.uninstall(number);
}

void SignalInbox::put(const SignalInfo& info) noexcept {
  if (empty()) show_waiting();
  if (kept_ < kKept && more_in_all_ == 0) {
    ring_[(first_ + kept_++) % kKept] = info;
  } else {
    ++more_[static_cast<std::size_t>(info.number)];
    ++more_in_all_;
  }
}

std::optional<SignalInfo> SignalInbox::take() noexcept {
  const ContentsLock lock;
  if (empty()) return std::nullopt;
  SignalInfo taken;
  if (kept_ > 0) {
    taken = ring_[first_];
    first_ = (first_ + 1) % kKept;
    --kept_;
  } else {
    const auto more = std::find_if(more_.begin(), more_.end(), [](auto n) { return n != 0; });
    taken.number = static_cast<int>(more - more_.begin());
    --*more;
    --more_in_all_;
  }
  if (empty()) show_empty();
  return taken;
}

void SignalInbox::forget(int number) noexcept {
  if (empty()) return;
  std::size_t left = 0;
  for (std::size_t i = 0; i < kept_; ++i) {
    const SignalInfo info = ring_[(first_ + i) % kKept];
    if (info.number != number) ring_[(first_ + left++) % kKept] = info;
  }
  kept_ = left;
  more_in_all_ -= more_[static_cast<std::size_t>(number)];
  more_[static_cast<std::size_t>(number)] = 0;
  if (empty()) show_empty();
}

void SignalInbox::show_waiting() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = sys::write(eventfd_, &one, sizeof one);
}

void SignalInbox::show_empty() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto read = sys::read(eventfd_, &count, sizeof count);
}

void SignalInbox::reinit() noexcept {
  const RegistryLock lock;
  if (pid_ == sys::getpid()) {  // it is no child, or not for the first time
    if (!empty()) show_waiting();
    return;
  }
  pid_ = sys::getpid();
  first_ = kept_ = 0;
  more_ = {};
  more_in_all_ = 0;
  for (int number = 1; number < NSIG; ++number) {
    if (!wanted_[static_cast<std::size_t>(number)]) continue;
    SignalRegistry::Watched& watched = registry.of(number);
    // What could be installed in the parent can be here.
    if (watched.by.load(std::memory_order_relaxed) != pid_) registry.install(number);
    ++watched.inboxes;
  }
}

}  // namespace millrace
