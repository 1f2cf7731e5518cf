#include <millrace/bytes.h>

#include <new>

namespace millrace {

// Header and bytes in one allocation.
struct SharedBytes::Copied final : Payload {
  static Copied* make(ByteView from) {
    void* memory = ::operator new(sizeof(Copied) + from.size());
    auto* made = new (memory) Copied;
    auto* bytes = reinterpret_cast<std::byte*>(made + 1);
    if (!from.empty()) std::memcpy(bytes, from.data(), from.size());
    made->bytes = ByteView(bytes, from.size());
    return made;
  }
  // What make() took was larger than the type: no sized delete.
  static void operator delete(void* memory) noexcept { ::operator delete(memory); }
};

SharedBytes::SharedBytes(ByteView bytes) : payload_(Copied::make(bytes)) {}

std::size_t SharedBytes::owners() const noexcept {
  return payload_ ? payload_->owners.load(std::memory_order_relaxed) : 0;
}

void SharedBytes::release() noexcept {
  // acq_rel: the thread that deletes must see every other owner's last use.
  if (payload_ && payload_->owners.fetch_sub(1, std::memory_order_acq_rel) == 1) delete payload_;
}

}  // namespace millrace
