// ByteFifo is a queue of bytes. A value.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

namespace millrace::test {

class ByteFifo {
 public:
  std::size_t size() const { return bytes_.size() - begin_; }
  bool empty() const { return size() == 0; }
  std::string_view view() const { return std::string_view(bytes_).substr(begin_); }
  void append(std::string_view more) { bytes_ += more; }
  std::size_t copy(void* to, std::size_t n) const {
    n = std::min(n, size());
    if (n > 0) std::memcpy(to, bytes_.data() + begin_, n);
    return n;
  }
  void drop(std::size_t n) {
    begin_ += n;
    if (begin_ < bytes_.size() / 2 && begin_ < kKept) return;
    bytes_.erase(0, begin_);
    begin_ = 0;
  }
  std::string take(std::size_t n) {
    std::string taken(view().substr(0, n));
    drop(taken.size());
    return taken;
  }
  void clear() {
    bytes_ = {};
    begin_ = 0;
  }

 private:
  static constexpr std::size_t kKept = 64 * 1024;

  std::string bytes_;
  std::size_t begin_ = 0;
};

}  // namespace millrace::test
