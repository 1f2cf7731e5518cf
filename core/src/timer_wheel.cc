#include "timer_wheel.h"

#include <millrace/check.h>

#include <algorithm>
#include <bit>

namespace millrace {

void TimerWheel::List::append_all(List& other) noexcept {
  if (other.empty()) return;
  other.next->prev = prev;
  prev->next = other.next;
  other.prev->next = this;
  prev = other.prev;
  other.next = other.prev = &other;
}

TimerWheel::TimerWheel(Tick now) noexcept : now_(std::min(now, kMaxTick)) {}

TimerWheel::~TimerWheel() {
  const auto cancel_all = [this](List& list) {
    while (!list.empty()) cancel(list.front());
  };
  cancel_all(next_turn_);
  cancel_all(due_);
  for (Level& level : levels_) {
    for (List& slot : level.slots) cancel_all(slot);
  }
}

void TimerWheel::turn_to(Tick now) noexcept {
  now = std::min(now, kMaxTick);
  due_.append_all(next_turn_);
  while (next_ <= now) {
    if (next_is_old_) {
      find_next();
    } else {
      reach(next_);
      find_next();
    }
  }
  now_ = std::max(now_, now);
}

// Sets the clock to `tick`, at which a slot begins: higher levels first, because what they hold may
// belong into the lower slots of this very tick.
void TimerWheel::reach(Tick tick) noexcept {
  now_ = tick;
  for (int level = kLevels - 1; level > 0; --level) {
    const Tick below = (Tick{1} << (level * kLevelBits)) - 1;
    if ((tick & below) != 0) continue;
    List passed;
    empty_slot(level, passed);
    while (!passed.empty()) {
      TimerNode& node = passed.front();
      unlink(node);
      if (node.tick_ <= now_) {
        due_.append(node);
      } else {
        file(node);
      }
    }
  }
  empty_slot(0, due_);
}

// Takes all out of the slot that the clock has reached; what is filed there next is of the next
// round.
void TimerWheel::empty_slot(int level, List& into) noexcept {
  Level& at = levels_[static_cast<std::size_t>(level)];
  const std::size_t slot = slot_of(now_, level);
  at.occupied[slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
  into.append_all(at.slots[slot]);
}

TimerNode* TimerWheel::pop() noexcept {
  while (!due_.empty()) {
    TimerNode& node = due_.front();
    unlink(node);
    if (node.tick_ > now_) {
      file(node);  // it was moved later in the meantime
      continue;
    }
    --size_;
    // The next one is needed when the callback of this one has returned. Its first cache line is on
    // its way, because unlink() writes to it; ask for the rest as well. Of the last one that is the
    // list itself, which is no node.
    const auto* next = reinterpret_cast<const char*>(due_.next);
    __builtin_prefetch(next + 64);
    __builtin_prefetch(next + 128);
    return &node;
  }
  return nullptr;
}

std::size_t TimerWheel::next_slot(Level& level, std::size_t after) noexcept {
  std::size_t slot = after + 1;
  while (slot < kSlots) {
    std::uint64_t& word = level.occupied[slot / 64];
    const std::uint64_t ahead = word >> (slot % 64);
    if (ahead == 0) {
      slot = (slot / 64 + 1) * 64;
      continue;
    }
    slot += static_cast<std::size_t>(std::countr_zero(ahead));
    if (!level.slots[slot].empty()) return slot;
    word &= ~(std::uint64_t{1} << (slot % 64));  // all cancelled
    ++slot;
  }
  return kSlots;
}

void TimerWheel::find_next() noexcept {
  next_is_old_ = false;
  next_ = kNever;
  for (int level = 0; level < kLevels; ++level) {
    const std::size_t slot =
        next_slot(levels_[static_cast<std::size_t>(level)], slot_of(now_, level));
    if (slot == kSlots) continue;
    next_ = first_tick_of(slot, level, now_);
    return;  // invariant 1: higher levels are later
  }
}

TimerWheel::Tick TimerWheel::next_tick() noexcept {
  if (!due_.empty() || !next_turn_.empty()) return now_;
  if (next_is_old_) find_next();
  return next_;
}

void TimerWheel::check_invariants() const {
  std::size_t found = 0;
  const auto count = [&found](const List& list, auto&& check) {
    for (const TimerLink* link = list.next; link != &list; link = link->next) {
      MILLRACE_CHECK(link->next->prev == link && link->prev->next == link, "broken list");
      check(*static_cast<const TimerNode*>(link));
      ++found;
    }
  };
  count(next_turn_, [](const TimerNode&) {});
  count(due_, [](const TimerNode&) {});
  for (int level = 0; level < kLevels; ++level) {
    const Level& at = levels_[static_cast<std::size_t>(level)];
    for (std::size_t slot = 0; slot < kSlots; ++slot) {
      const List& list = at.slots[slot];
      const bool marked = ((at.occupied[slot / 64] >> (slot % 64)) & 1) != 0;
      if (!marked) MILLRACE_CHECK(list.empty(), "invariant 3: bit not set");
      if (!marked) continue;
      MILLRACE_CHECK_LT(slot_of(now_, level), slot, "invariant 1: slot behind the clock");
      const Tick begin = first_tick_of(slot, level, now_);
      MILLRACE_CHECK_LE(next_, begin, "invariant 5: a slot begins before next_");
      count(list, [&](const TimerNode& node) {
        MILLRACE_CHECK_LE(begin, node.tick_, "invariant 2: filed later than its deadline");
      });
    }
  }
  MILLRACE_CHECK_EQ(found, size_, "timers filed and timers counted");
}

}  // namespace millrace
