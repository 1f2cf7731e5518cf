// A loop and fork(): the child must not disturb its parent through the descriptors that they share,
// and may start over with descriptors of its own.
#include <millrace/error.h>

#include "loop_core.h"

#include <atomic>

#include <fmt/format.h>
#include <pthread.h>

namespace millrace {
namespace {

std::atomic<unsigned> fork_count{0};  // of forks that made this process a child
std::atomic<bool> process_forked{false};

}  // namespace

unsigned LoopCore::watch_forks() {
  static const bool watching = [] {
    pthread_atfork([] { process_forked = true; }, nullptr, [] { ++fork_count; });
    return true;
  }();
  static_cast<void>(watching);
  return fork_count.load();
}

bool LoopCore::forked_away() const noexcept {
  return fork_generation_ != fork_count.load(std::memory_order_relaxed);
}

bool LoopCore::ever_forked() noexcept {
  return process_forked.load(std::memory_order_relaxed);
}

void LoopCore::reinit_after_fork() {
  poller_.reopen();
  mailbox_->reopen_wake_fd();
  if (const int e = poller_.add_wake_up(mailbox_->wake_fd())) {
    throw_system_error(e, "epoll_ctl for the loop's wake-up descriptor");
  }
  ready_ = 0;
  fork_generation_ = fork_count.load();
  thread_ = std::this_thread::get_id();
  for (auto* slab : services_.target_slabs_) {
    slab->for_each(
        [](IoTarget& target, void* self) {
          if (!target.registered_) return;
          target.handle_reinit();
          auto& poller = static_cast<LoopCore*>(self)->poller_;
          const int e = poller.add(target.fd_, target.interest_, Slot::of(&target));
          if (e) throw_system_error(e, fmt::format("epoll_ctl add {}", target.fd_));
        },
        this);
  }
}

}  // namespace millrace
