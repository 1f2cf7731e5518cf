// SendWriter is room at the end of a connection's send queue, to encode into without a copy. What
// is not committed leaves no trace. It must not outlive the callback that made it. Between writer()
// and commit() nothing else is sent on its connection, nor flushed. After commit() others may send;
// then this writer has done its work: grow() and commit() again are for when nobody else did.
//
//   SendWriter w = c.writer(64);
//   const std::size_t n = encode(message, w.room());    // at least 64 bytes
//   w.commit(n);
#pragma once

#include <millrace/send_result.h>

#include <cstddef>
#include <span>

namespace millrace {

class ConnectionCore;
struct Block;

class SendWriter {
 public:
  SendWriter(const SendWriter&) = delete;
  SendWriter& operator=(const SendWriter&) = delete;
  ~SendWriter();

  // At least as much as was asked for, less what was committed; as much also when the connection no
  // longer sends: what is written then goes nowhere.
  std::span<std::byte> room() const noexcept;
  // Room for the first `written` bytes of room(), which are kept, and at least `more` behind them.
  // What room() returned before is invalid. Throws std::bad_alloc, and then nothing has changed.
  std::span<std::byte> grow(std::size_t written, std::size_t more);
  // Queues the first `n` bytes of room() as one message. The result is that of Connection::send();
  // when they are not queued, room() is what it was.
  SendResult commit(std::size_t n);

 private:
  friend class Connection;
  SendWriter(ConnectionCore& core, std::size_t bytes);
  void check_undisturbed() const;

  ConnectionCore& core_;
  Block* block_;
  std::size_t end_;
  bool nowhere_;  // block_ is ours, not the last of the send queue
  bool writing_;  // nothing is committed yet
};

}  // namespace millrace
