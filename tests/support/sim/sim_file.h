// SimFile is what a simulated descriptor refers to: something that epoll can watch. SimHandle is
// one reference to it, held by a descriptor or by a message that carries it (SCM_RIGHTS): when the
// last one goes, registrations and file are gone. They live in a SimKernel.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
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
  // The last reference has gone.
  virtual void close() {}

  // Tells those who watch that something may have changed.
  void touch();

 protected:
  SimKernel& kernel() const { return kernel_; }

 private:
  friend class SimEpoll;
  friend class SimHandle;

  SimKernel& kernel_;
  int handles_ = 0;
  std::vector<SimWatch*> watches_;
};

class SimHandle {
 public:
  SimHandle() = default;
  explicit SimHandle(std::shared_ptr<SimFile> file);
  SimHandle(const SimHandle& other) : SimHandle(other.file_) {}
  SimHandle(SimHandle&& other) noexcept = default;
  SimHandle& operator=(SimHandle other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }
  ~SimHandle();

  explicit operator bool() const { return file_ != nullptr; }
  SimFile* get() const { return file_.get(); }

 private:
  std::shared_ptr<SimFile> file_;
};

}  // namespace millrace::test
