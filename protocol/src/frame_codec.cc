#include <millrace/error.h>
#include <millrace/frame_codec.h>

namespace millrace {

std::string FrameError::text() const {
  const auto bytes = [](std::uint64_t n) { return std::to_string(n) + " bytes"; };
  std::string text;
  if (code == error::frame_truncated) {
    text = "stream ended inside a frame" + (announced > 0 ? " of " + bytes(announced) : "");
  } else if (code == error::frame_too_large) {
    text = announced > 0
               ? "frame of " + bytes(announced) + " announced, limit " + std::to_string(limit)
               : "frame of more than " + bytes(limit);
  } else {
    text = code.message() + (announced > 0 ? " of " + bytes(announced) : "");
  }
  if (*detail != '\0') text += std::string(", ") + detail;
  return text + ", at byte " + std::to_string(offset) + " of the stream";
}

Decoded Decoded::corrupt(const char* detail, std::uint64_t announced) noexcept {
  return {
      .status = failed, .announced = announced, .error = error::frame_corrupt, .detail = detail};
}

Decoded Decoded::wrong_checksum(std::uint64_t announced) noexcept {
  Decoded made = corrupt("", announced);
  made.error = error::frame_checksum;
  return made;
}

Decoded Decoded::too_large(std::uint64_t announced, std::uint64_t limit,
                           const char* detail) noexcept {
  return {.status = failed,
          .announced = announced,
          .limit = limit,
          .error = error::frame_too_large,
          .detail = detail};
}

Decoded Decoded::skip_oversized(std::uint64_t announced, std::uint64_t limit, std::size_t consumed,
                                const char* detail) noexcept {
  Decoded made = too_large(announced, limit, detail);
  made.status = oversized;
  made.consumed = consumed;
  return made;
}

std::byte* Scratch::take(std::size_t bytes) {
  if (bytes > bytes_ || !memory_) {
    memory_.reset();
    bytes_ = 0;
    // Not initialised: the system gives pages of a large one only as they are written.
    memory_.reset(static_cast<std::byte*>(::operator new(bytes)));
    bytes_ = bytes;
  }
  return memory_.get();
}

}  // namespace millrace
