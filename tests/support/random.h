// Choices that look random and are the same in each run: a failure names its seed (SCOPED_TRACE)
// and can be repeated.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

namespace millrace::test {

class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t bits() { return engine_(); }
  // 0 ... n - 1. Precondition: n > 0.
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(engine_() % n); }
  std::size_t between(std::size_t least, std::size_t most) {
    return least + below(most - least + 1);
  }
  bool one_in(std::size_t n) { return below(n) == 0; }
  // A size of any magnitude up to `most`: small ones as likely as large ones.
  std::size_t size_up_to(std::size_t most) {
    std::size_t magnitude = 1;
    while (magnitude < most && !one_in(12)) magnitude *= 2;
    return below(std::min(magnitude, most) + 1);
  }
  std::string bytes(std::size_t n) {
    std::string made(n, '\0');
    for (char& c : made) c = static_cast<char>(engine_());
    return made;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace millrace::test
