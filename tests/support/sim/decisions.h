// Decisions are what the simulated kernel asks when more than one thing would be right: how long a
// segment takes, how much a call transfers, who is first, whether a fault comes now. From a seed,
// or, for a fuzzer, from bytes. One thread.
//
//   SeededDecisions decisions(42);
//   if (decisions.chance(20)) return fail(EINTR);   // in 20 of 1,000 cases
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace millrace::test {

class Decisions {
 public:
  virtual ~Decisions() = default;

  // One of 0 ... n - 1; zero when there is nothing to choose. Zero is always the kindest choice.
  std::uint64_t below(std::uint64_t n) { return n <= 1 ? 0 : choose(n); }
  std::uint64_t between(std::uint64_t least, std::uint64_t most) {
    return least + below(most - least + 1);
  }
  bool chance(unsigned per_mille) { return per_mille > 0 && below(1000) >= 1000 - per_mille; }
  // Of any magnitude up to `most`, small ones as likely as large ones.
  std::uint64_t size_up_to(std::uint64_t most) {
    std::uint64_t magnitude = 1;
    while (magnitude < most && below(10) != 0) magnitude *= 2;
    return below((magnitude < most ? magnitude : most) + 1);
  }
  // From now on every choice is the kindest: who does things at random does nothing new any more.
  virtual bool exhausted() const { return false; }

 private:
  virtual std::uint64_t choose(std::uint64_t n) = 0;
};

// The same seed decides the same (SplitMix64: small, quick, good enough to choose with).
class SeededDecisions final : public Decisions {
 public:
  explicit SeededDecisions(std::uint64_t seed) : state_(seed) {}

 private:
  std::uint64_t choose(std::uint64_t n) override {
    std::uint64_t x = state_ += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return (x ^ (x >> 31)) % n;
  }

  std::uint64_t state_;
};

// What a fuzzer says, and when it has said all the kindest. Does not keep the bytes.
class ByteDecisions final : public Decisions {
 public:
  explicit ByteDecisions(std::span<const std::uint8_t> bytes) : left_(bytes) {}
  bool exhausted() const override { return left_.empty(); }

 private:
  std::uint64_t choose(std::uint64_t n) override {
    std::uint64_t value = 0;
    for (std::uint64_t most = n - 1; most > 0 && !left_.empty(); most >>= 8) {
      value = value << 8 | left_.front();
      left_ = left_.subspan(1);
    }
    return value % n;
  }

  std::span<const std::uint8_t> left_;
};

}  // namespace millrace::test
