#include <millrace/check.h>

#include <cstdio>
#include <cstdlib>

namespace millrace::internal {

void check_failed(const char* file, int line, const char* expression, std::string_view values,
                  std::string_view reason) noexcept {
  std::fprintf(stderr, "millrace: check failed: %s", expression);
  if (!values.empty()) {
    std::fprintf(stderr, " (with %.*s)", static_cast<int>(values.size()), values.data());
  }
  if (!reason.empty()) {
    std::fprintf(stderr, ": %.*s", static_cast<int>(reason.size()), reason.data());
  }
  std::fprintf(stderr, " [%s:%d]\n", file, line);
  std::abort();
}

}  // namespace millrace::internal
