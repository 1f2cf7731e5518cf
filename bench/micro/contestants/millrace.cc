#include <millrace/event_loop.h>
#include <millrace/io_watcher.h>
#include <millrace/timer.h>

#include "in_loop.h"
#include "operations.h"

namespace millrace::bench {
namespace {

struct Millrace {
  static constexpr const char* kName = "millrace";

  class Loop {
   public:
    explicit Loop(Reached, const LoopOptions& options = kNoStalls) : loop(options) {}
    template <class Body>
    void inside(Body&& body) {
      bool done = false;
      loop.post([&] {
        body();
        done = true;
      });
      while (!done) run_ready();
    }
    void run_ready() { loop.run_once(Duration(0)); }
    void run() { loop.run(); }
    void stop() { loop.stop(); }
    template <class F>
    void post(const F& task) {
      loop.post(task);
    }
    EventLoop loop;
  };

  class PollingLoop : public Loop {
   public:
    explicit PollingLoop(Reached reached)
        : Loop(reached,
               {.stall_threshold = Duration(0), .busy_poll = std::chrono::microseconds(50)}) {}
  };

  class Timer {
   public:
    Timer(Loop& loop, std::uint64_t* fired) : timer_(loop.loop, [fired] { ++*fired; }) {}
    void start(milliseconds delay) { timer_.start(delay); }
    void touch(milliseconds delay) { timer_.start(delay); }
    void cancel() { timer_.cancel(); }

   private:
    millrace::Timer timer_;
  };

  class Watcher {
   public:
    Watcher(Loop& loop, int fd, std::uint64_t* seen)
        : watcher_(loop.loop, fd, Interest::read, [fd, seen](IoEvents) {
            read_counter(fd);
            ++*seen;
          }) {}

   private:
    IoWatcher watcher_;
  };
};

}  // namespace

void add_millrace() {
  add_operations<Millrace>();
}

}  // namespace millrace::bench
