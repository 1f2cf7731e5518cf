// A target of the test's own on a loop, as a transport would have one: it asks for flushes and is
// buried like a connection, without a socket.
//
//   FlushTarget* target = FlushTarget::make(loop, [&] { order += "flush "; });
//   target->ask();      // the function runs near the end of the iteration
//   target->end();      // destroyed at the end of it
#pragma once

#include <millrace/event_loop.h>
#include <millrace/function.h>
#include <millrace/io_target.h>
#include <millrace/loop_services.h>

#include <utility>

namespace millrace::test {

class FlushTarget final : public IoTarget {
 public:
  static FlushTarget* make(EventLoop& loop, Function<void()> when_flushed) {
    return loop.services().slab<FlushTarget>().make(loop, std::move(when_flushed));
  }
  FlushTarget(EventLoop& loop, Function<void()> when_flushed)
      : IoTarget(loop), when_flushed_(std::move(when_flushed)) {}

  void ask() { request_flush(); }
  void end() { bury(); }

 private:
  void handle_io(IoEvents) override {}
  void handle_flush() override { when_flushed_(); }
  void handle_burial() noexcept override { loop().services().slab<FlushTarget>().destroy(this); }

  Function<void()> when_flushed_;
};

}  // namespace millrace::test
