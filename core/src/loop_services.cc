#include <millrace/loop_services.h>

#include "loop_core.h"

#include <utility>

namespace millrace {

LoopServices::~LoopServices() = default;

// The last made goes first: it may use what was there before it.
bool LoopServices::drop_local() noexcept {
  if (locals_.empty()) return false;
  const Local last = std::move(locals_.back());
  locals_.pop_back();
  return true;
}

void* LoopServices::find_local(const void* key) const noexcept {
  for (const Local& local : locals_) {
    if (local.key == key) return local.object.get();
  }
  return nullptr;
}

void* LoopServices::add_local(const void* key, Owned object) {
  locals_.push_back({key, std::move(object)});
  return locals_.back().object.get();
}

void LoopServices::bury(std::unique_ptr<Mortal> object) noexcept {
  core_.bury(std::move(object));
}

bool LoopServices::forked_away() const noexcept {
  return core_.forked_away();
}

bool LoopServices::ever_forked() noexcept {
  return LoopCore::ever_forked();
}

void LoopServices::make_receive_block() {
  receive_memory_ = std::make_unique_for_overwrite<ReceiveMemory>();
}

void LoopServices::report_exception(std::exception_ptr exception,
                                    std::string_view callback_kind) noexcept {
  core_.report_exception(std::move(exception), callback_kind);
}

}  // namespace millrace
