// Slab keeps the objects of one type that a loop watches or that others hold weak references to,
// for those who build transports on the loop (as net does). It belongs to one loop
// (`loop.services().slab<T>()`), lives as long as it, and is for the loop's thread only.
//
//   Slab<Session>& slab = loop.services().slab<Session>();
//   Session* s = slab.make(arguments...);
//   std::uint64_t id = Slot::of(s).id;     // unique in the loop, 0 once destroyed
//   slab.destroy(s);
//
// A slot's memory is never given back while the loop lives, and its id is overwritten when the
// object dies: whoever kept {slot, id} can ask at any later time whether the object is still there.
// That is what makes a ConnectionRef and a late epoll event safe without a reference count.
#pragma once

#include <millrace/check.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define MILLRACE_HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MILLRACE_HAS_ASAN 1
#endif
#endif
#ifdef MILLRACE_HAS_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace millrace {

// Lies directly in front of each object of a Slab.
struct Slot {
  std::uint64_t id = 0;  // of the living object; 0: none
  void* object() noexcept { return this + 1; }
  static Slot& of(void* object) noexcept { return *(static_cast<Slot*>(object) - 1); }
};

template <class T>
class Slab {
 public:
  // Takes the ids of new objects from `next_id`, which all slabs of a loop share.
  explicit Slab(std::uint64_t& next_id) : next_id_(next_id) {}
  ~Slab() {
    MILLRACE_DCHECK(live_ == 0, "objects outlived their loop");
    for (auto& chunk : chunks_) set_poison(chunk.get(), sizeof(Cell) * kCells, false);
  }
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  // May throw std::bad_alloc or what the constructor throws.
  template <class... Args>
  T* make(Args&&... args) {
    if (!free_) add_chunk();
    Cell* cell = free_;
    free_ = cell->next_free;
    set_poison(cell, sizeof(Cell), false);
    cell->slot.id = next_id_++;  // first: the constructor may already want to be referred to
    try {
      T* made = ::new (cell->slot.object()) T(std::forward<Args>(args)...);
      ++live_;
      return made;
    } catch (...) {
      put_back(cell);
      throw;
    }
  }

  void destroy(T* object) noexcept {
    Slot& slot = Slot::of(object);
    object->~T();
    put_back(reinterpret_cast<Cell*>(&slot));
    --live_;
  }

  std::size_t live() const noexcept { return live_; }
  // Visits every living object; the visitor must not make or destroy any.
  template <class Visit>
  void for_each(Visit&& visit) {
    for (auto& chunk : chunks_) {
      for (std::size_t i = 0; i < kCells; ++i) {
        Slot& slot = chunk.get()[i].slot;
        if (slot.id != 0) visit(*static_cast<T*>(slot.object()));
      }
    }
  }

 private:
  struct Cell {
    Slot slot;
    union {
      Cell* next_free;
      alignas(T) std::byte object[sizeof(T)];
    };
  };
  static_assert(alignof(T) <= alignof(Slot), "the slot must lie directly in front of the object");

  // Large enough to hide malloc's own bytes, small enough that a server with ten connections does
  // not pay for thousands.
  static constexpr std::size_t kChunkBytes = 16 * 1024;
  static constexpr std::size_t kCells = sizeof(Cell) < kChunkBytes ? kChunkBytes / sizeof(Cell) : 1;

  struct Free {
    void operator()(Cell* cells) const noexcept { ::operator delete(cells); }
  };

  void add_chunk() {
    std::unique_ptr<Cell, Free> chunk(static_cast<Cell*>(::operator new(sizeof(Cell) * kCells)));
    Cell* cells = chunk.get();
    chunks_.push_back(std::move(chunk));
    for (std::size_t i = kCells; i-- > 0;) put_back(&cells[i]);
  }

  void put_back(Cell* cell) noexcept {
    cell->slot.id = 0;
    cell->next_free = std::exchange(free_, cell);
    // The slot and the free link stay readable; the rest is dead to everybody.
    set_poison(&cell->next_free + 1, sizeof(Cell) - sizeof(Slot) - sizeof(Cell*), true);
  }

  static void set_poison([[maybe_unused]] void* at, [[maybe_unused]] std::size_t bytes,
                         [[maybe_unused]] bool poisoned) noexcept {
#ifdef MILLRACE_HAS_ASAN
    if (poisoned) {
      __asan_poison_memory_region(at, bytes);
    } else {
      __asan_unpoison_memory_region(at, bytes);
    }
#endif
  }

  std::vector<std::unique_ptr<Cell, Free>> chunks_;
  Cell* free_ = nullptr;
  std::size_t live_ = 0;
  std::uint64_t& next_id_;
};

}  // namespace millrace
