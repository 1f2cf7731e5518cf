// A pidfd is readable once its process has ended: it is a descriptor like others, where SIGCHLD is
// one signal for all children, of which several may count as one.
#include <millrace/check.h>
#include <millrace/child_watcher.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/loop_services.h>

#include "syscalls.h"

#include <cerrno>
#include <utility>

namespace millrace {
namespace {

// How often to ask for a child that has ended but is not ours to reap yet, since a debugger has
// not seen its end: until then its pidfd stays readable, and we must not look at it.
constexpr auto kAskAgain = std::chrono::milliseconds(20);

Duration duration_of(const timeval& time) {
  return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
}

bool keeps_no_children() {
  struct sigaction now {};
  sys::sigaction(SIGCHLD, nullptr, &now);
  return (now.sa_flags & SA_NOCLDWAIT) != 0 ||
         ((now.sa_flags & SA_SIGINFO) == 0 && now.sa_handler == SIG_IGN);
}

// 0 or an errno value. __WALL: also a child whose end raises no SIGCHLD.
int wait_for(int pidfd, int options, siginfo_t& info, rusage* used) {
  info = {};
  while (sys::waitid(P_PIDFD, pidfd, &info, WEXITED | WNOHANG | __WALL | options, used) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

ChildExit exit_of(const siginfo_t& info, const rusage& used) {
  ChildExit how{.pid = info.si_pid};
  (info.si_code == CLD_EXITED ? how.status : how.signal) = info.si_status;
  how.core_dumped = info.si_code == CLD_DUMPED;
  how.user_time = duration_of(used.ru_utime);
  how.system_time = duration_of(used.ru_stime);
  how.most_memory_bytes = static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
  return how;
}

UniqueFd open_pidfd(int pid) {
  UniqueFd fd(sys::pidfd_open(pid));
  if (!fd) throw_system_error(errno, "pidfd_open: process " + std::to_string(pid));
  return fd;
}

}  // namespace

std::string ChildExit::to_string() const {
  if (error) return error.message();
  if (signal == 0) return "exited with status " + std::to_string(status);
  return "killed by signal " + std::to_string(signal) + (core_dumped ? ", core dumped" : "");
}

class ChildWatcher::Target final : public IoTarget {
 public:
  Target(EventLoop& loop, int pid, Callback callback)
      : IoTarget(loop),
        pid_(pid),
        callback_(std::move(callback)),
        again_(loop, [this] { reap(); }) {}

  // Owns it from now on when it returns 0; else an errno value.
  int watch(int pidfd) noexcept { return attach(pidfd, Interest::read); }
  int pid() const noexcept { return pid_; }
  void end() noexcept {
    again_.cancel();
    // Who is just being started has a copy, until it runs its program.
    detach_and_close(true);
    bury();
  }

 private:
  void handle_io(IoEvents) override { reap(); }
  void handle_burial() noexcept override { loop().services().slab<Target>().destroy(this); }
  void reap();
  void report(const ChildExit& how);

  int pid_;
  Callback callback_;
  Timer again_;
};

void ChildWatcher::Target::reap() {
  siginfo_t info;
  rusage used{};
  const int e = wait_for(fd(), 0, info, &used);
  if (e == 0 && info.si_pid == 0) {
    silence();
    again_.start(kAskAgain);
    return;
  }
  detach_and_close(true);
  if (e == 0) {
    pid_ = info.si_pid;
    report(exit_of(info, used));
  } else if (e == ECHILD) {
    report(
        {.error = keeps_no_children() ? error::child_ignored : error::child_reaped, .pid = pid_});
  } else {
    report({.error = system_error_code(e), .pid = pid_});
  }
}

void ChildWatcher::Target::report(const ChildExit& how) {
  try {
    callback_(how);
  } catch (...) {
    loop().services().report_exception(std::current_exception(), "child");
  }
}

ChildWatcher::ChildWatcher(EventLoop& loop, int pid, Callback callback)
    : target_(start(loop, open_pidfd(pid), pid, std::move(callback))) {}

ChildWatcher::ChildWatcher(EventLoop& loop, UniqueFd pidfd, Callback callback)
    : target_(start(loop, std::move(pidfd), 0, std::move(callback))) {}

ChildWatcher::Target* ChildWatcher::start(EventLoop& loop, UniqueFd pidfd, int pid,
                                          Callback callback) {
  MILLRACE_CHECK(callback, "a ChildWatcher needs a callback");
  const auto refuse = [&](int e, const std::string& call) {
    throw_system_error(e, call + (pid != 0 ? ": process " + std::to_string(pid)
                                           : ": pidfd " + std::to_string(pidfd.get())));
  };
  siginfo_t info;
  if (const int e = wait_for(pidfd.get(), WNOWAIT, info, nullptr)) refuse(e, "waitid");
  auto* target = loop.services().slab<Target>().make(loop, pid, std::move(callback));
  if (const int e = target->watch(pidfd.get())) {
    target->end();
    refuse(e, "epoll_ctl");
  }
  static_cast<void>(pidfd.release());
  return target;
}

ChildWatcher::ChildWatcher(ChildWatcher&& other) noexcept
    : target_(std::exchange(other.target_, nullptr)) {}

ChildWatcher& ChildWatcher::operator=(ChildWatcher&& other) noexcept {
  if (this != &other) {
    if (target_) target_->end();
    target_ = std::exchange(other.target_, nullptr);
  }
  return *this;
}

ChildWatcher::~ChildWatcher() {
  if (target_) target_->end();
}

int ChildWatcher::pid() const noexcept {
  return target_ ? target_->pid() : 0;
}

std::error_code ChildWatcher::send_signal(int number) noexcept {
  if (!target_ || !target_->attached()) return system_error_code(ESRCH);
  if (sys::pidfd_send_signal(target_->fd(), number) == 0) return {};
  return system_error_code(errno);
}

}  // namespace millrace
