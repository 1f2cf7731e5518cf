// What the fuzz targets of the framings share: a codec and its reference get the same stream, cut
// in every way that makes a difference, and must find the same after each piece; what is sent must
// arrive. A target reads its options off the front of its input, and gives the rest to
// check_framing().
#pragma once

#include <millrace/frame_layer.h>
#include <millrace/frame_reader.h>
#include <millrace/framing.h>

#include "reference/decoder.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::fuzz {

using reference::Event;

inline void must(bool holds, std::string_view what) {
  if (holds) return;
  std::cerr << "does not hold: " << what << '\n';
  std::abort();
}

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size)
      : rest_(reinterpret_cast<const char*>(data), size) {}

  // 0 when there is no more.
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const char first = rest_.front();
    rest_.remove_prefix(1);
    return static_cast<std::uint8_t>(first);
  }
  bool flag() { return byte() % 2 != 0; }
  Oversize oversize() { return flag() ? Oversize::discard : Oversize::fail; }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

// What the reference finds, and how much of it after so many bytes.
struct Expected {
  std::vector<Event> events;
  std::vector<std::size_t> count_after;
};

template <class Reference>
Expected expected_of(Reference& reference, std::string_view stream) {
  Expected expected;
  expected.count_after.push_back(0);
  for (const char c : stream) {
    reference.feed({&c, 1});
    expected.count_after.push_back(reference.events().size());
  }
  expected.events = reference.events();
  return expected;
}

inline void compare(const Expected& expected, std::size_t bytes, const std::vector<Event>& found,
                    const char* how) {
  const std::size_t count = expected.count_after[bytes];
  const auto end = expected.events.begin() + static_cast<std::ptrdiff_t>(count);
  if (std::equal(expected.events.begin(), end, found.begin(), found.end())) return;
  std::cerr << how << ", after " << bytes << " bytes; expected:\n";
  std::for_each(expected.events.begin(), end, [](const Event& e) { std::cerr << e << '\n'; });
  std::cerr << "found:\n";
  for (const Event& e : found) std::cerr << e << '\n';
  must(false, "the same as the reference");
}

// decode() as a connection uses it, but that each look is at a copy of its own, so that the
// sanitizer sees any look beyond the end, and that nothing survives between two but the note.
template <class Codec>
class Direct {
 public:
  Direct(const Codec& codec, bool honours_needed)
      : codec_(codec), honours_needed_(honours_needed) {}

  void feed(std::string_view piece) {
    pending_ += piece;
    while (!failed_ && !pending_.empty()) {
      if (honours_needed_ && pending_.size() < needed_) return;
      if (!step()) return;
    }
  }
  const std::vector<Event>& events() const { return events_; }

 private:
  // False: more is needed.
  bool step() {
    const std::size_t size = pending_.size();
    const auto copy = std::make_unique<std::byte[]>(size);
    std::copy(pending_.begin(), pending_.end(), reinterpret_cast<char*>(copy.get()));
    FrameState state;
    state.note = note_;
    const Decoded found = codec_.decode(ByteView(copy.get(), size), state);
    const bool still_counting = note_ != state.note;
    note_ = state.note;
    must(found.status == Decoded::incomplete || size >= needed_, "nothing before what is needed");
    if (found.status == Decoded::incomplete) {
      must(found.needed > size, "more is needed than there is");
      must(found.needed <= codec_.largest_frame_bytes(), "no more needed than the largest frame");
      needed_ = found.needed;
      return false;
    }
    needed_ = 0;
    must(found.consumed <= size, "no more consumed than there is");
    tell(found);
    must(failed_ || found.consumed > 0 || still_counting, "it gets on");
    consumed_ += found.consumed;
    pending_.erase(0, found.consumed);
    return true;
  }

  void tell(const Decoded& found) {
    switch (found.status) {
      case Decoded::frame_ready:
        must(note_ == 0, "nothing is remembered between frames");
        events_.push_back({.kind = Event::frame,
                           .bytes = std::string(found.frame.text()),
                           .consumed = consumed_ + found.consumed});
        break;
      case Decoded::failed:
        failed_ = true;
        [[fallthrough]];
      case Decoded::oversized:
        events_.push_back({.kind = failed_ ? Event::failed : Event::oversized,
                           .code = found.error,
                           .announced = found.announced,
                           .limit = found.limit,
                           .offset = consumed_});
        break;
      case Decoded::skipped:
      case Decoded::incomplete:
        break;
    }
  }

  const Codec& codec_;
  bool honours_needed_;
  std::string pending_;
  std::uint64_t note_ = 0;
  std::size_t needed_ = 0;
  std::uint64_t consumed_ = 0;
  bool failed_ = false;
  std::vector<Event> events_;
};

template <class Codec>
class Reader {
 public:
  explicit Reader(const Codec& codec) : reader_(codec) {}

  void feed(std::string_view piece) {
    const bool failed_before = reader_.error().has_value();
    const auto copy = std::make_unique<std::byte[]>(piece.size());
    std::copy(piece.begin(), piece.end(), reinterpret_cast<char*>(copy.get()));
    const bool well = reader_.feed(
        ByteView(copy.get(), piece.size()),
        [this](ByteView frame) {
          events_.push_back({.kind = Event::frame,
                             .bytes = std::string(frame.text()),
                             .consumed = reader_.consumed()});
        },
        [this](const FrameError& e) { tell(Event::oversized, e); });
    must(well == !reader_.error(), "feed() says whether there is an error");
    if (!failed_before && reader_.error()) tell(Event::failed, *reader_.error());
  }
  const std::vector<Event>& events() const { return events_; }

