// SimFile is what a simulated descriptor refers to: something that epoll can watch. It lives in a
// SimKernel, as long as a descriptor or a connection needs it.
#pragma once

#include <cstdint>
#include <vector>

namespace millrace::test {

class SimEpoll;
class SimKernel;
struct SimWatch;

class SimFile {
 public:
  explicit SimFile(SimKernel& kernel) : kernel_(kernel) {}
  virtual ~SimFile() = default;
  SimFile(const SimFile&) = delete;
  SimFile& operator=(const SimFile&) = delete;

  // What is the case now, as epoll(7) says it.
  virtual std::uint32_t poll() const = 0;
  // Whether epoll may say that something is the case when it is not.
  virtual bool may_mislead() const { return true; }
  // The last descriptor was closed.
  virtual void close() {}

  // Tells those who watch that something may have changed.
  void touch();

 protected:
  SimKernel& kernel() const { return kernel_; }

 private:
  friend class SimEpoll;
  friend class SimKernel;

  SimKernel& kernel_;
  int fd_ = -1;
  std::vector<SimWatch*> watches_;
};

}  // namespace millrace::test
