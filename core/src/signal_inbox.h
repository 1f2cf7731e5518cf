// SignalInbox is where the process's signal handler puts what a loop wants to know, until the loop
// takes it. One per loop that watches signals, from enter() to leave(), in the loop's thread; the
// handler runs in whatever thread the kernel chose.
//
// All inboxes are in one list, and each watched signal counts those that want it: the first
// installs the handler, the last puts back what was there before. List and counts are under one
// lock, what is in the inboxes under another, the only one that the handler takes. Who takes that
// blocks all signals first, and the handler runs with all of them blocked: so it never waits for
// the code that it has interrupted, nor, by way of others, for a lock that this code holds.
//
// Invariants, under the locks:
// 1. The descriptor is readable exactly while something waits.
// 2. Nothing waits that is not wanted.
// 3. What belongs to another process (pid_, and that of the signal) is left alone: after fork() the
//    child has a copy of everything, but the descriptors lead to its parent.
#pragma once

#include <millrace/signal_watcher.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <signal.h>

namespace millrace {

class SignalInbox {
 public:
  SignalInbox() noexcept = default;
  SignalInbox(const SignalInbox&) = delete;
  SignalInbox& operator=(const SignalInbox&) = delete;

  // `eventfd` stays the caller's, open until leave().
  void enter(int eventfd) noexcept;
  void leave() noexcept;
  // Returns 0 or an errno value: EINVAL when there is no such signal, or it is not for catching.
  [[nodiscard]] int want(int number) noexcept;
  // What waits of it is forgotten. Precondition: wanted.
  void drop(int number) noexcept;
  // What has waited longest.
  std::optional<SignalInfo> take() noexcept;
  // In a child, where the descriptor now leads to another eventfd: all that is wanted is wanted
  // here, and nothing waits.
  void reinit() noexcept;

 private:
  // Who sent more than these is not kept, only how many of which signal: a loop that does not turn
  // for a while takes no memory for it.
  static constexpr std::size_t kKept = 64;

  friend struct SignalRegistry;
  void put(const SignalInfo& info) noexcept;
  void forget(int number) noexcept;
  bool empty() const noexcept { return kept_ == 0 && more_in_all_ == 0; }
  void show_waiting() noexcept;
  void show_empty() noexcept;

  int eventfd_ = -1;
  int pid_ = 0;
  SignalInbox* next_ = nullptr;
  std::array<bool, NSIG> wanted_{};
  std::array<SignalInfo, kKept> ring_{};
  std::size_t first_ = 0;
  std::size_t kept_ = 0;
  std::array<std::uint32_t, NSIG> more_{};  // that found the ring full
  std::uint64_t more_in_all_ = 0;           // their sum
};

}  // namespace millrace
