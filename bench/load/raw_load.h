// RawLoad is what the loads on bare sockets have in common: warm up, measure, stop, wait for what
// is still under way. A load says what one turn does. One thread, spinning; SIGPIPE is ignored from
// the first one on.
#pragma once

#include <millrace/time.h>

#include "load.h"

#include <string>

namespace millrace::bench {

class Meter;

class RawLoad {
 public:
  explicit RawLoad(const LoadOptions& options);
  virtual ~RawLoad() = default;
  RawLoad(const RawLoad&) = delete;
  RawLoad& operator=(const RawLoad&) = delete;

  // Throws std::system_error when it cannot even connect.
  LoadResult run();

 protected:
  virtual void start() = 0;            // connects and sends what is first
  virtual bool turn() = 0;             // false: there was nothing to do
  virtual void stop() {}               // from now on nothing new is begun
  virtual bool under_way() const = 0;  // something is awaited that was begun

  // Warms up, then measures into result_.
  void measure(std::chrono::nanoseconds warmup, std::chrono::nanoseconds duration);
  bool stopping() const noexcept { return stopping_; }
  void count(std::uint64_t messages, std::uint64_t bytes) noexcept {
    result_.total_messages += messages;
    if (!measuring_) return;
    result_.messages += messages;
    result_.bytes += bytes;
  }
  void record(std::chrono::nanoseconds latency) noexcept {
    if (measuring_) result_.latency.record(latency);
  }
  void fail(const std::string& kind) { ++result_.errors[kind]; }
  // How a connection ended: recv() returned 0, or failed with `error`.
  void fail_ended(int error);

  const LoadOptions options_;
  LoadResult result_;

 private:
  void turn_for(std::chrono::nanoseconds length, Meter* meter);

  bool measuring_ = false;
  bool stopping_ = false;
};

}  // namespace millrace::bench
