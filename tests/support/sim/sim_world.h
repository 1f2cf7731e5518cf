// SimWorld is a simulated kernel with event loops on it, which run in turn in one thread: whichever
// has something to do, the decisions say which. When none has, time goes on to the next thing that
// is under way. After each step it checks what must hold of all loops, always.
//
//   SeededDecisions decisions(seed);
//   SimWorld world(decisions, {.latency_most = 5ms});
//   EventLoop& loop = world.add_loop();
//   Server server(loop, ...);
//   world.run_for(1h);
//   EXPECT_TRUE(world.problems().empty());
#pragma once

#include <millrace/event_loop.h>

#include "support/sim/sim_kernel.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace millrace {
class Connection;
}

namespace millrace::test {

class SimWorld {
 public:
  explicit SimWorld(Decisions& decisions, const SimOptions& options = {});
  ~SimWorld();  // whatever uses its loops must be gone

  SimKernel& kernel() { return kernel_; }
  Decisions& decisions() { return decisions_; }
  EventLoop& add_loop();
  EventLoop& loop(std::size_t index) { return *loops_[index]; }
  std::size_t loop_count() const { return loops_.size(); }
  void remove_loops() { loops_.clear(); }  // whatever uses them must be gone

  // Lets one thing happen. False: nothing will, ever, by itself.
  bool step();
  // Until then, or until nothing happens any more.
  void run_for(Duration length);
  // False when it was not done after `limit`.
  bool run_until(const std::function<bool()>& done, Duration limit);

  // Those whose invariants are checked; for handlers to say.
  void opened(Connection& c);
  void closed(Connection& c);
  bool is_live(const Connection& c) const;
  std::size_t live_count() const { return live_.size(); }
  std::vector<Connection*>& live() { return live_; }  // in the order of opening

  // What did not hold, in words; at most a few.
  void problem(std::string text);
  const std::vector<std::string>& problems() const { return problems_; }
  std::uint64_t turns() const { return turns_; }

 private:
  bool run_a_loop();
  void come_to(TimePoint when);
  void check_asleep();
  void check_spinning();

  Decisions& decisions_;
  SimKernel kernel_;
  std::vector<std::unique_ptr<EventLoop>> loops_;
  std::vector<Connection*> live_;
  std::vector<std::string> problems_;
  std::uint64_t turns_ = 0;
  std::uint64_t turns_at_event_ = 0;
  std::uint64_t progress_seen_ = 0;
};

}  // namespace millrace::test
