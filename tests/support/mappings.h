// The memory that the product maps (its block pools): counted, and refused on request. As with
// Faults, the linker leads the product's calls through here.
//
//   Mappings mappings;  // counts from here
//   mappings.refuse(true);  // ENOMEM from now on, at most until `mappings` goes
//   EXPECT_THROW(pool.acquire(100), std::bad_alloc);
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace::test {

class Mappings {
 public:
  Mappings();
  ~Mappings();
  Mappings(const Mappings&) = delete;
  Mappings& operator=(const Mappings&) = delete;

  // Mapped less unmapped since this object was made.
  std::ptrdiff_t bytes() const;
  // mmap and mremap, those that were refused included, since this object was made.
  std::uint64_t calls() const;
  void refuse(bool all);

 private:
  std::ptrdiff_t bytes_before_;
  std::uint64_t calls_before_;
};

}  // namespace millrace::test
