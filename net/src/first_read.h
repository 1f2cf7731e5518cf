// FirstRead decides for one server whether to read from a connection as soon as it is accepted.
// Where peers speak first their bytes are mostly there already, and the event that would announce
// them is spared; where they do not, each try is a system call for nothing. Loop's thread.
#pragma once

#include <algorithm>

namespace millrace {

class FirstRead {
 public:
  bool worth_trying() noexcept { return score_ >= 0 || ++passed_over_ % kRetryEvery == 0; }
  void tried(bool found) noexcept {
    score_ = found ? std::min(score_ + 1, kMost) : std::max(score_ - kCostOfNothing, -kMost);
  }

 private:
  static constexpr int kMost = 8;
  static constexpr int kCostOfNothing = 2;  // in what finding something spares
  static constexpr unsigned kRetryEvery = 64;
  int score_ = 0;
  unsigned passed_over_ = 0;
};

}  // namespace millrace
