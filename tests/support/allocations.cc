#include "support/allocations.h"

#include "support/in_kernel.h"

#include <cstddef>
#include <cstdlib>
#include <new>

namespace millrace::test {
namespace {

thread_local constinit std::uint64_t taken = 0;
thread_local constinit std::uint64_t taken_bytes = 0;
thread_local constinit bool limited = false;
thread_local constinit bool refused = false;
// While limited:
thread_local constinit std::uint64_t left = 0;
thread_local constinit std::uint64_t refusals_left = 0;

void* take(std::size_t bytes, std::size_t alignment) {
  if (limited && kernel_depth == 0) {
    if (left > 0) {
      --left;
    } else if (refusals_left > 0) {
      --refusals_left;
      refused = true;
      throw std::bad_alloc();
    }
  }
  if (kernel_depth == 0) {
    ++taken;
    taken_bytes += bytes;
  }
  void* at = nullptr;
  if (alignment <= alignof(std::max_align_t)) {
    at = std::malloc(bytes > 0 ? bytes : 1);
  } else if (::posix_memalign(&at, alignment, bytes) != 0) {
    at = nullptr;
  }
  if (!at) throw std::bad_alloc();
  return at;
}

}  // namespace

Allocations::Allocations() noexcept : before_(taken), bytes_before_(taken_bytes) {}
std::uint64_t Allocations::count() const noexcept {
  return taken - before_;
}
std::uint64_t Allocations::bytes() const noexcept {
  return taken_bytes - bytes_before_;
}

NoMemory::NoMemory(std::uint64_t after, std::uint64_t times) noexcept {
  left = after;
  refusals_left = times;
  refused = false;
  limited = true;
}
NoMemory::~NoMemory() {
  limited = false;
}
bool NoMemory::reached() const noexcept {
  return refused;
}

}  // namespace millrace::test

// The other forms are the library's, and call these.
void* operator new(std::size_t bytes) {
  return millrace::test::take(bytes, alignof(std::max_align_t));
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return millrace::test::take(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* at) noexcept {
  std::free(at);
}
void operator delete(void* at, std::size_t) noexcept {
  std::free(at);
}
void operator delete(void* at, std::align_val_t) noexcept {
  std::free(at);
}
void operator delete(void* at, std::size_t, std::align_val_t) noexcept {
  std::free(at);
}
