// IoWatcher tells when a descriptor that somebody else owns is ready: a pipe, a library's socket,
// an inotify or timer descriptor. It is an owner of the registration: destroying it ends it, and
// that must happen before the descriptor is closed and before the loop is gone. Loop's thread only.
//
//   IoWatcher watcher(loop, pipe_fd, Interest::read, [&](IoEvents) {
//     n = ::read(pipe_fd, buffer, sizeof buffer);
//   });
//
// Level-triggered: called again in each iteration as long as it is so. A hang-up or an error that
// arrives while nothing is asked for is told once and then kept quiet until set_interest().
#pragma once

#include <millrace/function.h>
#include <millrace/io_target.h>

namespace millrace {

class IoWatcher {
 public:
  using Callback = Function<void(IoEvents), 48>;

  // Throws std::system_error naming the descriptor when it cannot be watched: EPERM for a regular
  // file, EBADF, EEXIST when the loop already watches it.
  IoWatcher(EventLoop& loop, int fd, Interest interest, Callback callback);
  IoWatcher(IoWatcher&& other) noexcept;
  IoWatcher& operator=(IoWatcher&& other) noexcept;
  ~IoWatcher();

  // Interest::none pauses. Throws std::system_error.
  void set_interest(Interest interest);
  int fd() const noexcept;

 private:
  class Target;
  Target* target_;
};

}  // namespace millrace
