// libev: ev_timer_again() moves a timer, the fastest of the ways that its manual compares. An
// ev_async is for waking, not for counting: the tasks wait in a queue.
#include "operations.h"
#include "task_queue.h"

#include <ev.h>

namespace millrace::bench {
namespace {

ev_tstamp seconds_of_delay(milliseconds delay) {
  return static_cast<double>(delay.count()) * 1e-3;
}

struct Libev {
  static constexpr const char* kName = "libev";

  class Loop {
   public:
    explicit Loop(Reached) : loop(::ev_loop_new(EVFLAG_AUTO)) {
      ev_async_init(&wake_up_, on_wake_up);
      wake_up_.data = this;
      ::ev_async_start(loop, &wake_up_);
    }
    ~Loop() {
      ::ev_async_stop(loop, &wake_up_);
      ::ev_loop_destroy(loop);
    }
    template <class Body>
    void inside(Body&& body) {
      struct Call {
        Body& body;
        bool done;
      } call{body, false};
      const auto make_call = [](int, void* arg) {
        auto& self = *static_cast<Call*>(arg);
        self.body();
        self.done = true;
      };
      ::ev_once(loop, -1, 0, 0., make_call, &call);
      while (!call.done) run_ready();
    }
    void run_ready() { ::ev_run(loop, EVRUN_NOWAIT); }
    void run() { ::ev_run(loop, 0); }
    void stop() { ::ev_break(loop, EVBREAK_ALL); }
    template <class F>
    void post(const F& task) {
      if (tasks_.push(task)) ::ev_async_send(loop, &wake_up_);
    }

    struct ev_loop* loop;

   private:
    static void on_wake_up(struct ev_loop*, ev_async* async, int) {
      static_cast<Loop*>(async->data)->tasks_.run_all();
    }
    TaskQueue tasks_;
    ev_async wake_up_;
  };

  class Timer {
   public:
    Timer(Loop& loop, std::uint64_t* fired) : loop_(loop.loop) {
      ev_init(&timer_, on_timeout);
      timer_.data = fired;
    }
    ~Timer() { cancel(); }
    void start(milliseconds delay) {
      ev_timer_set(&timer_, seconds_of_delay(delay), 0.);
      ::ev_timer_start(loop_, &timer_);
    }
    void touch(milliseconds delay) {
      timer_.repeat = seconds_of_delay(delay);
      ::ev_timer_again(loop_, &timer_);
    }
    void cancel() { ::ev_timer_stop(loop_, &timer_); }

   private:
    static void on_timeout(struct ev_loop*, ev_timer* timer, int) {
      ++*static_cast<std::uint64_t*>(timer->data);
    }
    struct ev_loop* loop_;
    ev_timer timer_;
  };

  class Watcher {
   public:
    Watcher(Loop& loop, int fd, std::uint64_t* seen) : loop_(loop.loop) {
      ev_io_init(&io_, on_readable, fd, EV_READ);
      io_.data = seen;
      ::ev_io_start(loop_, &io_);
    }
    ~Watcher() { ::ev_io_stop(loop_, &io_); }

   private:
    static void on_readable(struct ev_loop*, ev_io* io, int) {
      read_counter(io->fd);
      ++*static_cast<std::uint64_t*>(io->data);
    }
    struct ev_loop* loop_;
    ev_io io_;
  };
};

}  // namespace

void add_libev() {
  add_operations<Libev>();
}

}  // namespace millrace::bench
