// The clock of millrace is monotonic: setting the wall clock neither fires nor delays anything.
// Delay is how functions take a length of time: any std::chrono duration converts, and one that
// nanoseconds cannot hold (hours::max()) becomes the longest there is instead of overflowing.
#pragma once

#include <chrono>
#include <ratio>
#include <utility>

namespace millrace {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = std::chrono::nanoseconds;

class Delay {
 public:
  template <class Rep, class Period>
  constexpr Delay(std::chrono::duration<Rep, Period> d) noexcept : value_(saturated(d)) {}
  constexpr Duration value() const noexcept { return value_; }

 private:
  template <class Rep, class Period>
  static constexpr Duration saturated(std::chrono::duration<Rep, Period> d) noexcept {
    if constexpr (std::chrono::treat_as_floating_point_v<Rep>) {
      using Seconds = std::chrono::duration<double>;
      if (Seconds(d) >= Seconds(Duration::max())) return Duration::max();
      if (Seconds(d) <= Seconds(Duration::min())) return Duration::min();
    } else {
      // Of the given counts, those that can be multiplied to nanoseconds.
      using Factor = std::ratio_divide<Period, Duration::period>;
      if (std::cmp_greater(d.count(), Duration::max().count() / Factor::num))
        return Duration::max();
      if (std::cmp_less(d.count(), Duration::min().count() / Factor::num)) return Duration::min();
    }
    return std::chrono::duration_cast<Duration>(d);
  }

  Duration value_;
};

// `at` moved by `by`, or the end of time.
constexpr TimePoint later(TimePoint at, Duration by) noexcept {
  return by > TimePoint::max() - at ? TimePoint::max() : at + by;
}

}  // namespace millrace
