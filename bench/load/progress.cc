#include "progress.h"

#include <chrono>
#include <cstdio>
#include <utility>

namespace millrace::bench {

Progress::Progress(Progress&& other) noexcept
    : start_(other.start_),
      last_(other.last_),
      last_messages_(other.last_messages_),
      last_bytes_(other.last_bytes_),
      drawn_(std::exchange(other.drawn_, false)) {}

Progress::~Progress() {
  if (drawn_) std::fputs("\r\033[K", stderr);
}

void Progress::show(std::uint64_t messages, std::uint64_t bytes, std::size_t connections,
                    const std::map<std::string, std::uint64_t>& errors) {
  const TimePoint now = Clock::now();
  const std::chrono::duration<double> elapsed = now - start_;
  const std::chrono::duration<double> step = now - last_;
  std::uint64_t error_count = 0;
  for (const auto& [kind, count] : errors) error_count += count;
  const double seconds = step.count() > 0 ? step.count() : 1;
  std::fprintf(stderr, "\r\033[K%6.1f s  %10.0f msg/s  %8.1f MB/s  %zu connections  %llu errors",
               elapsed.count(), static_cast<double>(messages - last_messages_) / seconds,
               static_cast<double>(bytes - last_bytes_) / seconds / 1e6, connections,
               static_cast<unsigned long long>(error_count));
  std::fflush(stderr);
  last_ = now;
  last_messages_ = messages;
  last_bytes_ = bytes;
  drawn_ = true;
}

}  // namespace millrace::bench
