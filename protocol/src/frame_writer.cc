#include <millrace/frame_writer.h>

#include <algorithm>
#include <new>

namespace millrace {
namespace {

std::size_t room_for(std::size_t before, std::size_t payload) {
  std::size_t bytes = std::max<std::size_t>(payload, 1);
  if (__builtin_add_overflow(bytes, before, &bytes) ||
      __builtin_add_overflow(bytes, FrameEdges::kLargestAfterBytes, &bytes)) {
    throw std::bad_alloc();
  }
  return bytes;
}

}  // namespace

FrameWriter::FrameWriter(Connection& connection, const Framing& framing, std::size_t payload_bytes)
    : framing_(framing),
      before_(framing.overhead_bytes(payload_bytes)),
      writer_(connection.writer(room_for(before_, payload_bytes))) {
  const std::span<std::byte> room = writer_.room();
  at_ = room.data() + before_;
  end_ = room.data() + room.size();
}

void FrameWriter::grow(std::size_t more) {
  const std::size_t written = before_ + bytes_;
  const std::span<std::byte> room = writer_.grow(written, more);
  at_ = room.data() + written;
  end_ = room.data() + room.size();
}

std::span<std::byte> FrameWriter::next() {
  const std::span<std::byte> all = room(1);
  advance(all.size());
  return all;
}

SendResult FrameWriter::commit() {
  MILLRACE_CHECK(!committed_, "commit() of a frame that was committed");
  committed_ = true;
  FrameEdges edges;
  framing_.wrap(payload(), edges);
  const std::size_t before = edges.before().size();
  ByteView body = edges.payload();
  const std::byte* begin = at_ - bytes_;
  const bool in_place = body.data() >= begin && body.data() <= at_;
  const std::size_t offset = in_place ? static_cast<std::size_t>(body.data() - begin) : 0;
  // Room for all of it, and the payload where what goes before it ends.
  const std::size_t kept = in_place ? before_ + bytes_ : 0;
  const std::size_t needed = edges.size();
  std::span<std::byte> frame = writer_.room();
  if (frame.size() < needed) {
    frame = writer_.grow(kept, needed - std::min(needed, kept));
    if (in_place) body = ByteView(frame.data() + before_ + offset, body.size());
  }
  if (body.data() != frame.data() + before && !body.empty()) {
    std::memmove(frame.data() + before, body.data(), body.size());
  }
  std::memcpy(frame.data(), edges.before().data(), before);
  if (!edges.after().empty()) {
    std::memcpy(frame.data() + before + body.size(), edges.after().data(), edges.after().size());
  }
  return writer_.commit(needed);
}

}  // namespace millrace
