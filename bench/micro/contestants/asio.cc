// Asio, compiled twice: standalone and as Boost.Asio. Handlers are bound to the context's own
// executor, which spares the type-erased one; contexts that no other thread reaches have no locks.
// What a cancel or a move calls off is delivered as operation_aborted, and that is counted with it.
#include "operations.h"

#ifdef USE_BOOST_ASIO
#include <boost/asio.hpp>
#define ASIO_NAMED(name) BOOST_ASIO_##name
namespace asio = boost::asio;
using ErrorCode = boost::system::error_code;
#else
#include <asio.hpp>
#define ASIO_NAMED(name) ASIO_##name
using ErrorCode = asio::error_code;
#endif

namespace millrace::bench {
namespace {

struct Asio {
#ifdef USE_BOOST_ASIO
  static constexpr const char* kName = "boost_asio";
#else
  static constexpr const char* kName = "asio";
#endif
  using Executor = asio::io_context::executor_type;

  class Loop {
   public:
    explicit Loop(Reached reached)
        : context(reached == Reached::by_others ? 1 : ASIO_NAMED(CONCURRENCY_HINT_UNSAFE)),
          work_(context.get_executor()) {}
    template <class Body>
    void inside(Body&& body) {
      asio::post(context, [&] { body(); });
      run_ready();
    }
    void settle() { context.poll(); }
    void run_ready() { context.poll(); }
    void run() { context.run(); }
    void stop() { context.stop(); }
    template <class F>
    void post(const F& task) {
      asio::post(context, task);
    }

    asio::io_context context;

   private:
    asio::executor_work_guard<Executor> work_;
  };

  class Timer {
   public:
    Timer(Loop& loop, std::uint64_t* fired) : timer_(loop.context), fired_(fired) {}
    void start(milliseconds delay) {
      timer_.expires_after(delay);
      timer_.async_wait([fired = fired_](const ErrorCode& error) {
        if (!error) ++*fired;
      });
    }
    void touch(milliseconds delay) { start(delay); }
    void cancel() { timer_.cancel(); }

   private:
    using Clock = std::chrono::steady_clock;
    asio::basic_waitable_timer<Clock, asio::wait_traits<Clock>, Executor> timer_;
    std::uint64_t* fired_;
  };

  class Watcher {
   public:
    Watcher(Loop& loop, int fd, std::uint64_t* seen) : descriptor_(loop.context, fd), seen_(seen) {
      wait();
    }
    ~Watcher() { descriptor_.release(); }

   private:
    void wait() {
      descriptor_.async_wait(Descriptor::wait_read, [this](const ErrorCode& error) {
        if (error) return;
        read_counter(descriptor_.native_handle());
        ++*seen_;
        wait();
      });
    }
    using Descriptor = asio::posix::basic_stream_descriptor<Executor>;
    Descriptor descriptor_;
    std::uint64_t* seen_;
  };
};

}  // namespace

#ifdef USE_BOOST_ASIO
void add_boost_asio() {
  add_operations<Asio>();
}
#else
void add_asio() {
  add_operations<Asio>();
}
#endif

}  // namespace millrace::bench
