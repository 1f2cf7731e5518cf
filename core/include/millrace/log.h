// The log of millrace: few lines, each about something an operator should know, none per message.
// It lives as long as the process and may be used and configured in any thread. By default warnings
// and worse go to standard error through the spdlog logger named "millrace".
//
//   log::set_level(log::Level::debug);
//   log::set_sink([](log::Level level, std::string_view line) { my_logger(level, line); });
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string_view>

namespace millrace::log {

enum class Level : std::uint8_t { debug, info, warning, error, off };

// Lines below `level` are dropped before they are formatted. Default: warning.
void set_level(Level level) noexcept;
bool enabled(Level level) noexcept;

using Sink = std::function<void(Level, std::string_view line)>;
// Replaces where lines go; an empty sink restores the default. The sink may be called by several
// threads, one at a time. It may call set_sink(); what it logs itself is dropped.
void set_sink(Sink sink);

void write(Level level, std::string_view line) noexcept;

// Lets the first of many equal lines through, then at most one per `interval`, so that a failure
// repeated a million times neither floods the log nor costs a million writes. One thread.
class RateLimit {
 public:
  using Clock = std::chrono::steady_clock;
  explicit RateLimit(Clock::duration interval = std::chrono::seconds(1)) : interval_(interval) {}

  // True when a line may be written now; suppressed() then says how many were held back since the
  // last one.
  bool allow(Clock::time_point now) noexcept;
  std::uint64_t suppressed() const noexcept { return reported_; }

 private:
  Clock::duration interval_;
  Clock::time_point next_{};
  std::uint64_t held_back_ = 0;
  std::uint64_t reported_ = 0;
};

}  // namespace millrace::log
