// Function is a move-only std::function: it holds any callable, also one that owns a unique_ptr,
// and keeps callables of up to kInlineBytes inside itself, so that storing a small lambda does not
// allocate. It lives as long as its owner; one thread at a time, moving it to another is fine.
//
//   Function<void(int)> f = [p = std::make_unique<Job>()](int n) { p->run(n); };
//   if (f) f(3);
#pragma once

#include <millrace/check.h>

#include <cstddef>
#include <cstring>
#include <functional>
#include <new>
#include <type_traits>
#include <utility>

namespace millrace {

template <class Signature, std::size_t kInlineBytes = 24>
class Function;

template <class R, class... Args, std::size_t kInlineBytes>
class Function<R(Args...), kInlineBytes> {
 public:
  Function() noexcept = default;
  Function(std::nullptr_t) noexcept {}
  // A null function pointer makes an empty Function.
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, Function> &&
           std::is_invocable_r_v<R, std::decay_t<F>&, Args...>) Function(F&& callable) {
    if constexpr (std::is_pointer_v<std::remove_cvref_t<F>>) {
      if (callable == nullptr) return;
    }
    hold<std::decay_t<F>>(std::forward<F>(callable));
  }
  Function(Function&& other) noexcept { take(other); }
  Function& operator=(Function&& other) noexcept {
    if (this != &other) {
      drop();
      take(other);
    }
    return *this;
  }
  ~Function() { drop(); }

  explicit operator bool() const noexcept { return invoke_ != nullptr; }
  // Precondition: not empty.
  R operator()(Args... args) {
    MILLRACE_DCHECK(invoke_ != nullptr);
    return invoke_(storage_, std::forward<Args>(args)...);
  }

 private:
  using Invoke = R (*)(void*, Args&&...);
  // Moves the callable into `to` and destroys it at `from`; only destroys it when `to` is null.
  using Manage = void (*)(void* from, void* to) noexcept;

  template <class F>
  static constexpr bool kFits =
      sizeof(F) <= kInlineBytes &&
      alignof(F) <= alignof(void*) && std::is_nothrow_move_constructible_v<F>;

  template <class F, class From>
  void hold(From&& from) {
    if constexpr (kFits<F>) {
      // take() copies the whole storage: no byte of it may be indeterminate.
      if constexpr (std::is_trivially_copyable_v<F>) std::memset(storage_, 0, kInlineBytes);
      ::new (static_cast<void*>(storage_)) F(std::forward<From>(from));
      invoke_ = [](void* at, Args&&... args) -> R {
        return std::invoke(*static_cast<F*>(at), std::forward<Args>(args)...);
      };
      // What is trivial to copy is moved by memcpy and needs no manager.
      if constexpr (!std::is_trivially_copyable_v<F>) {
        manage_ = [](void* at, void* to) noexcept {
          auto* callable = static_cast<F*>(at);
          if (to) ::new (to) F(std::move(*callable));
          callable->~F();
        };
      }
    } else {
      F* made = new F(std::forward<From>(from));
      std::memcpy(storage_, &made, sizeof made);
      invoke_ = [](void* at, Args&&... args) -> R {
        return std::invoke(**static_cast<F**>(at), std::forward<Args>(args)...);
      };
      manage_ = [](void* at, void* to) noexcept {
        if (to) {
          std::memcpy(to, at, sizeof(F*));
        } else {
          delete *static_cast<F**>(at);
        }
      };
    }
  }

  void take(Function& other) noexcept {
    if (!other.invoke_) return;
    if (other.manage_) {
      other.manage_(other.storage_, storage_);
    } else {
      std::memcpy(storage_, other.storage_, kInlineBytes);
    }
    invoke_ = std::exchange(other.invoke_, nullptr);
    manage_ = std::exchange(other.manage_, nullptr);
  }

  void drop() noexcept {
    invoke_ = nullptr;
    if (auto* manage = std::exchange(manage_, nullptr)) manage(storage_, nullptr);
  }

  Invoke invoke_ = nullptr;
  Manage manage_ = nullptr;
  alignas(void*) std::byte storage_[kInlineBytes];
};

// What a loop runs: inline up to six pointers, so that a task which carries a ConnectionRef and a
// little more is posted without an allocation.
using Task = Function<void(), 48>;

}  // namespace millrace