  void end_as(const reference::Decoder& reference) {
    const bool well = reader_.end();
    must(well == !(reference.inside_frame() || reference.failed()), "where a stream may end");
    if (well || reference.failed()) return;
    const FrameError& e = *reader_.error();
    must(e.code == error::frame_truncated, "the stream is truncated");
    if (reference.skipping()) return;
    must(e.announced == reference.announced(), "what a truncated frame announced");
    must(e.offset == reference.frame_begin(), "where a truncated frame begins");
  }

 private:
  void tell(Event::Kind kind, const FrameError& e) {
    must(!e.text().empty(), "each error has a text");
    events_.push_back({.kind = kind,
                       .code = e.code,
                       .announced = e.announced,
                       .limit = e.limit,
                       .offset = e.offset});
  }

  FrameReader<Codec> reader_;
  std::vector<Event> events_;
};

// In pieces of `first`, `second`, `first` ... bytes.
template <class Subject>
void feed_cut(Subject& subject, std::string_view stream, std::size_t first, std::size_t second,
              const Expected& expected, const char* how) {
  std::size_t at = 0;
  for (bool odd = false; at < stream.size(); odd = !odd) {
    const std::string_view piece = stream.substr(at, odd ? second : first);
    subject.feed(piece);
    at += piece.size();
    compare(expected, at, subject.events(), how);
  }
}

template <class Codec, class Reference>
void check_cut(const Codec& codec, const Reference& ended, std::string_view stream,
               std::size_t first, std::size_t second, const Expected& expected) {
  Direct<Codec> patient(codec, true);
  feed_cut(patient, stream, first, second, expected, "asked when there is what was needed");
  Direct<Codec> eager(codec, false);
  feed_cut(eager, stream, first, second, expected, "asked whenever something has come");
  Reader<Codec> reader(codec);
  feed_cut(reader, stream, first, second, expected, "FrameReader");
  reader.end_as(ended);
}

inline std::optional<std::string> encoded(const Framing& framing, const std::string& payload) {
  try {
    return framing.encode(payload);
  } catch (const std::length_error&) {
    return std::nullopt;
  } catch (const std::invalid_argument&) {
    return std::nullopt;
  }
}

// True if it can be sent; then it arrives.
template <class Codec, class Reference>
bool check_sent(const Codec& codec, const Reference& fresh, const std::string& payload) {
  const std::optional<std::string> wire = fresh.wire(payload);
  const std::optional<std::string> sent = encoded(codec, payload);
  must(sent.has_value() == wire.has_value(), "what can be sent, and nothing else, is sent");
  if (!wire) return false;
  must(*sent == *wire, "it is sent as the reference says");
  Direct<Codec> peer(codec, true);
  peer.feed(*sent);
  must(peer.events().size() == 1, "one frame is sent");
  const Event arrived{
      .kind = Event::frame, .bytes = fresh.arrival(payload), .consumed = sent->size()};
  must(peer.events()[0] == arrived, "what is sent arrives");
  return true;
}

// A layer may append to the payload what the codec does not see.
template <class Codec, class Reference>
void check_sent_in_parts(const Codec& codec, const Reference& fresh, const std::string& payload,
                         std::size_t cut) {
  if constexpr (OpaqueFrameCodec<Codec>) {
    const std::string following = payload.substr(cut);
    FrameEdges edges;
    std::optional<std::string> sent;
    const std::string begun = payload.substr(0, cut);
    try {
      codec.wrap(begun, following.size(), edges);
      sent = std::string(edges.before().text());
      sent->append(edges.payload().text()).append(following).append(edges.after().text());
    } catch (const std::length_error&) {
    } catch (const std::invalid_argument&) {
    }
    if (cut < fresh.header_in_payload()) return must(!sent, "the header is in the first part");
    must(sent == fresh.wire(payload), "a payload in two parts is sent as one");
  }
}

template <class Codec, class Reference>
void check_stream(const Codec& codec, const Reference& fresh, Input& in) {
  const std::size_t first = 1 + in.byte() % 32;
  const std::size_t second = 1 + in.byte() % 8;
  const std::string_view stream = in.rest();

  Reference reference = fresh;
  const Expected expected = expected_of(reference, stream);
  check_cut(codec, reference, stream, stream.size() + 1, 1, expected);
  check_cut(codec, reference, stream, 1, 1, expected);
  check_cut(codec, reference, stream, first, second, expected);

  // What has arrived is sent on. So many show what all do.
  std::size_t sent = 0;
  for (const Event& e : expected.events) {
    if (e.kind != Event::frame || ++sent > 8) continue;
    if (check_sent(codec, fresh, e.bytes)) {
      must(fresh.arrival(e.bytes) == e.bytes, "what arrives can be passed on unchanged");
    }
  }
  for (const std::size_t bytes : {std::size_t{0}, first, first * second, stream.size()}) {
    const std::string payload(stream.substr(0, bytes));
    check_sent(codec, fresh, payload);
    check_sent_in_parts(codec, fresh, payload, payload.size());
    check_sent_in_parts(codec, fresh, payload, std::min(second, payload.size()));
  }
}

// The rest of the input is how to cut, and the stream.
template <class Codec, class Reference, class Options>
void check_framing(const Options& options, Input& in) {
  std::optional<Codec> codec;
  try {
    codec.emplace(options);
  } catch (const std::invalid_argument&) {
  }
  must(codec.has_value() == Reference::makes_sense(options), "what makes no sense is refused");
  if (codec) check_stream(*codec, Reference(options), in);
}

}  // namespace millrace::fuzz
