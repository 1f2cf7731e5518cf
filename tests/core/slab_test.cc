#include <millrace/slab.h>

#include "support/random.h"

#include <cstdint>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

struct Thing {
  static inline int alive = 0;

  explicit Thing(int n = 0) : value(n), id_while_made(Slot::of(this).id) {
    if (n < 0) throw std::invalid_argument("negative");
    ++alive;
  }
  ~Thing() { --alive; }

  void* first_word = nullptr;  // the slab's own while the object is dead
  int value;
  std::uint64_t id_while_made;
};

struct SlabTest : ::testing::Test {
  SlabTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }

  std::uint64_t next_id = 1;
  Slab<Thing> slab{next_id};
};

TEST_F(SlabTest, MakesObjectsWithTheArgumentsGiven) {
  Thing* thing = slab.make(7);
  EXPECT_EQ(thing->value, 7);
  EXPECT_EQ(slab.live(), 1u);
  EXPECT_EQ(Thing::alive, 1);
  slab.destroy(thing);
  EXPECT_EQ(slab.live(), 0u);
  EXPECT_EQ(Thing::alive, 0);
}

TEST_F(SlabTest, TheSlotOfAnObjectLeadsBackToIt) {
  Thing* thing = slab.make(1);
  EXPECT_EQ(Slot::of(thing).object(), thing);
  slab.destroy(thing);
}

TEST_F(SlabTest, NoTwoObjectsEverHaveTheSameId) {
  std::set<std::uint64_t> ids;
  for (int round = 0; round < 20; ++round) {
    std::vector<Thing*> things;
    for (int i = 0; i < 200; ++i) {
      things.push_back(slab.make(i));
      EXPECT_NE(Slot::of(things.back()).id, 0u);
      EXPECT_TRUE(ids.insert(Slot::of(things.back()).id).second);
    }
    for (Thing* thing : things) slab.destroy(thing);
  }
}

TEST_F(SlabTest, SlabsThatShareTheNextIdShareNoId) {
  struct Other {
    int value = 0;
  };
  Slab<Other> others(next_id);
  Thing* thing = slab.make(1);
  Other* other = others.make();
  Thing* last = slab.make(2);
  EXPECT_LT(Slot::of(thing).id, Slot::of(other).id);
  EXPECT_LT(Slot::of(other).id, Slot::of(last).id);
  slab.destroy(thing);
  slab.destroy(last);
  others.destroy(other);
}

TEST_F(SlabTest, AnObjectIsKnownByItsIdInItsConstructor) {
  Thing* thing = slab.make(1);
  EXPECT_EQ(thing->id_while_made, Slot::of(thing).id);
  slab.destroy(thing);
}

TEST_F(SlabTest, TheIdOfADeadObjectIsZeroAndStaysReadable) {
  Thing* thing = slab.make(1);
  const Slot& slot = Slot::of(thing);
  slab.destroy(thing);
  EXPECT_EQ(slot.id, 0u);
}

TEST_F(SlabTest, ReusesTheMemoryOfTheDeadUnderANewId) {
  Thing* first = slab.make(1);
  const std::uint64_t id = Slot::of(first).id;
  const Slot& slot = Slot::of(first);
  slab.destroy(first);
  Thing* second = slab.make(2);
  EXPECT_EQ(second, first);
  EXPECT_NE(slot.id, id) << "who kept {slot, id} must see that its object is gone";
  slab.destroy(second);
}

TEST_F(SlabTest, WhenTheConstructorThrowsNothingIsLeft) {
  Thing* before = slab.make(1);
  EXPECT_THROW(slab.make(-1), std::invalid_argument);
  EXPECT_EQ(slab.live(), 1u);
  int visited = 0;
  slab.for_each([&](Thing&) { ++visited; });
  EXPECT_EQ(visited, 1);
  Thing* after = slab.make(2);
  EXPECT_EQ(after->value, 2);
  slab.destroy(before);
  slab.destroy(after);
  EXPECT_EQ(Thing::alive, 0);
}

