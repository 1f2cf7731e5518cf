// FramedConnection is a connection together with its framing: it sends frames; `->` is the
// connection itself. It is a view for the duration of a callback, in the loop's thread: to keep a
// connection, keep `c->ref()`, and make a FramedConnection of it again with
// FramedHandler::framed().
//
//   void on_frame(FramedConnection& c, ByteView frame) override {
//     if (frame.empty()) return c->close();
//     c.send_frame(frame);
//   }
#pragma once

#include <millrace/connection.h>
#include <millrace/length_prefix.h>

#include <utility>

namespace millrace {

class FramedConnection {
 public:
  FramedConnection(Connection& connection, const LengthPrefix& framing) noexcept
      : connection_(connection), framing_(framing) {}
  FramedConnection(const FramedConnection&) = delete;
  FramedConnection& operator=(const FramedConnection&) = delete;

  // Queues the frame: its header and `payload`, which is copied. The results are those of
  // Connection::send(): the frame is queued whole or not at all. Throws std::length_error when the
  // payload is larger than the framing's maximum; nothing is queued then.
  SendResult send_frame(ByteView payload) {
    std::byte header[LengthPrefix::kLargestHeaderBytes];
    framing_.write_header(header, payload.size());
    return connection_.send_together(ByteView(header, framing_.header_bytes()), payload);
  }
  // The payload is shared with the other connections it is sent to, not copied.
  SendResult send_frame(const SharedBytes& payload) {
    std::byte header[LengthPrefix::kLargestHeaderBytes];
    framing_.write_header(header, payload.size());
    return connection_.send_together(ByteView(header, framing_.header_bytes()), payload);
  }

  Connection* operator->() const noexcept { return &connection_; }
  Connection& connection() const noexcept { return connection_; }
  const LengthPrefix& framing() const noexcept { return framing_; }

 private:
  Connection& connection_;
  const LengthPrefix& framing_;
};

}  // namespace millrace
