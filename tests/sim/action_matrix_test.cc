// Everything that can be done, done inside every callback there is. Whatever it is: one on_close
// for each on_open and nothing after it, for the reason that was given, every byte right, nothing
// left open, no loop that spins, and the loop serves on. callback_matrix_test.cc does a part of
// this on the real kernel.
#include <millrace/error.h>

#include "action_stage.h"

#include <array>
#include <chrono>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kSeeds = 3;

// The first table: where.
constexpr const char* kPlaces[] = {
    "OnOpen", "OnData",     "OnDrained",    "OnPeerEnd", "OnClose",         "OnFrame",
    "Timer",  "PostedTask", "DeferredTask", "ConnectOk", "OnConnectFailed", "HandlerFactory"};
static_assert(std::size(kPlaces) == static_cast<std::size_t>(Place::kCount));

// The second table: what.
constexpr std::array kActions{
    Action{"Close", Effect::none, [](Stage&, Connection& c) { c.close(); }},
    Action{"CloseWithReason", Effect::gives_reason,
           [](Stage&, Connection& c) { c.close(error::idle_timeout, "because"); }},
    Action{"Abort", Effect::aborts, [](Stage&, Connection& c) { c.abort(); }},
    Action{"End", Effect::none, [](Stage&, Connection& c) { c.end(); }},
    Action{"SendLittle", Effect::none, [](Stage& s, Connection& c) { s.send(c, 1); }},
    Action{"SendMuch", Effect::none, [](Stage& s, Connection& c) { s.send(c, Stage::kMuch); }},
    Action{"SendAndAbort", Effect::aborts,
           [](Stage& s, Connection& c) { s.send(c, 100'000), c.abort(); }},
    Action{"Flush", Effect::none, [](Stage& s, Connection& c) { s.send(c, 10), c.flush(); }},
    Action{"Pause", Effect::none, [](Stage&, Connection& c) { c.pause_reading(); }},
    Action{"Resume", Effect::none, [](Stage&, Connection& c) { c.resume_reading(); }},
    Action{"PauseAndResume", Effect::none,
           [](Stage&, Connection& c) { c.pause_reading(), c.resume_reading(); }},
    Action{"SetHandler", Effect::none, [](Stage& s, Connection& c) { s.switch_handler(c); }},
    Action{"DestroyServer", Effect::destroys_server,
           [](Stage& s, Connection&) { s.destroy_server(); }},
    Action{"DestroyClient", Effect::destroys_client,
           [](Stage& s, Connection&) { s.destroy_client(); }},
    Action{"DestroyBoth", Effect::destroys_server,
           [](Stage& s, Connection&) { s.destroy_client(), s.destroy_server(); }},
    Action{"StopLoop", Effect::none, [](Stage& s, Connection&) { s.loop().stop(); }},
    Action{"Post", Effect::none, [](Stage& s, Connection& c) { s.post_tasks(c); }},
    Action{"Timers", Effect::none, [](Stage& s, Connection& c) { s.start_timers(c); }},
    Action{"Drain", Effect::drains, [](Stage& s, Connection&) { s.server()->drain(5s); }},
    Action{"DrainAndDestroy", Effect::destroys_server,
           [](Stage& s, Connection&) { s.server()->drain(5s), s.destroy_server(); }},
    Action{"StopAccepting", Effect::stops_accepting,
           [](Stage& s, Connection&) { s.server()->stop_accepting(); }},
    Action{"Throw", Effect::throws,
           [](Stage&, Connection&) { throw std::runtime_error("on purpose"); }},
};

// The tests.

class ActionMatrixTest : public ::testing::TestWithParam<int> {
 protected:
  QuietLog quiet_;
};

TEST_P(ActionMatrixTest, EveryActionKeepsAllPromises) {
  const auto place = static_cast<Place>(GetParam());
  AbortNote note;
  for (const Action& action : kActions) {
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
      const std::string where = std::string(action.name) + " inside " + kPlaces[GetParam()] +
                                ", seed " + std::to_string(seed);
      note.set(where);
      Stage stage(place, action, seed);
      const std::vector<std::string> problems = stage.run();
      if (!problems.empty()) ADD_FAILURE() << where << joined(problems);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Inside, ActionMatrixTest,
                         ::testing::Range(0, static_cast<int>(Place::kCount)),
                         [](const auto& test) { return std::string(kPlaces[test.param]); });

}  // namespace
}  // namespace millrace::test
