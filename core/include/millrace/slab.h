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
#include <millrace/slab_memory.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

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
    for (SlabChunk* chunk : memory_.chunks())
      poison_memory(cells_of(*chunk), sizeof(Cell) * kCells, false);
  }
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  // May throw std::bad_alloc or what the constructor throws.
  template <class... Args>
  T* make(Args&&... args) {
    Cell* cell = take_cell();
    poison_memory(cell, sizeof(Cell), false);
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

  // Objects have numbers from 0 on, which take half of what a pointer does; the number of a dead
  // one is given to another.
  static std::uint32_t number_of(const T& object) noexcept {
    SlabChunk& chunk = SlabChunk::of(&object);
    const auto cell = reinterpret_cast<const std::byte*>(&object) -
                      reinterpret_cast<const std::byte*>(cells_of(chunk));
    return chunk.first + static_cast<std::uint32_t>(static_cast<std::size_t>(cell) / sizeof(Cell));
  }
  T& at(std::uint32_t number) const noexcept {
    return *static_cast<T*>(
        cells_of(*memory_.chunks()[number / kCells])[number % kCells].slot.object());
  }
  static Slab& of(const T& object) noexcept {
    return *static_cast<Slab*>(SlabChunk::of(&object).slab);
  }

  std::size_t live() const noexcept { return live_; }
  // Visits every living object; the visitor must not make or destroy any.
  template <class Visit>
  void for_each(Visit&& visit) {
    for (std::size_t chunk = 0; chunk < memory_.chunks().size(); ++chunk) {
      for (std::size_t i = 0; i < carved(chunk); ++i) {
        Slot& slot = cells_of(*memory_.chunks()[chunk])[i].slot;
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

  static constexpr std::size_t kCellBytes = SlabChunk::kBytes - sizeof(SlabChunk);
  static constexpr std::size_t kCells = sizeof(Cell) < kCellBytes ? kCellBytes / sizeof(Cell) : 1;
  static constexpr std::size_t kChunkBytes =
      (sizeof(SlabChunk) + sizeof(Cell) * kCells + SlabChunk::kBytes - 1) / SlabChunk::kBytes *
      SlabChunk::kBytes;
  static_assert(alignof(Cell) <= alignof(SlabChunk), "the cells must lie directly behind");

  static Cell* cells_of(SlabChunk& chunk) noexcept { return reinterpret_cast<Cell*>(&chunk + 1); }
  // Of the chunk with this number; those behind have never been touched, and cost no memory yet.
  std::size_t carved(std::size_t chunk) const noexcept {
    return chunk + 1 < memory_.chunks().size() ? kCells : carved_;
  }

  Cell* take_cell() {
    if (free_) return std::exchange(free_, free_->next_free);
    if (memory_.chunks().empty() || carved_ == kCells) add_chunk();
    return &cells_of(*memory_.chunks().back())[carved_++];
  }

  void add_chunk() {
    SlabChunk& chunk = memory_.add_chunk();
    chunk.slab = this;
    chunk.first = static_cast<std::uint32_t>((memory_.chunks().size() - 1) * kCells);
    carved_ = 0;
    poison_memory(cells_of(chunk), sizeof(Cell) * kCells, true);
  }

  void put_back(Cell* cell) noexcept {
    cell->slot.id = 0;
    cell->next_free = std::exchange(free_, cell);
    // The slot and the free link stay readable; the rest is dead to everybody.
    poison_memory(&cell->next_free + 1, sizeof(Cell) - sizeof(Slot) - sizeof(Cell*), true);
  }

  SlabMemory memory_{kChunkBytes};
  std::size_t carved_ = 0;  // cells of the last chunk
  Cell* free_ = nullptr;
  std::size_t live_ = 0;
  std::uint64_t& next_id_;
};

}  // namespace millrace
