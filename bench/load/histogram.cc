#include "histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace millrace::bench {
namespace {

constexpr std::uint64_t kLargest = std::uint64_t{1} << 44;  // almost five hours

}  // namespace

Histogram::Histogram() : counts_(index_of(kLargest) + 1) {}

// Values below 2^(kSubBits + 1) have a bucket each; from there on the top kSubBits + 1 bits count.
std::size_t Histogram::index_of(std::uint64_t ns) noexcept {
  const int width = static_cast<int>(std::bit_width(ns));
  const int shift = std::max(width - (kSubBits + 1), 0);
  return (static_cast<std::size_t>(shift) << kSubBits) + static_cast<std::size_t>(ns >> shift);
}

std::uint64_t Histogram::highest_of(std::size_t index) noexcept {
  const std::size_t shift = index >> kSubBits;
  if (shift <= 1) return index;
  const std::uint64_t top = (index & ((1u << kSubBits) - 1)) | (1u << kSubBits);
  return ((top + 1) << (shift - 1)) - 1;
}

void Histogram::record(Duration value) noexcept {
  const std::int64_t ns = std::max<std::int64_t>(value.count(), 0);
  ++counts_[index_of(std::min(static_cast<std::uint64_t>(ns), kLargest))];
  ++count_;
  sum_ += static_cast<std::uint64_t>(ns);
  max_ = std::max(max_, ns);
}

void Histogram::add(const Histogram& other) noexcept {
  for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  max_ = std::max(max_, other.max_);
}

void Histogram::clear() noexcept {
  std::fill(counts_.begin(), counts_.end(), 0);
  count_ = sum_ = 0;
  max_ = 0;
}

Histogram::Duration Histogram::mean() const noexcept {
  return Duration(static_cast<std::int64_t>(count_ == 0 ? 0 : sum_ / count_));
}

Histogram::Duration Histogram::quantile(double q) const noexcept {
  if (count_ == 0) return Duration(0);
  const auto wanted = std::max<std::uint64_t>(
      static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(count_))), 1);
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (seen >= wanted) return std::min(Duration(static_cast<std::int64_t>(highest_of(i))), max());
  }
  return max();
}

}  // namespace millrace::bench
