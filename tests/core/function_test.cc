#include <millrace/function.h>

#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

int twice(int n) {
  return 2 * n;
}

TEST(Function, IsEmptyByDefaultAndWhenMadeOfNull) {
  Function<void()> none;
  const Function<void()> null(nullptr);
  int (*no_function)(int) = nullptr;
  const Function<int(int)> null_pointer(no_function);
  EXPECT_FALSE(none);
  EXPECT_FALSE(null);
  EXPECT_FALSE(null_pointer);
}

TEST(Function, CallsFunctionPointersLambdasAndMembers) {
  Function<int(int)> function(twice);
  EXPECT_EQ(function(4), 8);
  struct Thing {
    int value = 7;
    int plus(int n) const { return value + n; }
  };
  Function<int(int)> pointer = &twice;
  Function<int(int)> lambda = [](int n) { return n + 1; };
  Function<int(const Thing&, int)> member = &Thing::plus;
  Function<int(const Thing&)> data = &Thing::value;
  EXPECT_EQ(pointer(4), 8);
  EXPECT_EQ(lambda(5), 6);
  EXPECT_EQ(member(Thing(), 3), 10);
  EXPECT_EQ(data(Thing()), 7);
}

TEST(Function, PassesArgumentsOnAsTheyCome) {
  Function<void(int&)> changes = [](int& n) { n = 5; };
  int n = 0;
  changes(n);
  EXPECT_EQ(n, 5);

  Function<std::unique_ptr<int>(std::unique_ptr<int>)> passes = [](std::unique_ptr<int> p) {
    ++*p;
    return p;
  };
  EXPECT_EQ(*passes(std::make_unique<int>(1)), 2);

  Function<const std::string&(const std::string&)> same =
      [](const std::string& s) -> const std::string& { return s; };
  const std::string text = "text";
  EXPECT_EQ(&same(text), &text);
}

TEST(Function, KeepsWhatItsCallableRemembers) {
  Function<int()> counter = [n = 0]() mutable { return ++n; };
  counter();
  Function<int()> moved = std::move(counter);
  EXPECT_EQ(moved(), 2);
}

TEST(Function, LetsExceptionsThroughAndCanBeCalledAgain) {
  Function<int(bool)> f = [](bool fail) {
    if (fail) throw std::runtime_error("asked for");
    return 1;
  };
  EXPECT_THROW(f(true), std::runtime_error);
  EXPECT_EQ(f(false), 1);
}

TEST(Function, IsMovedAndNeverCopied) {
  using F = Function<void()>;
  EXPECT_FALSE(std::is_copy_constructible_v<F>);
  EXPECT_FALSE(std::is_copy_assignable_v<F>);
  EXPECT_TRUE(std::is_nothrow_move_constructible_v<F>);
  EXPECT_TRUE(std::is_nothrow_move_assignable_v<F>);
}

// A callable of kBytes that counts itself, and its allocations: a Function that puts it on the heap
// uses its operator new, one that keeps it inside does not.
struct Counts {
  int alive = 0;
  int allocated = 0;
  int calls = 0;
};

template <std::size_t kBytes, bool kNothrowMove = true>
struct Counted {
  explicit Counted(Counts& c) : counts(&c) { ++counts->alive; }
  Counted(Counted&& other) noexcept(kNothrowMove) : counts(other.counts) { ++counts->alive; }
  ~Counted() { --counts->alive; }
  int operator()() const { return ++counts->calls; }

  static void* operator new(std::size_t size) {
    ++allocated_of_this_type;
    return ::operator new(size);
  }
  static void operator delete(void* at) {
    --allocated_of_this_type;
    ::operator delete(at);
  }
  static inline int allocated_of_this_type = 0;

  Counts* counts;
  std::array<char, kBytes - sizeof(Counts*)> rest{};
};

template <class F, class Callable>
void keeps_and_destroys(int allocations) {
  ASSERT_EQ(Callable::allocated_of_this_type, 0);
  Counts counts;
  {
    F first = Callable(counts);
    EXPECT_EQ(Callable::allocated_of_this_type, allocations);
    EXPECT_EQ(counts.alive, 1);
    F second = std::move(first);
    EXPECT_FALSE(first);
    EXPECT_TRUE(second);
    EXPECT_EQ(counts.alive, 1);
    EXPECT_EQ(second(), 1);
    F third;
    third = std::move(second);
    EXPECT_FALSE(second);
    EXPECT_EQ(third(), 2);
    EXPECT_EQ(counts.alive, 1);
    F& same = third;
    third = std::move(same);
    EXPECT_EQ(third(), 3);
    EXPECT_EQ(counts.alive, 1);

    Counts replaced;
    F fourth = Callable(replaced);
    fourth = std::move(third);
    EXPECT_EQ(replaced.alive, 0);
    EXPECT_EQ(fourth(), 4);
    EXPECT_EQ(Callable::allocated_of_this_type, allocations);
    fourth = nullptr;
    EXPECT_FALSE(fourth);
    EXPECT_EQ(counts.alive, 0);
    fourth = Callable(counts);
    EXPECT_EQ(counts.alive, 1);
  }
  EXPECT_EQ(counts.alive, 0);
  EXPECT_EQ(Callable::allocated_of_this_type, 0);
}

