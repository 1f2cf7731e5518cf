// Delimited is the framing in which frames end with a delimiter: any byte string, or one of
// several. It does no I/O, is not changed by use, and may be shared by all connections and by
// threads. For lines of text there is Lines.
//
//   a b NUL c d NUL e         Delimited(std::string(1, '\0')): frames "ab", "cd"; "e" is incomplete
//   a ; b | | c               Delimited({.delimiters = {";", "||"}}): frames "a", "b"
//
// The first delimiter to be complete ends the frame; of two that end at the same byte, the longer
// one. No delimiter may be the beginning of another: which of them ended a frame would depend on
// how the stream is cut. A frame is too large once max_frame_bytes and as many as the longest
// delimiter has have brought none, or when its delimiter shows it.
#pragma once

#include <millrace/frame_codec.h>

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

struct DelimitedOptions {
  std::vector<std::string> delimiters = {};  // at least one; frames are sent with the first
  std::size_t max_frame_bytes = 64 * 1024;   // without the delimiter, in either direction
  bool keep_delimiter = false;  // on_frame gets it too, and it is sent with the payload
  Oversize oversize = Oversize::fail;
};

class Delimited {
 public:
  // Throws std::invalid_argument naming the field that makes no sense.
  explicit Delimited(DelimitedOptions options);
  // With one delimiter, and defaults. (A template, so that braces mean options.)
  template <std::convertible_to<std::string_view> Text>
  explicit Delimited(const Text& delimiter)
      : Delimited(DelimitedOptions{.delimiters = {std::string(std::string_view(delimiter))}}) {}

  Decoded decode(ByteView input, FrameState& state) const noexcept;

  std::size_t largest_frame_bytes() const noexcept { return max_frame_bytes_ + longest_; }
  std::size_t overhead_bytes(std::size_t /*payload_bytes*/) const noexcept { return 0; }

  // Throws std::invalid_argument for a payload that has a delimiter in it, or with the one behind
  // it: it would be two frames, or a shorter one.
  void wrap(ByteView payload, FrameEdges& edges) const;

 private:
  struct Match {
    std::size_t end;  // behind the delimiter; 0: there is none
    std::size_t delimiter_bytes;
  };
  // The first delimiter that ends behind byte `from`.
  Match find(ByteView input, std::size_t from) const noexcept;
  std::size_t delimiter_before(ByteView input, std::size_t end) const noexcept;
  Decoded skip(ByteView input, FrameState& state) const noexcept;

  std::vector<std::string> delimiters_;  // the longest first
  std::string sent_;
  std::size_t longest_;
  std::size_t max_frame_bytes_;
  std::array<bool, 256> ends_{};  // bytes with which a delimiter ends
  int only_end_ = -1;             // when they all end with the same
  bool keep_delimiter_;
  Oversize oversize_;
};

}  // namespace millrace
