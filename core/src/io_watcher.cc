#include <millrace/check.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/io_watcher.h>
#include <millrace/loop_services.h>

#include <string>
#include <utility>

namespace millrace {

class IoWatcher::Target final : public IoTarget {
 public:
  Target(EventLoop& loop, Callback callback) : IoTarget(loop), callback_(std::move(callback)) {}

  // Each returns 0 or an errno value.
  int watch(int fd, Interest interest) noexcept { return attach(fd, interest); }
  int change(Interest interest) noexcept { return set_interest(interest); }

  void end() noexcept {
    detach();
    bury();
  }

 private:
  void handle_io(IoEvents events) override {
    if (interest() == Interest::none) silence();
    callback_(events);
  }
  void handle_burial() noexcept override { loop().services().slab<Target>().destroy(this); }

  Callback callback_;
};

IoWatcher::IoWatcher(EventLoop& loop, int fd, Interest interest, Callback callback) {
  MILLRACE_CHECK(callback, "an IoWatcher needs a callback");
  target_ = loop.services().slab<Target>().make(loop, std::move(callback));
  if (const int e = target_->watch(fd, interest)) {
    target_->end();
    throw_system_error(e, "epoll_ctl: watch descriptor " + std::to_string(fd));
  }
}

IoWatcher::IoWatcher(IoWatcher&& other) noexcept : target_(std::exchange(other.target_, nullptr)) {}

IoWatcher& IoWatcher::operator=(IoWatcher&& other) noexcept {
  if (this != &other) {
    if (target_) target_->end();
    target_ = std::exchange(other.target_, nullptr);
  }
  return *this;
}

IoWatcher::~IoWatcher() {
  if (target_) target_->end();
}

void IoWatcher::set_interest(Interest interest) {
  MILLRACE_CHECK(target_ != nullptr, "set_interest() of an IoWatcher that was moved from");
  if (const int e = target_->change(interest)) {
    throw_system_error(e, "epoll_ctl: watch descriptor " + std::to_string(target_->fd()));
  }
}

int IoWatcher::fd() const noexcept {
  return target_ ? target_->fd() : -1;
}

}  // namespace millrace
