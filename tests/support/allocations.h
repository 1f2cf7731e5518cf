// What a thread takes from operator new: counted, or refused. A program that uses this names
// support/allocations.cc among its own sources, which replaces operator new in it. What a simulated
// kernel takes does not count.
//
//   Allocations allocations;
//   loop.run_once(0ms);
//   EXPECT_EQ(allocations.count(), 0u);
//
//   NoMemory limit(3);      // the fourth from now on, and all after it, throw std::bad_alloc
//   NoMemory limit(3, 1);   // the fourth alone
//   loop.run_once(0ms);
//   EXPECT_TRUE(limit.reached());
#pragma once

#include <cstdint>

namespace millrace::test {

// Counts those of the thread that made it, since then.
class Allocations {
 public:
  Allocations() noexcept;
  std::uint64_t count() const noexcept;
  std::uint64_t bytes() const noexcept;  // of all of them together, also of what was given back

 private:
  std::uint64_t before_;
  std::uint64_t bytes_before_;
};

// One at a time in a thread. What it does ends with it.
class NoMemory {
 public:
  static constexpr std::uint64_t kForEver = ~std::uint64_t{0};
  explicit NoMemory(std::uint64_t after = 0, std::uint64_t times = kForEver) noexcept;
  ~NoMemory();
  NoMemory(const NoMemory&) = delete;
  NoMemory& operator=(const NoMemory&) = delete;
  bool reached() const noexcept;
};

}  // namespace millrace::test
