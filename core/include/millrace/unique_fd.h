// UniqueFd owns one file descriptor and closes it exactly once. It lives as long as its owner wants
// the descriptor open; one thread at a time.
//
//   UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
//   if (!fd) throw std::system_error(errno, std::system_category(), path);
//   ::read(fd.get(), ...);
#pragma once

#include <utility>

namespace millrace {

class UniqueFd {
 public:
  UniqueFd() noexcept = default;
  explicit UniqueFd(int fd) noexcept : fd_(fd) {}  // -1 stands for none
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  // Gives the descriptor up without closing it.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
  // Closes what is owned, then owns `fd`. close() is never retried: on Linux the descriptor is gone
  // even when close() reports EINTR or EIO, and its number may already be somebody else's.
  void reset(int fd = -1) noexcept;

 private:
  int fd_ = -1;
};

}  // namespace millrace
