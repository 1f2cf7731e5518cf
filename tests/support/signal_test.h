// SignalTest is the fixture of what has to do with signals: besides what LoopTest checks, the
// thread's signal mask and what the process does with each signal must be the same before and
// after.
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

// What the process does with a signal: SIG_DFL, SIG_IGN, or the address of a handler.
inline const void* disposition(int number) {
  struct sigaction now {};
  ::sigaction(number, nullptr, &now);
  return (now.sa_flags & SA_SIGINFO) != 0 ? reinterpret_cast<const void*>(now.sa_sigaction)
                                          : reinterpret_cast<const void*>(now.sa_handler);
}

inline bool is_default(int number) {
  return disposition(number) == reinterpret_cast<const void*>(SIG_DFL);
}

inline std::vector<const void*> dispositions() {
  std::vector<const void*> all;
  for (int number = 1; number < NSIG; ++number) all.push_back(disposition(number));
  return all;
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
    dispositions_before_ = dispositions();
  }
  void TearDown() override {
    EXPECT_EQ(blocked_signals(), blocked_before_) << "the signal mask is not as before";
    EXPECT_EQ(dispositions(), dispositions_before_) << "a handler is left, or one too many gone";
    LoopTest::TearDown();
  }
  void turns(int n) {
    while (n-- > 0) loop().run_once(0ms);
  }

 private:
  std::vector<int> blocked_before_;
  std::vector<const void*> dispositions_before_;
};

}  // namespace millrace::test