TEST_F(SlabTest, VisitsExactlyTheLiving) {
  Random random(1);
  std::map<Thing*, int> model;
  for (int step = 0; step < 5000; ++step) {
    if (model.empty() || random.below(100) < 55) {
      Thing* thing = slab.make(step);
      EXPECT_TRUE(model.emplace(thing, step).second);
    } else {
      auto victim = model.begin();
      std::advance(victim, static_cast<long>(random.below(model.size())));
      EXPECT_EQ(victim->first->value, victim->second);
      slab.destroy(victim->first);
      model.erase(victim);
    }
    if (step % 250 != 0) continue;
    std::map<Thing*, int> visited;
    slab.for_each([&](Thing& thing) { visited.emplace(&thing, thing.value); });
    EXPECT_EQ(visited, model);
    EXPECT_EQ(slab.live(), model.size());
  }
  for (const auto& [thing, value] : model) slab.destroy(thing);
  EXPECT_EQ(Thing::alive, 0);
}

TEST_F(SlabTest, AnObjectIsFoundByItsNumberAndFindsItsSlab) {
  std::map<std::uint32_t, Thing*> things;
  for (int i = 0; i < 3000; ++i) {
    Thing* thing = slab.make(i);
    const std::uint32_t number = Slab<Thing>::number_of(*thing);
    EXPECT_TRUE(things.emplace(number, thing).second) << "the number of another one";
    EXPECT_LT(number, 3000u + SlabChunk::kBytes / sizeof(Thing)) << "numbers without a gap";
    EXPECT_EQ(&Slab<Thing>::of(*thing), &slab);
  }
  for (const auto& [number, thing] : things) EXPECT_EQ(&slab.at(number), thing);
  for (const auto& [number, thing] : things) slab.destroy(thing);
}

TEST_F(SlabTest, NoObjectLiesAcrossTheBeginningOfAnotherChunk) {
  std::vector<Thing*> things;
  for (int i = 0; i < 3000; ++i) things.push_back(slab.make(i));
  for (Thing* thing : things) {
    EXPECT_EQ(&SlabChunk::of(thing), &SlabChunk::of(reinterpret_cast<char*>(thing + 1) - 1));
    slab.destroy(thing);
  }
}

TEST_F(SlabTest, HoldsObjectsLargerThanAChunk) {
  struct Huge {
    char bytes[40'000] = {};
  };
  Slab<Huge> huge(next_id);
  Huge* first = huge.make();
  Huge* second = huge.make();
  EXPECT_NE(first, second);
  first->bytes[39'999] = 1;
  second->bytes[0] = 2;
  int visited = 0;
  huge.for_each([&](Huge&) { ++visited; });
  EXPECT_EQ(visited, 2);
  huge.destroy(first);
  huge.destroy(second);
}

TEST_F(SlabTest, HoldsObjectsSmallerThanAPointer) {
  Slab<char> chars(next_id);
  std::vector<char*> made;
  for (int i = 0; i < 2000; ++i) made.push_back(chars.make(static_cast<char>(i % 100)));
  for (std::size_t i = 0; i < made.size(); ++i) {
    EXPECT_EQ(*made[i], static_cast<char>(i % 100));
    chars.destroy(made[i]);
  }
}

TEST_F(SlabTest, ObjectsThatOutliveItAbort) {
  EXPECT_DEATH(
      {
        std::uint64_t id = 1;
        Slab<Thing> short_lived(id);
        short_lived.make(1);
      },
      "objects outlived their loop");
}

#ifdef MILLRACE_HAS_ASAN
int value_of(const volatile Thing& thing) {
  return thing.value;
}

TEST_F(SlabTest, TouchingADeadObjectIsSeenByAddressSanitizer) {
  Thing* thing = slab.make(1);
  EXPECT_EQ(value_of(*thing), 1);
  slab.destroy(thing);
  EXPECT_DEATH(value_of(*thing), "use-after-poison");
}

TEST_F(SlabTest, AReusedObjectMayBeTouchedAgain) {
  slab.destroy(slab.make(1));
  Thing* thing = slab.make(5);
  EXPECT_EQ(value_of(*thing), 5);
  slab.destroy(thing);
}
#endif

}  // namespace
}  // namespace millrace::test
