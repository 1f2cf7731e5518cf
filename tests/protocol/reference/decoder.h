// What the reference decoders have in common. A reference is told its options and then the stream,
// one byte at a time, and lists what must be found as soon as each byte has come. It is written
// from the contracts in the public headers, to be read and not to be fast: it copies every frame,
// looks at nothing ahead, and reckons lengths in 128 bits. For tests; it lives as long as they
// like.
//
//   reference::Lines lines({.max_line_bytes = 80});
//   lines.feed("one\ntwo");     // lines.events(): the frame "one", 4 bytes consumed
//   lines.inside_frame();       // true: a stream that ends here is truncated
#pragma once

#include <millrace/error.h>
#include <millrace/frame_codec.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace millrace::reference {

__extension__ using Wide = __int128;

struct Event {
  enum Kind { frame, oversized, failed };

  Kind kind = frame;
  std::string bytes = {};       // frame
  std::uint64_t consumed = 0;   // frame: of the stream, when it is delivered
  std::error_code code = {};    // oversized, failed
  std::uint64_t announced = 0;  // oversized, failed
  std::uint64_t limit = 0;      // oversized, failed
  std::uint64_t offset = 0;     // oversized, failed: where the frame begins

  friend bool operator==(const Event&, const Event&) = default;
};

inline std::ostream& operator<<(std::ostream& out, const Event& e) {
  if (e.kind == Event::frame) {
    out << "frame of " << e.bytes.size() << " bytes:" << std::hex;
    for (const char c : e.bytes) out << ' ' << unsigned{static_cast<unsigned char>(c)};
    return out << std::dec << ", " << e.consumed << " consumed";
  }
  return out << (e.kind == Event::oversized ? "oversized: " : "failed: ") << e.code.message()
             << ", announced " << e.announced << ", limit " << e.limit << ", at " << e.offset;
}

class Decoder {
 public:
  virtual ~Decoder() = default;

  void feed(std::string_view bytes) {
    for (const char c : bytes) {
      if (failed_) return;
      ++position_;
      take(c);
    }
  }
  const std::vector<Event>& events() const { return events_; }
  bool failed() const { return failed_; }

  // So many bytes of the header are part of a payload to be sent, at its front.
  virtual std::size_t header_in_payload() const { return 0; }

  // If the stream ended here: inside a frame, which began there and has announced so much.
  virtual bool inside_frame() const = 0;
  virtual std::uint64_t announced() const { return 0; }
  virtual bool skipping() const { return false; }  // a frame that is too large
  std::uint64_t frame_begin() const { return frame_begin_; }

 protected:
  virtual void take(char c) = 0;

  void deliver(std::string bytes) {
    events_.push_back({.kind = Event::frame, .bytes = std::move(bytes), .consumed = position_});
    next_frame();
  }
  // Of the frame that the last byte belongs to.
  void tell_oversized(Wide announced, std::uint64_t limit) {
    events_.push_back(event(Event::oversized, error::frame_too_large, announced, limit));
  }
  void fail_too_large(Wide announced, std::uint64_t limit) {
    events_.push_back(event(Event::failed, error::frame_too_large, announced, limit));
    failed_ = true;
  }
  void fail_corrupt(Wide announced = 0) {
    events_.push_back(event(Event::failed, error::frame_corrupt, announced, 0));
    failed_ = true;
  }
  // In a frame that is being skipped the wrong byte is told, which came so many bytes ago.
  void fail_in_skipped(std::uint64_t back) {
    frame_begin_ = position_ - 1 - back;
    fail_corrupt();
  }
  // The last byte was the last of its frame.
  void next_frame() { frame_begin_ = position_; }

 private:
  Event event(Event::Kind kind, error code, Wide announced, std::uint64_t limit) const {
    return {.kind = kind,
            .code = code,
            .announced = static_cast<std::uint64_t>(announced),
            .limit = limit,
            .offset = frame_begin_};
  }

  std::vector<Event> events_;
  std::uint64_t position_ = 0;
  std::uint64_t frame_begin_ = 0;
  bool failed_ = false;
};

// What is sent of a payload: `bytes`, if they arrive at `peer`, a new one, as that one frame.
inline std::optional<std::string> if_one_frame(Decoder&& peer, const std::string& bytes,
                                               const std::string& payload) {
  peer.feed(bytes);
  if (peer.events().size() != 1 || peer.events()[0].kind != Event::frame) return std::nullopt;
  if (peer.inside_frame() || peer.events()[0].bytes != payload) return std::nullopt;
  return bytes;
}

}  // namespace millrace::reference
