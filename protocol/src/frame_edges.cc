#include <millrace/frame_edges.h>

#include <cstring>

namespace millrace {

void FrameEdges::add_after(ByteView bytes) {
  MILLRACE_CHECK_LE(after_.size() + bytes.size(), kLargestAfterBytes, "too much after a payload");
  MILLRACE_CHECK(after_.empty() || after_.data() == after_bytes_, "add_after() behind set_after()");
  std::memcpy(after_bytes_ + after_.size(), bytes.data(), bytes.size());
  after_ = ByteView(after_bytes_, after_.size() + bytes.size());
}

}  // namespace millrace
