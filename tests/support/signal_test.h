// SignalTest is the fixture of what has to do with signals: besides what LoopTest checks, the
// thread's signal mask must be the same before and after.
#pragma once

#include "support/loop_test.h"

#include <vector>

#include <signal.h>
#include <unistd.h>

namespace millrace::test {

inline bool is_blocked(int number) {
  sigset_t mask;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  return sigismember(&mask, number) == 1;
}

inline bool is_pending(int number) {
  sigset_t pending;
  ::sigpending(&pending);
  return sigismember(&pending, number) == 1;
}

inline std::vector<int> blocked_signals() {
  std::vector<int> blocked;
  for (int number = 1; number < NSIG; ++number) {
    if (is_blocked(number)) blocked.push_back(number);
  }
  return blocked;
}

// A signal that the thread has blocked for itself. What of it is pending in the end is taken away.
class Blocked {
 public:
  explicit Blocked(int number) {
    sigemptyset(&one_);
    sigaddset(&one_, number);
    ::pthread_sigmask(SIG_BLOCK, &one_, &before_);
  }
  ~Blocked() {
    const timespec at_once{};
    while (::sigtimedwait(&one_, nullptr, &at_once) > 0) {
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;

 private:
  sigset_t one_;
  sigset_t before_;
};

class SignalTest : public LoopTest {
 protected:
  void SetUp() override {
    LoopTest::SetUp();
    blocked_before_ = blocked_signals();
  }
  void TearDown() override {
    EXPECT_EQ(blocked_signals(), blocked_before_) << "the signal mask is not as before";
    LoopTest::TearDown();
  }
  void turns(int n) {
    while (n-- > 0) loop().run_once(0ms);
  }

 private:
  std::vector<int> blocked_before_;
};

}  // namespace millrace::test
