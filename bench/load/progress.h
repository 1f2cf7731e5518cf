// The live line of a running load: redrawn in place on a terminal.
#pragma once

#include <millrace/time.h>

#include <cstdint>
#include <map>
#include <string>

namespace millrace::bench {

class Progress {
 public:
  Progress() : start_(Clock::now()), last_(start_) {}
  Progress(Progress&& other) noexcept;
  ~Progress();  // leaves the line clean

  // Draws: elapsed, messages and megabytes per second since the last call, connections, errors.
  void show(std::uint64_t messages, std::uint64_t bytes, std::size_t connections,
            const std::map<std::string, std::uint64_t>& errors);

 private:
  TimePoint start_;
  TimePoint last_;
  std::uint64_t last_messages_ = 0;
  std::uint64_t last_bytes_ = 0;
  bool drawn_ = false;
};

}  // namespace millrace::bench
