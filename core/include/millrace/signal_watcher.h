// SignalWatcher calls back in the loop when one of its signals arrives, through a signalfd: the
// callback is ordinary code and may do anything. It is an owner: destroying it ends it, also inside
// its own callback. Loop's thread only.
//
//   SignalWatcher stop(loop, {SIGINT, SIGTERM}, [&](int) { loop.stop(); });
//
// Its signals are blocked in the loop's thread as long as a watcher wants them, and then as before.
// Threads that were started earlier must block them themselves, or the kernel may hand a signal to
// them. Any number of watchers of one loop may share a signal: each is called. Like every signal,
// several of one kind that are pending at the same time count as one.
#pragma once

#include <millrace/function.h>

#include <initializer_list>

namespace millrace {

class EventLoop;
class SignalHub;

class SignalWatcher {
 public:
  // Throws std::system_error: EINVAL for a number that is no signal or cannot be caught.
  SignalWatcher(EventLoop& loop, std::initializer_list<int> signals, Function<void(int)> callback);
  SignalWatcher(SignalWatcher&& other) noexcept;
  SignalWatcher& operator=(SignalWatcher&& other) noexcept;
  ~SignalWatcher();

 private:
  class Subscription;
  friend class SignalHub;
  Subscription* subscription_;
};

}  // namespace millrace
