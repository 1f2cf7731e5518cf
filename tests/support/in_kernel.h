// Marks what a test's kernel does on behalf of a system call: memory that it takes is not the
// product's (support/allocations.h neither counts nor refuses it).
#pragma once

namespace millrace::test {

inline thread_local constinit int kernel_depth = 0;

class InKernel {
 public:
  InKernel() noexcept { ++kernel_depth; }
  ~InKernel() { --kernel_depth; }
  InKernel(const InKernel&) = delete;
  InKernel& operator=(const InKernel&) = delete;
};

}  // namespace millrace::test
