#include "mailbox.h"

#include <millrace/error.h>

#include "syscalls.h"

#include <cerrno>
#include <utility>

namespace millrace {

Mailbox::Mailbox() {
  reopen_wake_fd();
}

void Mailbox::reopen_wake_fd() {
  UniqueFd fd(sys::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd) throw_system_error(errno, "eventfd");
  wake_fd_ = std::move(fd);
}

bool Mailbox::post(Task&& task) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return false;
    tasks_.push_back(std::move(task));
    pending_.store(true, std::memory_order_seq_cst);
  }
  wake();
  return true;
}

void Mailbox::stop() noexcept {
  stop_.store(true, std::memory_order_seq_cst);
  wake();
}

void Mailbox::wake() noexcept {
  // The first who finds the loop asleep wakes it; the exchange keeps the others from doing it
  // again.
  if (!asleep_.load(std::memory_order_seq_cst) || !asleep_.exchange(false)) return;
  const int saved = errno;  // stop() may interrupt anything
  const std::uint64_t one = 1;
  // EAGAIN would mean a saturated counter: readable, so the loop wakes all the same.
  [[maybe_unused]] const auto written = sys::write(wake_fd_.get(), &one, sizeof one);
  wakeups_written_.fetch_add(1, std::memory_order_relaxed);
  errno = saved;
}

bool Mailbox::prepare_to_sleep() noexcept {
  asleep_.store(true, std::memory_order_seq_cst);
  if (!pending() && !stop_requested()) return true;
  awake();
  return false;
}

void Mailbox::take(std::vector<Task>& batch) noexcept {
  const std::lock_guard lock(mutex_);
  std::swap(batch, tasks_);
  pending_.store(false, std::memory_order_seq_cst);
}

void Mailbox::trim(std::size_t kept) noexcept {
  std::vector<Task> old;
  const std::lock_guard lock(mutex_);
  if (tasks_.empty() && tasks_.capacity() > kept) std::swap(old, tasks_);
}

void Mailbox::close() noexcept {
  std::vector<Task> unrun;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    std::swap(unrun, tasks_);
  }
  // Destroyed outside of the lock: what a task owns may post while it is destroyed.
}

}  // namespace millrace
