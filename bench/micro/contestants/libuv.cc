// libuv: uv_timer_start() on an active timer moves it. uv_async_send() is for waking, not for
// counting: the tasks wait in a queue.
#include "operations.h"
#include "task_queue.h"

#include <uv.h>

namespace millrace::bench {
namespace {

uv_handle_t* as_handle(auto& handle) {
  return reinterpret_cast<uv_handle_t*>(&handle);
}

struct Libuv {
  static constexpr const char* kName = "libuv";

  class Loop {
   public:
    explicit Loop(Reached) {
      ::uv_loop_init(&loop);
      ::uv_async_init(&loop, &wake_up_,
                      [](uv_async_t* async) { static_cast<Loop*>(async->data)->tasks_.run_all(); });
      wake_up_.data = this;
      ::uv_idle_init(&loop, &turn_);
    }
    ~Loop() {
      ::uv_close(as_handle(wake_up_), nullptr);
      ::uv_close(as_handle(turn_), nullptr);
      ::uv_run(&loop, UV_RUN_DEFAULT);
      if (::uv_loop_close(&loop) != 0) std::abort();
    }
    template <class Body>
    void inside(Body&& body) {
      turn_.data = &body;
      ::uv_idle_start(&turn_, [](uv_idle_t* turn) {
        ::uv_idle_stop(turn);
        (*static_cast<std::remove_reference_t<Body>*>(turn->data))();
      });
      run_ready();
    }
    void run_ready() { ::uv_run(&loop, UV_RUN_NOWAIT); }
    void run() { ::uv_run(&loop, UV_RUN_DEFAULT); }
    void stop() { ::uv_stop(&loop); }
    template <class F>
    void post(const F& task) {
      if (tasks_.push(task)) ::uv_async_send(&wake_up_);
    }
    // The loop holds on to a handle until the turn after it was closed.
    void release(auto& handles) {
      for (auto& handle : handles) handle.close();
      run_ready();
    }

    uv_loop_t loop;

   private:
    TaskQueue tasks_;
    uv_async_t wake_up_;
    uv_idle_t turn_;
  };

  class Timer {
   public:
    Timer(Loop& loop, std::uint64_t* fired) {
      ::uv_timer_init(&loop.loop, &timer_);
      timer_.data = fired;
    }
    void start(milliseconds delay) {
      ::uv_timer_start(&timer_, on_timeout, static_cast<std::uint64_t>(delay.count()), 0);
    }
    void touch(milliseconds delay) { start(delay); }
    void cancel() { ::uv_timer_stop(&timer_); }
    void close() { ::uv_close(as_handle(timer_), nullptr); }

   private:
    static void on_timeout(uv_timer_t* timer) { ++*static_cast<std::uint64_t*>(timer->data); }
    uv_timer_t timer_;
  };

  class Watcher {
   public:
    Watcher(Loop& loop, int fd, std::uint64_t* seen) : fd_(fd), seen_(seen) {
      ::uv_poll_init(&loop.loop, &poll_, fd);
      poll_.data = this;
      ::uv_poll_start(&poll_, UV_READABLE, [](uv_poll_t* poll, int, int) {
        auto& self = *static_cast<Watcher*>(poll->data);
        read_counter(self.fd_);
        ++*self.seen_;
      });
    }
    void close() { ::uv_close(as_handle(poll_), nullptr); }

   private:
    int fd_;
    std::uint64_t* seen_;
    uv_poll_t poll_;
  };
};

}  // namespace

void add_libuv() {
  add_operations<Libuv>();
}

}  // namespace millrace::bench
