// Checks for what only a bug can cause. A failed check prints the expression, both values, a reason
// and the place to standard error, and aborts: a program with a broken invariant must not serve on.
// What the outside world can cause is never a check: that is an std::error_code.
//
//   MILLRACE_CHECK(handler != nullptr, "Server needs a handler");
//   MILLRACE_CHECK_LE(n, buffer.size(), "consume() of more than there is");
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>

namespace millrace::internal {

[[noreturn]] void check_failed(const char* file, int line, const char* expression,
                               std::string_view values, std::string_view reason) noexcept;

template <class T>
std::string shown(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<long long>(value));
  } else if constexpr (std::is_arithmetic_v<T>) {
    return std::to_string(value);
  } else if constexpr (std::is_pointer_v<T>) {
    return value ? "a pointer" : "null";
  } else {
    return std::string(value);
  }
}

template <class A, class B>
[[noreturn]] void comparison_failed(const char* file, int line, const char* expression, const A& a,
                                    const B& b, std::string_view reason = {}) noexcept {
  check_failed(file, line, expression, shown(a) + " and " + shown(b), reason);
}

}  // namespace millrace::internal

// Always on. The reason is optional.
#define MILLRACE_CHECK(condition, ...)                                          \
  (__builtin_expect(static_cast<bool>(condition), 1)                            \
       ? void()                                                                 \
       : ::millrace::internal::check_failed(__FILE__, __LINE__, #condition, {}, \
                                            ::std::string_view{__VA_ARGS__}))

#define MILLRACE_CHECK_COMPARE_(a, op, b, ...)                                                   \
  do {                                                                                           \
    const auto& millrace_a = (a);                                                                \
    const auto& millrace_b = (b);                                                                \
    if (__builtin_expect(!(millrace_a op millrace_b), 0)) {                                      \
      ::millrace::internal::comparison_failed(__FILE__, __LINE__, #a " " #op " " #b, millrace_a, \
                                              millrace_b, ::std::string_view{__VA_ARGS__});      \
    }                                                                                            \
  } while (false)

#define MILLRACE_CHECK_EQ(a, b, ...) MILLRACE_CHECK_COMPARE_(a, ==, b, __VA_ARGS__)
#define MILLRACE_CHECK_NE(a, b, ...) MILLRACE_CHECK_COMPARE_(a, !=, b, __VA_ARGS__)
#define MILLRACE_CHECK_LE(a, b, ...) MILLRACE_CHECK_COMPARE_(a, <=, b, __VA_ARGS__)
#define MILLRACE_CHECK_LT(a, b, ...) MILLRACE_CHECK_COMPARE_(a, <, b, __VA_ARGS__)

// In debug builds only (NDEBUG not defined); in others the condition is not evaluated.
#ifdef NDEBUG
#define MILLRACE_DCHECK(condition, ...) static_cast<void>(sizeof(static_cast<bool>(condition)))
#define MILLRACE_DCHECK_LE(a, b, ...) static_cast<void>(sizeof((a) <= (b)))
#else
#define MILLRACE_DCHECK(condition, ...) MILLRACE_CHECK(condition, __VA_ARGS__)
#define MILLRACE_DCHECK_LE(a, b, ...) MILLRACE_CHECK_LE(a, b, __VA_ARGS__)
#endif
