#include "raw_load.h"

#include "meter.h"

#include <system_error>
#include <utility>

#include <signal.h>

namespace millrace::bench {
namespace {

using namespace std::chrono_literals;

// How long the server may take for what is under way when the load stops.
constexpr auto kAnswerLimit = 5s;

}  // namespace

// sendfile() has no MSG_NOSIGNAL.
RawLoad::RawLoad(const LoadOptions& options) : options_(options) {
  ::signal(SIGPIPE, SIG_IGN);
}

void RawLoad::turn_for(std::chrono::nanoseconds length, Meter* meter) {
  const TimePoint end = Clock::now() + length;
  for (;;) {
    const bool found_something = turn();
    const TimePoint now = Clock::now();
    if (meter) meter->turn(now, found_something);
    if (now >= end) return;
  }
}

void RawLoad::measure(std::chrono::nanoseconds warmup, std::chrono::nanoseconds duration) {
  turn_for(warmup, nullptr);
  Meter meter(options_.server_pid);
  measuring_ = true;
  turn_for(duration, &meter);
  measuring_ = false;
  meter.finish(result_);
}

LoadResult RawLoad::run() {
  start();
  measure(options_.warmup, options_.duration);
  stopping_ = true;
  stop();
  const TimePoint limit = Clock::now() + kAnswerLimit;
  while (under_way() && Clock::now() < limit) turn();
  if (under_way()) fail("answer missing");
  return std::move(result_);
}

void RawLoad::fail_ended(int error) {
  fail(error == 0 ? "closed by the server" : "closed: " + std::generic_category().message(error));
}

}  // namespace millrace::bench
