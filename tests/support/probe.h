// Probe is an IoTarget that does nothing but write down what it is told, with all that IoTarget
// keeps for those who derive from it open to the test. ProbeTest makes them and buries what is
// left.
//
//   struct MyTest : ProbeTest {};
//   Probe* probe = make();
//   ASSERT_EQ(probe->attach(fd, Interest::read), 0);
//   probe->when_io = [&](IoEvents) { bury(probe); };
#pragma once

#include <millrace/io_target.h>
#include <millrace/loop_services.h>

#include "support/loop_test.h"

#include <functional>
#include <set>
#include <string>
#include <vector>

namespace millrace::test {

class Probe final : public IoTarget {
 public:
  Probe(EventLoop& loop, std::set<Probe*>& alive, int& destroyed)
      : IoTarget(loop), alive_(alive), destroyed_(destroyed) {
    alive_.insert(this);
  }
  ~Probe() override {
    alive_.erase(this);
    ++destroyed_;
    if (when_destroyed) when_destroyed();
  }

  using IoTarget::attach;
  using IoTarget::bury;
  using IoTarget::detach;
  using IoTarget::detach_and_close;
  using IoTarget::detach_and_release;
  using IoTarget::flush_requested;
  using IoTarget::request_flush;
  using IoTarget::set_interest;
  using IoTarget::silence;

  std::function<void(IoEvents)> when_io;
  std::function<void()> when_flushed;
  std::function<void()> when_destroyed;
  std::vector<IoEvents> events;
  int flushes = 0;

 private:
  void handle_io(IoEvents what) override {
    events.push_back(what);
    if (when_io) when_io(what);
  }
  void handle_flush() override {
    ++flushes;
    if (when_flushed) when_flushed();
  }
  void handle_burial() noexcept override { loop().services().slab<Probe>().destroy(this); }

  std::set<Probe*>& alive_;
  int& destroyed_;
};

class ProbeTest : public LoopTest {
 protected:
  void TearDown() override {
    while (!alive.empty()) {
      Probe* left = *alive.begin();
      alive.erase(left);
      left->when_destroyed = nullptr;
      bury(left);
    }
    LoopTest::TearDown();
  }

  Probe* make() { return loop().services().slab<Probe>().make(loop(), alive, destroyed); }
  static void bury(Probe* probe) {
    probe->detach();
    probe->bury();
  }
  void turns(int n) {
    while (n-- > 0) loop().run_once(0ms);
  }

  std::set<Probe*> alive;
  int destroyed = 0;
};

}  // namespace millrace::test
