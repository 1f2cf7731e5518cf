// libevent 2: timers and watchers are events; event_add() on a pending event moves it. Bases that
// no other thread reaches are made without locks.
#include "operations.h"
#include "task_queue.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>

namespace millrace::bench {
namespace {

timeval timeval_of(milliseconds delay) {
  timeval time;
  time.tv_sec = delay.count() / 1000;
  time.tv_usec = delay.count() % 1000 * 1000;
  return time;
}

struct Libevent {
  static constexpr const char* kName = "libevent";

  class Loop {
   public:
    explicit Loop(Reached reached) {
      static const bool threads = ::evthread_use_pthreads() == 0;
      if (!threads) std::abort();
      event_config* config = ::event_config_new();
      if (reached == Reached::by_own_thread) {
        ::event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
      }
      base = ::event_base_new_with_config(config);
      ::event_config_free(config);
      ::event_assign(&wake_up_, base, -1, 0, on_wake_up, this);
    }
    ~Loop() { ::event_base_free(base); }
    template <class Body>
    void inside(Body&& body) {
      struct Call {
        Body& body;
        bool done;
      } call{body, false};
      const timeval at_once{};
      const auto make_call = [](evutil_socket_t, short, void* arg) {
        auto& self = *static_cast<Call*>(arg);
        self.body();
        self.done = true;
      };
      ::event_base_once(base, -1, EV_TIMEOUT, make_call, &call, &at_once);
      while (!call.done) run_ready();
    }
    void run_ready() { ::event_base_loop(base, EVLOOP_NONBLOCK); }
    void run() { ::event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY); }
    void stop() { ::event_base_loopbreak(base); }
    template <class F>
    void post(const F& task) {
      if (tasks_.push(task)) ::event_active(&wake_up_, EV_READ, 0);
    }
    // Recommended for many timeouts of the same length: a list of their own instead of the heap.
    void expect_touch(milliseconds delay) {
      const timeval time = timeval_of(delay);
      touch_time = *::event_base_init_common_timeout(base, &time);
    }

    event_base* base;
    timeval touch_time{};

   private:
    static void on_wake_up(evutil_socket_t, short, void* self) {
      static_cast<Loop*>(self)->tasks_.run_all();
    }
    TaskQueue tasks_;
    event wake_up_;
  };

  class Timer {
   public:
    Timer(Loop& loop, std::uint64_t* fired) : loop_(loop) {
      evtimer_assign(&event_, loop.base, on_timeout, fired);
    }
    ~Timer() { ::event_del(&event_); }
    void start(milliseconds delay) {
      const timeval time = timeval_of(delay);
      ::event_add(&event_, &time);
    }
    void touch(milliseconds) { ::event_add(&event_, &loop_.touch_time); }
    void cancel() { ::event_del(&event_); }

   private:
    static void on_timeout(evutil_socket_t, short, void* fired) {
      ++*static_cast<std::uint64_t*>(fired);
    }
    Loop& loop_;
    event event_;
  };

  class Watcher {
   public:
    Watcher(Loop& loop, int fd, std::uint64_t* seen) {
      ::event_assign(&event_, loop.base, fd, EV_READ | EV_PERSIST, on_readable, seen);
      ::event_add(&event_, nullptr);
    }
    ~Watcher() { ::event_del(&event_); }

   private:
    static void on_readable(evutil_socket_t fd, short, void* seen) {
      read_counter(fd);
      ++*static_cast<std::uint64_t*>(seen);
    }
    event event_;
  };
};

}  // namespace

void add_libevent() {
  add_operations<Libevent>();
}

}  // namespace millrace::bench
