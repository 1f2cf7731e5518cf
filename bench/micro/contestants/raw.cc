// The best by hand, for exactly what is measured: what a library cannot be ahead of. Timers in a
// wheel of one level that knows delays of up to a minute, a bare epoll loop, an eventfd.
#include "operations.h"
#include "task_queue.h"

#include <sys/epoll.h>

namespace millrace::bench {
namespace {

std::uint64_t milliseconds_now() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<milliseconds>(now).count());
}

struct Link {
  Link* next = this;
  Link* prev = this;

  bool linked() const { return next != this; }
  void unlink() {
    prev->next = next;
    next->prev = prev;
    next = prev = this;
  }
  void append(Link& link) {
    link.next = this;
    link.prev = prev;
    prev->next = &link;
    prev = &link;
  }
};

struct Raw {
  static constexpr const char* kName = "raw";

  class Timer;
  class Watcher;

  class Loop {
   public:
    explicit Loop(Reached);
    ~Loop() {
      ::close(wake_up_);
      ::close(epoll_);
    }
    template <class Body>
    void inside(Body&& body) {
      turn(0);
      body();
    }
    void run_ready() { turn(0); }
    void run() {
      while (!stopped_) turn(-1);
    }
    void stop() { stopped_ = true; }
    template <class F>
    void post(const F& task) {
      const std::uint64_t one = 1;
      if (tasks_.push(task) && ::write(wake_up_, &one, sizeof one) < 0) std::abort();
    }

   private:
    friend Raw;
    static constexpr std::size_t kSlots = 1 << 16;  // milliseconds

    Link& slot(milliseconds delay) {
      return slots_[(now_ + static_cast<std::uint64_t>(delay.count())) % kSlots];
    }
    void turn(int wait);
    void expire();

    int epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    int wake_up_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    bool stopped_ = false;
    TaskQueue tasks_;
    std::uint64_t now_ = milliseconds_now();
    std::vector<Link> slots_ = std::vector<Link>(kSlots);
    epoll_event events_[512];
  };

  class Timer : private Link {
   public:
    Timer(Loop& loop, std::uint64_t* fired) : loop_(loop), fired_(fired) {}
    void start(milliseconds delay) { loop_.slot(delay).append(*this); }
    void touch(milliseconds delay) {
      unlink();
      start(delay);
    }
    void cancel() { unlink(); }

   private:
    friend Loop;
    Loop& loop_;
    std::uint64_t* fired_;
  };

  class Watcher {
   public:
    Watcher(Loop& loop, int fd, std::uint64_t* seen) : fd_(fd), seen_(seen) {
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = this;
      ::epoll_ctl(loop.epoll_, EPOLL_CTL_ADD, fd, &event);
    }
    void on_readable() {
      read_counter(fd_);
      ++*seen_;
    }

   private:
    int fd_;
    std::uint64_t* seen_;
  };
};

Raw::Loop::Loop(Reached) {
  // Each slot is a list of its own: a copy would point to what it was copied from.
  for (Link& slot : slots_) slot.next = slot.prev = &slot;
  epoll_event event{};
  event.events = EPOLLIN;
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_up_, &event);
}

void Raw::Loop::turn(int wait) {
  const int n = ::epoll_wait(epoll_, events_, 512, wait);
  expire();
  for (int i = 0; i < n; ++i) {
    if (events_[i].data.ptr) {
      static_cast<Watcher*>(events_[i].data.ptr)->on_readable();
    } else {
      read_counter(wake_up_);
      tasks_.run_all();
    }
  }
}

void Raw::Loop::expire() {
  for (const std::uint64_t now = milliseconds_now(); now_ < now;) {
    Link& due = slots_[++now_ % kSlots];
    while (due.linked()) {
      auto& timer = static_cast<Timer&>(*due.next);
      timer.unlink();
      ++*timer.fired_;
    }
  }
}

}  // namespace

void add_raw() {
  add_operations<Raw>();
}

}  // namespace millrace::bench
