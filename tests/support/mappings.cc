#include "support/mappings.h"

#include "support/fault_script.h"

#include <atomic>
#include <cerrno>

#include <sys/mman.h>

namespace millrace::test {
namespace {

std::atomic<std::ptrdiff_t> mapped{0};
std::atomic<std::uint64_t> calls_made{0};
std::atomic<bool> refusing{false};

bool refused(Call call) {
  ++calls_made;
  const auto fault = next_fault(call, -1);
  if (!refusing && !fault) return false;
  errno = ENOMEM;
  return true;
}

}  // namespace

Mappings::Mappings() : bytes_before_(mapped), calls_before_(calls_made) {}
Mappings::~Mappings() {
  refusing = false;
}
std::ptrdiff_t Mappings::bytes() const {
  return mapped - bytes_before_;
}
std::uint64_t Mappings::calls() const {
  return calls_made - calls_before_;
}
void Mappings::refuse(bool all) {
  refusing = all;
}

}  // namespace millrace::test

using millrace::test::Call;

extern "C" {

void* __real_mmap(void*, size_t, int, int, int, off_t);
void* __real_mremap(void*, size_t, size_t, int);
int __real_munmap(void*, size_t);

void* __wrap_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) {
  if (millrace::test::refused(Call::mmap)) return MAP_FAILED;
  void* made = __real_mmap(at, size, protection, flags, fd, offset);
  if (made != MAP_FAILED) millrace::test::mapped += static_cast<std::ptrdiff_t>(size);
  return made;
}

void* __wrap_mremap(void* old, size_t old_size, size_t new_size, int flags) {
  if (millrace::test::refused(Call::mremap)) return MAP_FAILED;
  void* made = __real_mremap(old, old_size, new_size, flags);
  if (made != MAP_FAILED) {
    millrace::test::mapped += static_cast<std::ptrdiff_t>(new_size - old_size);
  }
  return made;
}

int __wrap_munmap(void* at, size_t size) {
  const int result = __real_munmap(at, size);
  if (result == 0) millrace::test::mapped -= static_cast<std::ptrdiff_t>(size);
  return result;
}
}
