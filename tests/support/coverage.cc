// Part of the tests under the coverage preset only. The counters are written when a process ends in
// order; that of a forked child (_exit) and of a death test (abort) would be lost.
#include <cstdlib>

extern "C" {

void __gcov_dump();
[[noreturn]] void __real__exit(int status);
[[noreturn]] void __real_abort();

[[noreturn]] void __wrap__exit(int status) {
  __gcov_dump();
  __real__exit(status);
}

[[noreturn]] void __wrap_abort() {
  __gcov_dump();
  __real_abort();
}

}  // extern "C"
