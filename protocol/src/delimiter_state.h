// What FrameState::note means to the codecs that look for an end: how many bytes have been
// searched, and whether they belong to an oversized frame that is being skipped.
#pragma once

#include <millrace/frame_codec.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace millrace {

class SearchNote {
 public:
  explicit SearchNote(std::uint64_t note) noexcept
      : searched_(static_cast<std::size_t>(note & ~FrameState::kSkipping)),
        skipping_((note & FrameState::kSkipping) != 0) {}

  // Fewer if the input is not the one that was searched.
  std::size_t searched(ByteView input) const noexcept { return std::min(searched_, input.size()); }
  bool skipping() const noexcept { return skipping_; }

  static std::uint64_t searched(std::size_t bytes) noexcept { return bytes; }

  // Skips what is searched of `input` but for the last `kept` bytes, in which the end of the frame
  // may have begun.
  static std::size_t skip_but(std::size_t kept, std::size_t searched, FrameState& state) noexcept {
    const std::size_t left = std::min(kept, searched);
    state.note = FrameState::kSkipping | left;
    return searched - left;
  }

 private:
  std::size_t searched_;
  bool skipping_;
};

}  // namespace millrace
