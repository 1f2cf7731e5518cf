// What a loop has to tell: exceptions out of callbacks, phases that took too long, wrong threads.
#include <millrace/check.h>

#include "loop_core.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include <fmt/format.h>

namespace millrace {
namespace {

void log_exception(const std::exception_ptr& exception, std::string_view kind) noexcept {
  try {
    std::rethrow_exception(exception);
  } catch (const std::exception& e) {
    try {
      log::write(log::Level::error,
                 fmt::format("exception out of a callback ({}): {}", kind, e.what()));
    } catch (...) {
      log::write(log::Level::error, e.what());  // no memory to say more
    }
  } catch (...) {
    log::write(log::Level::error, "exception out of a callback: not a std::exception");
  }
}

}  // namespace

void LoopCore::report_exception(std::exception_ptr exception, std::string_view kind) noexcept {
  ++stats_.exceptions;
  auto hook = std::move(exception_hook_);  // it may set another
  if (!hook) return log_exception(exception, kind);
  hook_was_set_ = false;
  try {
    hook(exception, kind);
  } catch (...) {
    log::write(log::Level::error, "the exception hook itself threw an exception");
    log_exception(exception, kind);
  }
  if (!hook_was_set_) exception_hook_ = std::move(hook);
}

void LoopCore::note_timer_lag(std::uint64_t deadline_tick) noexcept {
  // The end of the I/O phase, or the time of the iteration: no clock is read for this.
  const Duration lag = std::max(phase_start_ - time_of(deadline_tick), Duration::zero());
  ++stats_.timer_turns;
  stats_.timer_lag_total += lag;
  stats_.timer_lag_longest = std::max(stats_.timer_lag_longest, lag);
}

void LoopCore::end_phase(const char* kind) {
  if (options_.stall_threshold <= Duration::zero()) return;
  // The coarse clock lags by up to 4 ms and costs a quarter: good enough to tell a stall.
  const TimePoint end = std::max(clock_now(CLOCK_MONOTONIC_COARSE), phase_start_);
  const Duration took = end - phase_start_;
  phase_start_ = end;
  stats_.longest_phase = std::max(stats_.longest_phase, took);
  if (took < options_.stall_threshold) return;
  ++stats_.stalls;
  if (!log::enabled(log::Level::warning) || !stall_log_.allow(end)) return;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
  try {
    log::write(
        log::Level::warning,
        fmt::format("event loop stalled for {} ms by {} callbacks ({} more stalls not shown)", ms,
                    kind, stall_log_.suppressed()));
  } catch (const std::bad_alloc&) {
    // It is counted all the same.
  }
}

void LoopCore::used_from_wrong_thread() const {
  const auto name = [](std::thread::id id) {
    return std::to_string(std::hash<std::thread::id>()(id));
  };
  internal::check_failed(__FILE__, __LINE__, "in_loop_thread()",
                         "thread " + name(std::this_thread::get_id()) +
                             " used a loop that runs in thread " + name(thread_.load()),
                         "only post(), stop() and references are for other threads");
}

}  // namespace millrace
