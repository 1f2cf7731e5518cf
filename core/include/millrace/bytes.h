// ByteView: a look at bytes that somebody else owns; SharedBytes: immutable bytes with many owners.
// A ByteView is valid only as long as what it looks at; a SharedBytes keeps its payload alive until
// its last copy is gone. Both may be used in any thread; copies of one SharedBytes may be dropped
// in different threads.
//
//   void greet(Connection& c) { c.send("hello\n"); }         // literals and std::string convert
//   SharedBytes news(ByteView("1 KiB, sent to thousands"));  // one payload ...
//   for (Connection* c : all) c->send(news);                 // ... queued N times, never copied
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <ranges>
#include <string_view>
#include <type_traits>
#include <utility>

namespace millrace {

// Contiguous elements of one byte each: std::string, std::string_view, std::vector<std::byte>,
// std::span<const unsigned char>, std::array<char, N> ... Built-in char arrays are left out: they
// convert as C strings, so that a literal does not carry its terminating NUL.
template <class R>
concept ByteRange = std::ranges::contiguous_range<const R> && std::ranges::sized_range<const R> &&
                        sizeof(std::ranges::range_value_t<const R>) == 1 &&
                    std::is_trivially_copyable_v<std::ranges::range_value_t<const R>> &&
                    !std::is_array_v<R>;

class ByteView {
 public:
  constexpr ByteView() noexcept = default;
  ByteView(const void* data, std::size_t size) noexcept
      : data_(static_cast<const std::byte*>(data)), size_(size) {}
  constexpr ByteView(const std::byte* data, std::size_t size) noexcept : data_(data), size_(size) {}
  // The characters up to the first NUL, which is not part of the view.
  ByteView(const char* text) noexcept : ByteView(text, text ? std::strlen(text) : 0) {}
  ByteView(std::nullptr_t) = delete;
  template <ByteRange R>
  requires(!std::same_as<R, ByteView>) ByteView(const R& range)
  noexcept : ByteView(std::ranges::data(range), std::ranges::size(range)) {}

  constexpr const std::byte* data() const noexcept { return data_; }
  constexpr std::size_t size() const noexcept { return size_; }
  constexpr bool empty() const noexcept { return size_ == 0; }
  constexpr const std::byte* begin() const noexcept { return data_; }
  constexpr const std::byte* end() const noexcept { return data_ + size_; }
  constexpr std::byte operator[](std::size_t i) const noexcept { return data_[i]; }

  // The first `n` bytes, and what follows them. Precondition: n <= size().
  constexpr ByteView first(std::size_t n) const noexcept { return {data_, n}; }
  constexpr ByteView from(std::size_t n) const noexcept { return {data_ + n, size_ - n}; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), size_}; }

  friend bool operator==(ByteView a, ByteView b) noexcept { return a.text() == b.text(); }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Strings and vectors whose bytes a send queue or a SharedBytes can take over instead of copying.
template <class T>
concept OwnedBytes = !std::is_const_v<T> && !std::is_reference_v<T> && ByteRange<T> &&
                     std::is_nothrow_move_constructible_v<T> && requires(T t) {
  t.capacity();
};

class SharedBytes {
 public:
  SharedBytes() noexcept = default;  // empty, owns nothing
  // Copies `bytes` once. May throw std::bad_alloc.
  explicit SharedBytes(ByteView bytes);
  // Takes over a string or a vector without copying its bytes.
  template <OwnedBytes T>
  explicit SharedBytes(T&& owned) : payload_(new Taken<T>(std::move(owned))) {}

  SharedBytes(const SharedBytes& other) noexcept : payload_(other.payload_) { retain(); }
  SharedBytes(SharedBytes&& other) noexcept : payload_(std::exchange(other.payload_, nullptr)) {}
  SharedBytes& operator=(SharedBytes other) noexcept {
    std::swap(payload_, other.payload_);
    return *this;
  }
  ~SharedBytes() { release(); }

  ByteView view() const noexcept { return payload_ ? payload_->bytes : ByteView(); }
  std::size_t size() const noexcept { return view().size(); }
  bool empty() const noexcept { return size() == 0; }
  // How many SharedBytes hold this payload at this moment; 0 for an empty one.
  std::size_t owners() const noexcept;

 private:
  struct Payload {
    virtual ~Payload() = default;
    std::atomic<std::size_t> owners{1};
    ByteView bytes;
  };
  template <class T>
  struct Taken final : Payload {
    explicit Taken(T&& taken) : owned(std::move(taken)) { bytes = ByteView(owned); }
    T owned;
  };
  struct Copied;

  void retain() const noexcept {
    if (payload_) payload_->owners.fetch_add(1, std::memory_order_relaxed);
  }
  void release() noexcept;

  Payload* payload_ = nullptr;
};

}  // namespace millrace
