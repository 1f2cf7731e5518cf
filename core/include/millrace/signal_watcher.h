// SignalWatcher calls back in the loop when one of its signals arrives: the callback is ordinary
// code and may do anything. It is an owner: destroying it ends it, also inside its own callback.
// Loop's thread only; any number of watchers, of any number of loops in any threads, may share a
// signal, and each of them is called.
//
//   SignalWatcher stop(loop, {SIGINT, SIGTERM}, [&](int) { loop.stop(); });
//
// It does not matter which thread the kernel gives the signal to. While a watcher of the process
// wants it, the signal has a handler of ours (with SA_RESTART), and it is let through in the
// threads that made the watchers; both are as before when the last one is gone. Programs that are
// started meanwhile inherit neither. Each delivery is told, in order; of standard signals that are
// pending at the same time the kernel delivers one. To a child of fork() that has not taken the
// loop over (reinit_after_fork()) a signal does what it would do without watchers.
#pragma once

#include <millrace/function.h>

#include <initializer_list>

namespace millrace {

class EventLoop;
class SignalHub;

// What arrived. It converts to the number, so that a callback may simply take an int.
struct SignalInfo {
  int number = 0;
  int code = 0;  // si_code of sigaction(2): SI_USER, SI_QUEUE, SI_KERNEL, ...
  // Who sent it, with kill(), sigqueue() and their like, or which child SIGCHLD is about; else 0.
  int pid = 0;
  unsigned uid = 0;
  int value = 0;  // that sigqueue() was given

  operator int() const noexcept { return number; }
};

class SignalWatcher {
 public:
  // Throws std::system_error: EINVAL for a number that is no signal, cannot be caught, or tells of
  // a fault in the program itself (SIGSEGV, SIGBUS, SIGFPE, SIGILL), where nothing can go on.
  SignalWatcher(EventLoop& loop, std::initializer_list<int> signals,
                Function<void(const SignalInfo&)> callback);
  SignalWatcher(SignalWatcher&& other) noexcept;
  SignalWatcher& operator=(SignalWatcher&& other) noexcept;
  ~SignalWatcher();

 private:
  class Subscription;
  friend class SignalHub;
  Subscription* subscription_;
};

}  // namespace millrace
