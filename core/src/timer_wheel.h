// TimerWheel files deadlines so that starting, cancelling and moving one costs the same whether ten
// or ten million wait. It is told the time in ticks and owns no clock; it lives inside a loop, but
// tests drive it by hand. One thread.
//
//   wheel.start(node, 500);                             // or moves it
//   wheel.advance(now);                                 // what is due by `now` becomes ready
//   while (TimerNode* node = wheel.pop_due()) ...       // in the order of deadlines
//
// Six levels of 256 slots: a slot of level L spans 256^L ticks. A deadline lies at the level of the
// highest byte in which it differs from the current tick, in the slot named by that byte; when time
// reaches a slot of a higher level, its timers are filed anew, one level down or more.
//
// Invariants:
// 1. A filed timer's slot index is greater than the current tick's byte of that level: nothing ever
//    wraps, and the lowest level that is not empty holds the next deadline.
// 2. A timer may be filed earlier than its deadline (it was moved later by one store) and is filed
//    anew when its slot comes up; never later.
// 3. An empty slot may have its bit set (cancelling does not clear it) until the next search finds
//    it; a slot that is not empty always has its bit set.
// 4. Timers of the same tick are ready in the order in which they were filed.
// 5. No slot whose bit is set begins before next_, or lies behind the clock; unless something was
//    cancelled or moved since next_ was found, a slot that is not empty begins right there.
#pragma once

#include <millrace/timer.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace millrace {

class TimerWheel {
 public:
  using Tick = std::uint64_t;
  static constexpr int kLevelBits = 8;
  static constexpr int kLevels = 6;
  static constexpr std::size_t kSlots = std::size_t{1} << kLevelBits;
  // 8,900 years of milliseconds: whatever is later is this.
  static constexpr Tick kMaxTick = (Tick{1} << (kLevelBits * kLevels)) - 1;
  static constexpr Tick kNever = ~Tick{0};

  explicit TimerWheel(Tick now = 0) noexcept;
  ~TimerWheel();  // cancels what is left
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  // A deadline that is not later than the current tick is due at the next advance().
  void start(TimerNode& node, Tick deadline) noexcept {
    deadline = std::min(deadline, kMaxTick);
    if (node.active()) {
      // Later, as an idle timeout always is: one store. Its slot comes up first and files it anew.
      if (deadline >= node.tick_) {
        node.tick_ = deadline;
        return;
      }
      unlink(node);
      next_is_old_ = true;
    } else {
      ++size_;
    }
    node.tick_ = deadline;
    file(node);
  }
  void cancel(TimerNode& node) noexcept {
    if (!node.active()) return;
    unlink(node);
    next_is_old_ = true;
    --size_;
  }

  // Moves the clock; never backwards (an earlier `now` counts as the current tick).
  void advance(Tick now) noexcept {
    if (now < next_ && next_turn_.empty() && now <= kMaxTick) {
      now_ = std::max(now_, now);  // nearly always: nothing begins in between
    } else {
      turn_to(now);
    }
  }
  // The next timer that is due, no longer active; null when this turn's are all taken. A timer
  // started in between for an already reached tick waits for the next advance().
  TimerNode* pop_due() noexcept { return due_.empty() ? nullptr : pop(); }

  // The earliest tick at which advance() has something to do, kNever when nothing is active. It may
  // be earlier than the first deadline (a slot comes up that has to be filed anew), never later.
  Tick next_tick() noexcept;
  Tick now() const noexcept { return now_; }
  std::size_t size() const noexcept { return size_; }

  // Aborts if an invariant is broken: for tests.
  void check_invariants() const;

 private:
  // A circular list; a head that points to itself is empty.
  struct List : TimerLink {
    List() noexcept { next = prev = this; }
    List(const List&) = delete;
    List& operator=(const List&) = delete;
    bool empty() const noexcept { return next == this; }
    TimerNode& front() noexcept { return *static_cast<TimerNode*>(next); }
    void append(TimerLink& link) noexcept {
      link.next = this;
      link.prev = prev;
      prev->next = &link;
      prev = &link;
    }
    void append_all(List& other) noexcept;  // leaves `other` empty
  };

  struct Level {
    std::array<std::uint64_t, kSlots / 64> occupied{};
    std::array<List, kSlots> slots;
  };

  static void unlink(TimerNode& node) noexcept {
    node.prev->next = node.next;
    node.next->prev = node.prev;
    node.next = nullptr;
  }
  void file(TimerNode& node) noexcept;
  void turn_to(Tick now) noexcept;
  TimerNode* pop() noexcept;
  void reach(Tick tick) noexcept;
  void empty_slot(int level, List& into) noexcept;
  void find_next() noexcept;
  static Tick first_tick_of(std::size_t slot, int level, Tick now) noexcept {
    const int shift = level * kLevelBits;
    return (((now >> shift >> kLevelBits) << kLevelBits) + slot) << shift;
  }
  // The first slot behind `after` that is not empty, kSlots if there is none.
  static std::size_t next_slot(Level& level, std::size_t after) noexcept;
  static std::size_t slot_of(Tick tick, int level) noexcept {
    return (tick >> (level * kLevelBits)) & (kSlots - 1);
  }

  Tick now_;
  Tick next_ = kNever;
  bool next_is_old_ = false;
  std::size_t size_ = 0;
  List next_turn_;  // already due when started
  List due_;
  std::array<Level, kLevels> levels_;
};

inline void TimerWheel::file(TimerNode& node) noexcept {
  if (node.tick_ <= now_) {
    next_turn_.append(node);
    return;
  }
  const int level = (static_cast<int>(std::bit_width(node.tick_ ^ now_)) - 1) / kLevelBits;
  const std::size_t slot = slot_of(node.tick_, level);
  Level& at = levels_[static_cast<std::size_t>(level)];
  at.slots[slot].append(node);
  std::uint64_t& word = at.occupied[slot / 64];
  const std::uint64_t bit = std::uint64_t{1} << (slot % 64);
  if (word & bit) return;  // as nearly always among many; next_ knows of it
  word |= bit;
  next_ = std::min(next_, first_tick_of(slot, level, now_));
}

}  // namespace millrace
