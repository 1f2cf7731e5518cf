#include <millrace/bytes.h>

#include <array>
#include <atomic>
#include <deque>
#include <list>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

std::size_t size_of(ByteView view) {
  return view.size();
}

TEST(ByteView, IsEmptyByDefault) {
  const ByteView none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.size(), 0u);
  EXPECT_EQ(none.begin(), none.end());
  EXPECT_EQ(none.text(), "");
}

TEST(ByteView, OfALiteralHasNoTerminatingNul) {
  EXPECT_EQ(size_of("hello\n"), 6u);
  EXPECT_EQ(size_of(""), 0u);
  EXPECT_EQ(ByteView("hello").text(), "hello");
}

TEST(ByteView, OfACharArrayEndsAtItsFirstNul) {
  const char buffer[8] = "ab";
  EXPECT_EQ(size_of(buffer), 2u);
  char changeable[4] = {'x', '\0', 'y', '\0'};
  EXPECT_EQ(size_of(changeable), 1u);
}

TEST(ByteView, OfANullTextIsEmpty) {
  const char* none = nullptr;
  EXPECT_TRUE(ByteView(none).empty());
}

TEST(ByteView, OfAStringKeepsItsNulBytes) {
  const std::string text("a\0b\0", 4);
  EXPECT_EQ(size_of(text), 4u);
  EXPECT_EQ(size_of(std::string_view(text)), 4u);
  EXPECT_EQ(ByteView(text).text(), text);
}

TEST(ByteView, LooksAtAnyContiguousRangeOfOneByteElements) {
  const std::vector<std::byte> bytes{std::byte{1}, std::byte{2}};
  const std::vector<unsigned char> unsigned_chars{3, 4, 5};
  const std::array<char, 3> chars{'a', '\0', 'b'};
  const std::span<const unsigned char> span(unsigned_chars);
  const std::span<const std::byte, 2> fixed(bytes.data(), 2);
  EXPECT_EQ(ByteView(bytes).data(), bytes.data());
  EXPECT_EQ(size_of(bytes), 2u);
  EXPECT_EQ(size_of(unsigned_chars), 3u);
  EXPECT_EQ(size_of(chars), 3u);
  EXPECT_EQ(size_of(span), 3u);
  EXPECT_EQ(size_of(fixed), 2u);
  EXPECT_EQ(static_cast<const void*>(ByteView(span).data()), unsigned_chars.data());
}

TEST(ByteView, LooksAtEmptyRanges) {
  EXPECT_TRUE(ByteView(std::string()).empty());
  EXPECT_TRUE(ByteView(std::vector<std::byte>()).empty());
  EXPECT_TRUE(ByteView(std::span<const char>()).empty());
  EXPECT_TRUE(ByteView(std::vector<char>()) == ByteView());
}

TEST(ByteView, IsNotMadeOfWhatIsNotBytes) {
  EXPECT_FALSE((std::is_constructible_v<ByteView, std::nullptr_t>));
  EXPECT_FALSE((std::is_convertible_v<int, ByteView>));
  EXPECT_FALSE((std::is_convertible_v<std::vector<int>, ByteView>));
  EXPECT_FALSE((std::is_convertible_v<std::array<short, 2>, ByteView>));
  EXPECT_FALSE((std::is_convertible_v<std::list<char>, ByteView>));
  EXPECT_FALSE((std::is_convertible_v<std::deque<char>, ByteView>));
  EXPECT_FALSE((std::is_convertible_v<std::vector<std::string>, ByteView>));
}

TEST(ByteView, IsCutWithoutCopying) {
  const std::string text = "headbody";
  const ByteView view = text;
  EXPECT_EQ(view.first(4).text(), "head");
  EXPECT_EQ(view.from(4).text(), "body");
  EXPECT_EQ(static_cast<const void*>(view.from(4).data()), text.data() + 4);
  EXPECT_TRUE(view.first(0).empty());
  EXPECT_TRUE(view.from(8).empty());
  EXPECT_EQ(view.first(8), view);
}

TEST(ByteView, GivesItsBytesByIndexAndInALoop) {
  const ByteView view = "abc";
  EXPECT_EQ(view[1], std::byte{'b'});
  std::string all;
  for (const std::byte b : view) all += static_cast<char>(b);
  EXPECT_EQ(all, "abc");
}

TEST(ByteView, ComparesWhatItLooksAt) {
  const std::string one = "same";
  const std::string other = "same";
  EXPECT_TRUE(ByteView(one) == ByteView(other));
  EXPECT_FALSE(ByteView("same") == ByteView("sam"));
  EXPECT_FALSE(ByteView("same") == ByteView("some"));
  EXPECT_TRUE(ByteView() == ByteView(""));
}

// A byte string that counts how many of it own their bytes.
struct Tracked {
  static inline std::atomic<int> alive{0};

  explicit Tracked(std::string_view text) : bytes(text) { ++alive; }
  Tracked(Tracked&& other) noexcept : bytes(std::move(other.bytes)) { ++alive; }
  ~Tracked() { --alive; }
  const char* data() const { return bytes.data(); }
  std::size_t size() const { return bytes.size(); }
  const char* begin() const { return bytes.data(); }
  const char* end() const { return bytes.data() + bytes.size(); }
  std::size_t capacity() const { return bytes.capacity(); }