TEST(Function, KeepsCallablesOfUpToItsInlineBytesInside) {
  keeps_and_destroys<Function<int()>, Counted<16>>(0);
  keeps_and_destroys<Function<int()>, Counted<24>>(0);
  keeps_and_destroys<Function<int(), 48>, Counted<48>>(0);
  keeps_and_destroys<Function<int(), 16>, Counted<16>>(0);
}

TEST(Function, PutsLargerCallablesOnTheHeapOnce) {
  keeps_and_destroys<Function<int()>, Counted<32>>(1);
  keeps_and_destroys<Function<int(), 48>, Counted<56>>(1);
  keeps_and_destroys<Function<int(), 16>, Counted<24>>(1);
}

// So that moving a Function never throws.
TEST(Function, PutsCallablesWhoseMoveMayThrowOnTheHeap) {
  keeps_and_destroys<Function<int()>, Counted<16, false>>(1);
}

TEST(Function, ATaskHasRoomForSixPointers) {
  struct SixPointers {
    void* pointers[6];
    void operator()() const {}
    static void* operator new(std::size_t) { throw std::bad_alloc(); }
  };
  static_assert(sizeof(SixPointers) == 48);
  Task task = SixPointers{};
  EXPECT_TRUE(task);
}

TEST(Function, KeepsTheAlignmentThatACallableAsksFor) {
  struct alignas(64) Aligned {
    std::uintptr_t operator()() const { return reinterpret_cast<std::uintptr_t>(this); }
  };
  Function<std::uintptr_t()> f = Aligned();
  EXPECT_EQ(f() % 64, 0u);
  Function<std::uintptr_t()> moved = std::move(f);
  EXPECT_EQ(moved() % 64, 0u);
}

TEST(Function, OwnsMoveOnlyCapturesWhereverTheyLie) {
  const auto held = std::make_shared<int>(1);
  Function<int()> small = [p = std::make_unique<std::shared_ptr<int>>(held)] { return **p; };
  Function<int()> large = [p = std::make_unique<std::shared_ptr<int>>(held),
                           room = std::array<char, 100>()] { return **p + room[0]; };
  EXPECT_EQ(held.use_count(), 3);
  EXPECT_EQ(small() + large(), 2);
  Function<int()> moved = std::move(large);
  EXPECT_EQ(moved(), 1);
  small = nullptr;
  moved = nullptr;
  EXPECT_EQ(held.use_count(), 1);
}

TEST(Function, MovesPlainCapturesWithTheirValues) {
  const int a = 1, b = 2, c = 3;
  Function<int()> f = [a, b, c] { return 100 * a + 10 * b + c; };
  Function<int()> moved = std::move(f);
  Function<int()> again;
  again = std::move(moved);
  EXPECT_EQ(again(), 123);
}

template <std::size_t kBytes>
struct ThrowsWhenCopied {
  explicit ThrowsWhenCopied(int& n) : alive(n) { ++alive; }
  ThrowsWhenCopied(const ThrowsWhenCopied& other) : alive(other.alive) {
    throw std::runtime_error("no copy");
  }
  ThrowsWhenCopied(ThrowsWhenCopied&& other) noexcept : alive(other.alive) { ++alive; }
  ~ThrowsWhenCopied() { --alive; }
  void operator()() const {}
  int& alive;
  std::array<char, kBytes> rest{};
};

TEST(Function, LeavesNothingBehindWhenItsCallableCannotBeMade) {
  int alive = 0;
  {
    const ThrowsWhenCopied<8> small(alive);
    const ThrowsWhenCopied<100> large(alive);
    EXPECT_THROW(Function<void()>{small}, std::runtime_error);
    EXPECT_THROW(Function<void()>{large}, std::runtime_error);
    EXPECT_EQ(alive, 2);
  }
  EXPECT_EQ(alive, 0);
}

TEST(Function, KeepsWhatItHasWhenTheReplacementCannotBeMade) {
  int alive = 0;
  const ThrowsWhenCopied<8> bad(alive);
  Function<void()> f = [] {};
  EXPECT_THROW(f = bad, std::runtime_error);
  EXPECT_TRUE(f);
}

TEST(Function, MovesOutOfAnEmptyOne) {
  Function<void()> none;
  Function<void()> f = [] {};
  f = std::move(none);
  EXPECT_FALSE(f);
  const Function<void()> also_none = std::move(f);
  EXPECT_FALSE(also_none);
}

TEST(FunctionDeathTest, CallingAnEmptyOneAborts) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  Function<void()> none;
  EXPECT_DEATH(none(), "check failed: invoke_ != nullptr");
}

}  // namespace
}  // namespace millrace::test
