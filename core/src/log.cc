#include <millrace/log.h>

#include <atomic>
#include <mutex>
#include <utility>

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace millrace::log {
namespace {

std::atomic<Level> minimum{Level::warning};

spdlog::level::level_enum to_spdlog(Level level) {
  switch (level) {
    case Level::debug:
      return spdlog::level::debug;
    case Level::info:
      return spdlog::level::info;
    case Level::warning:
      return spdlog::level::warn;
    case Level::error:
      return spdlog::level::err;
    case Level::off:
      break;
  }
  return spdlog::level::off;
}

// An application that registered a logger of this name before our first line gets our lines there.
std::shared_ptr<spdlog::logger> find_or_make_logger() {
  auto found = spdlog::get("millrace");
  if (!found) found = spdlog::stderr_color_mt("millrace");
  found->set_level(spdlog::level::debug);  // the filter is `minimum`
  return found;
}

struct Output {
  // One line at a time; recursive, because a sink may replace itself.
  std::recursive_mutex mutex;
  std::shared_ptr<Sink> sink;
  std::shared_ptr<spdlog::logger> logger;  // the default one, once it was needed
};

// Never destroyed: threads may log while static objects are being torn down.
Output& output() {
  static Output& instance = *new Output;
  return instance;
}

}  // namespace

void set_level(Level level) noexcept {
  minimum.store(level, std::memory_order_relaxed);
}

bool enabled(Level level) noexcept {
  return level != Level::off && level >= minimum.load(std::memory_order_relaxed);
}

void set_sink(Sink sink) {
  auto made = sink ? std::make_shared<Sink>(std::move(sink)) : nullptr;
  Output& out = output();
  const std::lock_guard lock(out.mutex);
  std::swap(out.sink, made);
}

void write(Level level, std::string_view line) noexcept {
  static thread_local bool inside = false;
  if (!enabled(level) || inside) return;  // what a sink logs would come back to it
  inside = true;
  try {
    Output& out = output();
    const std::lock_guard lock(out.mutex);
    if (const auto sink = out.sink) {
      (*sink)(level, line);
    } else {
      if (!out.logger) out.logger = find_or_make_logger();
      out.logger->log(to_spdlog(level), spdlog::string_view_t(line.data(), line.size()));
    }
  } catch (...) {
    // A log that cannot be written must not take the server down with it.
  }
  inside = false;
}

bool RateLimit::allow(Clock::time_point now) noexcept {
  if (now < next_) {
    ++held_back_;
    return false;
  }
  next_ = now + interval_;
  reported_ = std::exchange(held_back_, 0);
  return true;
}

}  // namespace millrace::log