  std::string bytes;
};
static_assert(OwnedBytes<Tracked>);

TEST(SharedBytes, OwnsNothingByDefault) {
  const SharedBytes none;
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.size(), 0u);
  EXPECT_EQ(none.owners(), 0u);
  EXPECT_TRUE(none.view().empty());
}

TEST(SharedBytes, CopiesWhatAViewLooksAt) {
  std::string text = "payload";
  const SharedBytes shared{ByteView(text)};
  text.assign(7, '?');
  EXPECT_EQ(shared.view().text(), "payload");
  EXPECT_EQ(shared.owners(), 1u);
}

TEST(SharedBytes, MayHoldNoBytesAtAll) {
  const SharedBytes shared{ByteView()};
  EXPECT_TRUE(shared.empty());
  EXPECT_TRUE(shared.view().empty());
  EXPECT_TRUE(SharedBytes(std::string()).empty());
}

TEST(SharedBytes, TakesAStringOverWithoutCopyingIt) {
  std::string text(1000, 'x');
  const void* bytes = text.data();
  const SharedBytes shared(std::move(text));
  EXPECT_EQ(shared.view().data(), bytes);
  EXPECT_EQ(shared.size(), 1000u);
}

TEST(SharedBytes, TakesAVectorOverWithoutCopyingIt) {
  std::vector<std::byte> bytes(1000, std::byte{7});
  const void* before = bytes.data();
  const SharedBytes shared(std::move(bytes));
  EXPECT_EQ(shared.view().data(), before);
  EXPECT_EQ(shared.size(), 1000u);
}

TEST(SharedBytes, KeepsAStringThatHoldsItsBytesInsideItself) {
  SharedBytes first(std::string("short"));
  const SharedBytes second = std::move(first);
  EXPECT_EQ(second.view().text(), "short");
}

TEST(SharedBytes, LeavesAStringThatIsNotGivenAwayAlone) {
  std::string text(100, 'x');
  const std::string constant(100, 'y');
  const SharedBytes from_text(text);
  const SharedBytes from_constant(constant);
  const SharedBytes from_literal("literal");
  EXPECT_NE(static_cast<const void*>(from_text.view().data()), text.data());
  EXPECT_EQ(text, std::string(100, 'x'));
  EXPECT_EQ(from_text.view(), ByteView(text));
  EXPECT_EQ(from_constant.view(), ByteView(constant));
  EXPECT_EQ(from_literal.view().text(), "literal");
}

TEST(SharedBytes, IsNotMadeUnasked) {
  EXPECT_FALSE((std::is_convertible_v<std::string, SharedBytes>));
  EXPECT_FALSE((std::is_convertible_v<ByteView, SharedBytes>));
}

TEST(SharedBytes, CopiesShareOnePayload) {
  const SharedBytes first(std::string(100, 'x'));
  const SharedBytes second = first;
  SharedBytes third;
  third = second;
  EXPECT_EQ(first.view().data(), third.view().data());
  EXPECT_EQ(first.owners(), 3u);
}

TEST(SharedBytes, GivesItsShareAwayWhenMoved) {
  SharedBytes first(std::string(100, 'x'));
  const SharedBytes second = std::move(first);
  EXPECT_TRUE(first.empty());
  EXPECT_EQ(first.owners(), 0u);
  EXPECT_EQ(second.owners(), 1u);
  EXPECT_EQ(second.size(), 100u);
}

TEST(SharedBytes, SurvivesAssignmentToItself) {
  SharedBytes shared(std::string("self"));
  SharedBytes& same = shared;
  shared = same;
  EXPECT_EQ(shared.view().text(), "self");
  EXPECT_EQ(shared.owners(), 1u);
  shared = std::move(same);
  EXPECT_EQ(shared.view().text(), "self");
  EXPECT_EQ(shared.owners(), 1u);
}

TEST(SharedBytes, DropsThePayloadWithItsLastOwner) {
  {
    SharedBytes first(Tracked("tracked"));
    SharedBytes second = first;
    EXPECT_EQ(Tracked::alive, 1);
    first = SharedBytes();
    EXPECT_EQ(Tracked::alive, 1);
    EXPECT_EQ(second.view().text(), "tracked");
    second = SharedBytes(ByteView("another"));
    EXPECT_EQ(Tracked::alive, 0);
  }
  EXPECT_EQ(Tracked::alive, 0);
}

TEST(SharedBytes, IsCopiedAndDroppedInManyThreadsAtOnce) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 2000;
  for (int run = 0; run < 5; ++run) {
    SharedBytes shared(Tracked("the same for all"));
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([mine = shared, &wrong]() mutable {
        for (int round = 0; round < kRounds; ++round) {
          const SharedBytes copy = mine;
          if (copy.view().text() != "the same for all") ++wrong;
        }
        mine = SharedBytes();
      });
    }
    // The last to drop it may be any of the threads.
    shared = SharedBytes();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(Tracked::alive, 0);
  }
}

}  // namespace
}  // namespace millrace::test
