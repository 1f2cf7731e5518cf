// The hammer: a server of whose connections every callback does something at random, to its own
// connection or to another, while their peers do the same. Each must be opened once and closed
// once, and hear nothing before or after.
//
//   const HammerReport report = hammer(loop, {.seed = 1, .connections = 500});
//   EXPECT_TRUE(report.problems.empty()) << report.problems.front();
//   EXPECT_EQ(report.closed, 500u);
//
// It runs the loop itself, in the calling thread, and sets its exception hook. On real sockets the
// same seed is not the same run: what has arrived when is the kernel's choice.
#pragma once

#include <millrace/event_loop.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace millrace::test {

struct HammerOptions {
  std::uint64_t seed = 1;
  std::size_t connections = 500;
  std::size_t peers_at_once = 40;
  // No new ones after that.
  std::chrono::steady_clock::time_point end = std::chrono::steady_clock::time_point::max();
};

struct HammerReport {
  std::size_t connected = 0;  // by peers
  std::size_t opened = 0;
  std::size_t closed = 0;
  std::vector<std::string> problems;  // at most a few
};

HammerReport hammer(EventLoop& loop, const HammerOptions& options);

}  // namespace millrace::test
