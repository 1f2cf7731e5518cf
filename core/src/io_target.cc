#include <millrace/check.h>
#include <millrace/event_loop.h>
#include <millrace/io_target.h>
#include <millrace/slab.h>

#include "loop_core.h"

#include <utility>

namespace millrace {

IoTarget::IoTarget(EventLoop& loop) {
  SlabChunk::of(this).loop = &loop;
  LoopCore::of(loop).add_target();
}

IoTarget::~IoTarget() {
  LoopCore::of(loop()).remove_target();
}

LoopCore& IoTarget::usable_core() const noexcept {
  LoopCore& core = LoopCore::of(loop());
  core.assert_usable();
  MILLRACE_CHECK(!core.forked_away(), "this loop belongs to the parent process");
  return core;
}

int IoTarget::attach(int fd, Interest interest) noexcept {
  MILLRACE_DCHECK(!attached(), "attach() of a target that is already watched");
  if (const int e = usable_core().poller().add(fd, interest, Slot::of(this))) return e;
  fd_ = fd;
  interest_ = interest;
  registered_ = true;
  return 0;
}

int IoTarget::change_interest(Interest interest) noexcept {
  if (!attached()) return 0;
  Poller& poller = usable_core().poller();
  Slot& slot = Slot::of(this);
  const int e = registered_ ? poller.modify(fd_, interest, slot) : poller.add(fd_, interest, slot);
  if (e) return e;
  interest_ = interest;
  registered_ = true;
  return 0;
}

void IoTarget::silence() noexcept {
  if (!registered_) return;
  usable_core().poller().remove(fd_);
  interest_ = Interest::none;
  registered_ = false;
}

int IoTarget::detach_and_release() noexcept {
  if (!attached()) return -1;
  LoopCore& core = LoopCore::of(loop());
  core.assert_usable();
  // A forked child shares the parent's epoll instance: removing there would silence the parent.
  if (registered_ && !core.forked_away()) core.poller().remove(fd_);
  interest_ = Interest::none;
  registered_ = false;
  return std::exchange(fd_, -1);
}

void IoTarget::detach() noexcept {
  static_cast<void>(detach_and_release());
}

void IoTarget::detach_and_close(bool shared) noexcept {
  if (!attached()) return;
  if (shared || LoopCore::ever_forked()) {
    sys::close(detach_and_release());
    return;
  }
  LoopCore::of(loop()).assert_usable();
  interest_ = Interest::none;
  registered_ = false;
  sys::close(std::exchange(fd_, -1));
}

void IoTarget::request_flush() noexcept {
  LoopCore::of(loop()).request_flush(*this);
}

void IoTarget::bury() noexcept {
  LoopCore::of(loop()).bury(*this);
}

}  // namespace millrace
