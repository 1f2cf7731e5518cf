// LoopServices is what a loop lends to those who build transports on it (as net does): memory for
// buffers, slabs for IoTargets, a graveyard for what must not die under its callers' feet, and one
// place per loop for their own data. It lives as long as its loop; loop's thread only.
//
//   Slab<Session>& sessions = loop.services().slab<Session>();
//   MyCache& cache = loop.services().local<MyCache>(loop);    // made on first use
//   loop.services().bury(std::move(owner));                   // destroyed when the iteration ends
#pragma once

#include <millrace/block_pool.h>
#include <millrace/bytes.h>
#include <millrace/io_target.h>
#include <millrace/slab.h>
#include <millrace/time.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string_view>
#include <vector>

namespace millrace {

// What LoopServices::bury() takes. It has its place in the graveyard with it: destructors bury, and
// must not need memory for it.
class Mortal {
 public:
  virtual ~Mortal() = default;

 private:
  friend class LoopCore;
  Mortal* next_buried_ = nullptr;
};

class LoopServices {
 public:
  // The one block that all connections of the loop receive into, with room in front of it so that
  // what was left over can be put before what arrives. Valid until the next receive.
  static constexpr std::size_t kReceiveHeadroomBytes = 4 * 1024;
  static constexpr std::size_t kReceiveBlockBytes = 64 * 1024;

  explicit LoopServices(LoopCore& core) noexcept : core_(core) {}
  LoopServices(const LoopServices&) = delete;
  LoopServices& operator=(const LoopServices&) = delete;
  ~LoopServices();

  BlockPool& blocks() noexcept { return blocks_; }
  // Where bytes are received; kReceiveHeadroomBytes lie in front of it. Receive only in your own
  // handle_io() or handle_flush(), never inside another target's callback: what a connection sends
  // back may lie here until its callback has returned.
  std::byte* receive_block() {
    if (!receive_memory_) make_receive_block();
    return receive_memory_->bytes + kReceiveHeadroomBytes;
  }
  // Whether all of `bytes` lies there, or in front of it.
  bool in_receive_block(ByteView bytes) const noexcept {
    constexpr std::size_t kAll = kReceiveHeadroomBytes + kReceiveBlockBytes;
    const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(bytes.data()) -
                                  reinterpret_cast<std::uintptr_t>(receive_memory_.get());
    return receive_memory_ && offset < kAll && bytes.size() <= kAll - offset;
  }
  // Milliseconds since the loop was made, of this iteration.
  std::uint64_t now_ms() const noexcept { return now_ms_; }
  // The number of this iteration.
  std::uint64_t iteration() const noexcept { return iteration_; }

  template <std::derived_from<IoTarget> T>
  Slab<T>& slab() {
    return local<TargetSlab<T>>(next_id_, *this).slab;
  }
  // The loop's own T; `args` construct it on the first call.
  template <class T, class... Args>
  T& local(Args&&... args) {
    if (void* found = find_local(&kKey<T>)) return *static_cast<T*>(found);
    auto made = std::make_unique<T>(std::forward<Args>(args)...);
    return *static_cast<T*>(add_local(
        &kKey<T>, Owned(made.release(), [](void* p) noexcept { delete static_cast<T*>(p); })));
  }

  // Destroys the object when the iteration ends: it may be in use further down the stack.
  void bury(std::unique_ptr<Mortal> object) noexcept;
  // True in a child that fork() made: what it closes must not disturb the parent.
  bool forked_away() const noexcept;
  // True once this process has forked: descriptors may have copies that it does not know of.
  static bool ever_forked() noexcept;
  // Reports what a callback threw, as the loop does for its own.
  void report_exception(std::exception_ptr exception, std::string_view callback_kind) noexcept;

 private:
  friend class LoopCore;
  using Owned = std::unique_ptr<void, void (*)(void*) noexcept>;
  template <class T>
  static inline char kKey = 0;  // its address is the key

  struct TargetSlabBase {
    virtual ~TargetSlabBase() = default;
    virtual void for_each(void (*visit)(IoTarget&, void*), void* argument) = 0;
  };
  template <class T>
  struct TargetSlab final : TargetSlabBase {
    TargetSlab(std::uint64_t& next_id, LoopServices& services) : slab(next_id) {
      services.target_slabs_.push_back(this);
    }
    void for_each(void (*visit)(IoTarget&, void*), void* argument) override {
      slab.for_each([&](T& object) { visit(object, argument); });
    }
    Slab<T> slab;
  };

  void* find_local(const void* key) const noexcept;
  void* add_local(const void* key, Owned object);
  bool drop_local() noexcept;  // false: there is none
  void make_receive_block();

  LoopCore& core_;
  BlockPool blocks_;
  // The kernel copies to and from whole cache lines faster.
  struct alignas(64) ReceiveMemory {
    std::byte bytes[kReceiveHeadroomBytes + kReceiveBlockBytes];
  };
  std::unique_ptr<ReceiveMemory> receive_memory_;
  std::uint64_t next_id_ = 1;
  std::uint64_t now_ms_ = 0;
  std::uint64_t iteration_ = 0;
  struct Local {
    const void* key;
    Owned object;
  };
  std::vector<Local> locals_;
  std::vector<TargetSlabBase*> target_slabs_;
};

}  // namespace millrace
