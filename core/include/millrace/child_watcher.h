// ChildWatcher tells how a child process has ended, and reaps it: once, from the loop, also when it
// ended before it was watched. It needs no SIGCHLD, and waits for no child but its own. It is an
// owner: destroying it, also in its own callback, ends the watch. Loop's thread only.
//
//   pid_t pid = 0;
//   ::posix_spawnp(&pid, "gzip", nullptr, nullptr, arguments, environ);
//   ChildWatcher gzip(loop, pid, [](const ChildExit& how) { std::cout << how.to_string(); });
//   Timer limit = loop.after(10s, [&] { gzip.send_signal(SIGKILL); });
//
// A child whose watcher goes first runs on, and is a zombie once it ends until somebody waits for
// it: with another ChildWatcher, or waitpid(2). Nobody else may wait for a child that is watched
// (as waitpid(-1) does), and SIGCHLD must not be ignored, or how it ended is lost.
#pragma once

#include <millrace/function.h>
#include <millrace/time.h>
#include <millrace/unique_fd.h>

#include <cstdint>
#include <string>
#include <system_error>

namespace millrace {

class EventLoop;

struct ChildExit {
  // Why it is not known how it ended; then all below but pid is zero. error::child_ignored: SIGCHLD
  // is ignored, so the kernel does not keep it. error::child_reaped: somebody else waited for it,
  // or a forked copy of the loop asks, whose child it is not.
  std::error_code error = {};
  int pid = 0;
  int status = 0;            // that it gave to exit(), if signal is 0
  int signal = 0;            // that ended it; 0: it ended by itself
  bool core_dumped = false;  // besides
  // What it used, and those of its own children that it has waited for.
  Duration user_time{0};
  Duration system_time{0};
  std::uint64_t most_memory_bytes = 0;  // resident, at its peak

  bool succeeded() const noexcept { return !error && signal == 0 && status == 0; }
  std::string to_string() const;  // "exited with status 1", "killed by signal 11, core dumped", ...
};

class ChildWatcher {
 public:
  using Callback = Function<void(const ChildExit&), 48>;

  // Throws std::system_error naming the process: ESRCH when there is none (it never was, or was
  // reaped), ECHILD when it is no child of this process, EINVAL when it is a thread or no number of
  // a process.
  ChildWatcher(EventLoop& loop, int pid, Callback callback);
  // With the pidfd that clone() or pidfd_open() gave, which it owns from now on, also when it
  // throws: EBADF when the descriptor is no pidfd.
  ChildWatcher(EventLoop& loop, UniqueFd pidfd, Callback callback);
  ChildWatcher(ChildWatcher&& other) noexcept;
  ChildWatcher& operator=(ChildWatcher&& other) noexcept;
  ~ChildWatcher();

  // Of a child that was given by its pidfd: 0 until it has ended.
  int pid() const noexcept;
  // To this child and, whatever happens meanwhile, to no other process. ESRCH once its end was
  // told; one that has ended and was not told yet takes it in vain.
  std::error_code send_signal(int number) noexcept;

 private:
  class Target;
  static Target* start(EventLoop& loop, UniqueFd pidfd, int pid, Callback callback);
  Target* target_;
};

}  // namespace millrace
