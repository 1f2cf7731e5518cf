// Makes anything fit for the loop's graveyard.
//
//   loop.services().bury(std::make_unique<Buried<Noisy>>(order, "grave"));
#pragma once

#include <millrace/loop_services.h>

#include <utility>

namespace millrace::test {

template <class T>
struct Buried final : Mortal {
  template <class... Args>
  explicit Buried(Args&&... args) : held{std::forward<Args>(args)...} {}
  T held;
};

}  // namespace millrace::test
