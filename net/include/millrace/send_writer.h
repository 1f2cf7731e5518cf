// SendWriter is room at the end of a connection's send queue, to encode into without a copy. What
// is not committed leaves no trace. It must not outlive the callback that made it, and nothing else
// is sent on its connection, nor flushed, between writer() and the last commit().
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

  // At least as much as was asked for, less what was committed, and no more than the hard limit
  // leaves; as much also when the connection no longer sends, or has no room for that much: what is
  // written then goes nowhere.
  std::span<std::byte> room() const noexcept;
  // The first `n` bytes of room() are now queued. The result is that of Connection::send().
  SendResult commit(std::size_t n);

 private:
  friend class Connection;
  SendWriter(ConnectionCore& core, std::size_t bytes);
  SendResult commit_nowhere(std::size_t n) noexcept;

  ConnectionCore& core_;
  Block* block_;
  std::size_t end_;
  // sent: block_ is the tail of the send queue. Otherwise why it is ours and goes nowhere.
  SendResult admitted_;
};

}  // namespace millrace
