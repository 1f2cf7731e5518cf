// Keeps the lines of millrace's log for the test instead of writing them, as long as it lives.
//
//   CapturedLog log;
//   ...
//   EXPECT_EQ(log.lines(log::Level::warning).size(), 1u);
#pragma once

#include <millrace/log.h>

#include <algorithm>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace::test {

class CapturedLog {
 public:
  CapturedLog() {
    log::set_sink([this](log::Level level, std::string_view line) {
      const std::lock_guard lock(mutex_);
      lines_.emplace_back(level, line);
    });
  }
  ~CapturedLog() { log::set_sink({}); }
  CapturedLog(const CapturedLog&) = delete;
  CapturedLog& operator=(const CapturedLog&) = delete;

  std::vector<std::string> lines(log::Level level) const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> found;
    for (const auto& [its_level, line] : lines_) {
      if (its_level == level) found.push_back(line);
    }
    return found;
  }
  bool contains(std::string_view text) const {
    const std::lock_guard lock(mutex_);
    return std::any_of(lines_.begin(), lines_.end(), [=](const auto& line) {
      return line.second.find(text) != std::string::npos;
    });
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::pair<log::Level, std::string>> lines_;
};

}  // namespace millrace::test
