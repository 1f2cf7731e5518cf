// FrameReader cuts a stream that does not come from a connection: a file, a pipe, the inside of a
// TLS session, a test. It keeps what is incomplete, and remembers the first error for ever. It
// belongs to whoever made it, in one thread at a time.
//
//   FrameReader reader(Lines{});
//   while (const std::size_t n = read_some(buffer)) {
//     if (!reader.feed({buffer, n}, [&](ByteView line) { print(line.text()); })) break;
//   }
//   reader.end();
//   if (reader.error()) std::cerr << reader.error()->text();
#pragma once

#include <millrace/error.h>
#include <millrace/frame_codec.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace millrace {

template <FrameCodec C>
class FrameReader {
 public:
  explicit FrameReader(C codec) : codec_(std::move(codec)) {}

  // Calls on_frame(ByteView) for each frame that is complete now; the view is valid until that
  // returns, and on_frame does not call feed(). False: the stream makes no sense, error() says why;
  // nothing is delivered any more.
  template <class OnFrame>
  bool feed(ByteView more, OnFrame&& on_frame) {
    return feed(more, on_frame, [](const FrameError&) {});
  }
  // With Oversize::discard: on_oversized(const FrameError&) for each frame that is skipped.
  template <class OnFrame, class OnOversized>
  bool feed(ByteView more, OnFrame&& on_frame, OnOversized&& on_oversized);
  // No more will come. False when the stream has ended inside a frame, or made no sense before.
  bool end();

  // From now on the stream is cut by `next`: may be called inside on_frame. A frame that is being
  // skipped is skipped to its end.
  void switch_to(C next) {
    next_ = std::move(next);
    if (!state_.skipping()) take_next();
  }

  const std::optional<FrameError>& error() const noexcept { return error_; }
  // Bytes of the stream that are done with.
  std::uint64_t consumed() const noexcept { return consumed_; }
  ByteView unconsumed() const noexcept { return ByteView(kept_); }

 private:
  void take_next() {
    codec_ = std::move(*next_);
    next_.reset();
    state_.note = 0;  // only that: the frame that is just delivered may lie in the rest
    needed_ = 0;
  }
  FrameError error_of(const Decoded& found) const {
    return {found.error, found.announced, found.limit, consumed_, found.detail};
  }

  C codec_;
  std::optional<C> next_;  // once codec_ has skipped what it skips
  FrameState state_;
  std::vector<std::byte> kept_;
  std::size_t needed_ = 0;
  std::uint64_t consumed_ = 0;
  std::optional<FrameError> error_;
};

template <FrameCodec C>
template <class OnFrame, class OnOversized>
bool FrameReader<C>::feed(ByteView more, OnFrame&& on_frame, OnOversized&& on_oversized) {
  if (error_) return false;
  kept_.insert(kept_.end(), more.begin(), more.end());
  // Takes off what was consumed, also when on_frame throws.
  struct Rest {
    ~Rest() { kept.erase(kept.begin(), kept.end() - static_cast<std::ptrdiff_t>(in.size())); }
    std::vector<std::byte>& kept;
    ByteView in;
  } rest{kept_, ByteView(kept_)};
  ByteView& in = rest.in;
  while (!in.empty() && in.size() >= needed_) {
    if (next_ && !state_.skipping()) take_next();
    const Decoded found = codec_.decode(in, state_);
    found.check(in.size());
    needed_ = 0;
    if (found.status == Decoded::incomplete) {
      needed_ = found.needed;
      break;
    }
    if (found.status == Decoded::failed) {
      error_ = error_of(found);
      in = {};
      return false;
    }
    const FrameError oversized = error_of(found);
    in = in.from(found.consumed);
    consumed_ += found.consumed;
    if (found.status == Decoded::frame_ready) on_frame(found.frame);
    if (found.status == Decoded::oversized) on_oversized(oversized);
  }
  return true;
}

template <FrameCodec C>
bool FrameReader<C>::end() {
  if (error_) return false;
  if (kept_.empty() && state_.note == 0) return true;
  Decoded found = kept_.empty() ? Decoded() : codec_.decode(ByteView(kept_), state_);
  found.error = error::frame_truncated;
  found.limit = 0;
  error_ = error_of(found);
  return false;
}

}  // namespace millrace
