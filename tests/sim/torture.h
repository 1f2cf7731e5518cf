// What the tests share that let a small scenario go wrong at one place after the other: Watch sees
// what every connection of a run does and says what must not have been, Scenario is what runs, and
// run_torture() runs one on a simulated kernel from set-up to the last descriptor. One thread.
//
//   const Outcome outcome = run_torture(scenarios()[0], {.arm = [&](SimWorld&) { limit.emplace(n);
//   },
//                                                        .disarm = [&] { limit.reset(); }});
//   EXPECT_TRUE(outcome.problems.empty());
#pragma once

#include <millrace/connection.h>
#include <millrace/connection_handler.h>
#include <millrace/event_loop.h>
#include <millrace/unique_fd.h>

#include "stream_model.h"
#include "support/sim/sim_world.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace millrace::test {

// All connections of a run. What it finds wrong is a problem of the world; what it takes from
// operator new does not count.
class Watch {
 public:
  explicit Watch(SimWorld& world) : world_(world) {}
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // For handlers, first in each callback. Of a client's connection: it is the one that connected.
  Side& opened(Connection& c, bool is_client);
  // One that is not open is a problem, and gets a side that nobody looks at.
  Side& side_of(const Connection& c);
  Side& arrived(Connection& c, ByteView bytes);  // consumes nothing
  Side& peer_ended(Connection& c);
  Side& closed(Connection& c, std::error_code why);
  // Of a connection whose bytes are not its stream's, and are not compared here.
  Side& closed_uncompared(Connection& c, std::error_code why);
  bool is_open(const Connection& c) const { return sides_of_live_.count(&c) > 0; }

  // The next `n` bytes of the connection's stream, in one of the ways that there are to send. What
  // send() said.
  enum class How : std::uint8_t { view, together, owned, shared, writer, file, kCount };
  bool send(Connection& c, std::size_t n, How how);

  // A reason that an end may have in this run. The orderly one always may be.
  void allow(std::error_code why);
  // Reasons are judged by somebody else.
  void allow_all() { judges_reasons_ = false; }
  // What a scenario wants to come to; each name once.
  void reached(const std::string& goal);
  const std::set<std::string>& goals() const { return goals_; }
  void problem(const std::string& what);
  void hook_exceptions(EventLoop& loop);
  std::uint64_t exceptions() const { return exceptions_; }

  // When all has come to an end: what both sides say of each stream fits together.
  void check_streams();
  const std::vector<std::unique_ptr<Side>>& sides() const { return sides_; }
  SimWorld& world() { return world_; }

 private:
  void check_reason(const Side& side);
  static SendResult send_as(Connection& c, std::string_view bytes, How how, const Side& side);

  SimWorld& world_;
  std::vector<std::unique_ptr<Side>> sides_;
  std::map<const Connection*, Side*> sides_of_live_;
  std::vector<std::error_code> allowed_;
  bool judges_reasons_ = true;
  std::set<std::string> goals_;
  std::uint64_t exceptions_ = 0;
  Side nobody_;
};

// Bytes [position, position + n) of a stream, in a file without a name.
UniqueFd file_with(std::uint64_t stream, std::uint64_t position, std::size_t n);

// A fresh server and a fresh client on this loop: what one sends comes back to it. Otherwise a
// problem.
void check_serves(Watch& watch, EventLoop& loop);

// Something that servers and clients do with each other, with an end. Made anew for each run.
class Scenario {
 public:
  explicit Scenario(Watch& watch) : watch_(watch) {}
  virtual ~Scenario() = default;
  Scenario(const Scenario&) = delete;
  Scenario& operator=(const Scenario&) = delete;
  // May throw what set-up throws.
  virtual void set_up(EventLoop& loop, EventLoop& other) = 0;

 protected:
  Watch& watch_;
};

struct ScenarioKind {
  const char* name;
  std::unique_ptr<Scenario> (*make)(Watch&);
};

std::span<const ScenarioKind> scenarios();

struct TortureOptions {
  // Before the first loop is made; after the scenario is gone and before the loops are.
  std::function<void(SimWorld&)> arm = [](SimWorld&) {};
  std::function<void()> disarm = [] {};
  // Beside those that the scenario has by itself.
  std::vector<std::error_code> reasons = {};
};

struct Outcome {
  std::vector<std::string> problems;
  std::set<std::string> goals;
  std::string set_up_threw;    // the text, if it did
  bool was_bad_alloc = false;  // and it was std::bad_alloc
};

Outcome run_torture(const ScenarioKind& kind, const TortureOptions& options);

// The lines of a failure.
std::string joined(const std::vector<std::string>& problems);

// While it lives, log lines are formatted, which may fail like everything else, and not shown.
struct QuietLog {
  QuietLog();
  ~QuietLog();
  QuietLog(const QuietLog&) = delete;
  QuietLog& operator=(const QuietLog&) = delete;
};

// While it lives, an abort says what was being done. One at a time.
class AbortNote {
 public:
  AbortNote();
  ~AbortNote();
  AbortNote(const AbortNote&) = delete;
  AbortNote& operator=(const AbortNote&) = delete;
  void set(const std::string& text);
};

}  // namespace millrace::test
