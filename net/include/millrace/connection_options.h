// The limits and timeouts of a connection: plain aggregates, part of ServerOptions and
// ClientOptions. Values; any thread.
//
//   ServerOptions options;
//   options.connection.limits.high_watermark_bytes = 256 * 1024;
//   options.connection.timeouts.idle = 60s;
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace millrace {

// What becomes of a message for which the send queue has no room.
enum class Overflow : std::uint8_t {
  close,        // the connection is aborted with error::send_queue_overflow
  refuse,       // it is not queued and the sender is told: SendResult::refused
  drop_newest,  // the same, for who does not mind the loss: counted, and SendResult::dropped
};

struct ConnectionLimits {
  // send() returns false while more than this waits in the send queue: stop and wait for
  // on_drained.
  std::size_t high_watermark_bytes = 1024 * 1024;
  // on_drained comes when a queue that was above the high watermark has come down to this. Zero:
  // half of the high one.
  std::size_t low_watermark_bytes = 0;
  // A send queue never grows beyond this; see `overflow`. Files take no memory and do not count.
  std::size_t send_queue_bytes = 64 * 1024 * 1024;
  // A handler that leaves more than this unconsumed, or expects more, closes the connection with
  // error::receive_buffer_overflow. While reading is paused what one receive brings (64 KiB)
  // may wait besides: its peer could not know.
  std::size_t receive_bytes = 1024 * 1024;
  // What becomes of a message (a frame with its header, the room of a writer) that would pass
  // send_queue_bytes; by default whoever ignores both watermark and result loses the connection.
  // With the others it lives on, no part of the message is queued, and on_drained comes later: at
  // the low watermark, or, when no more than that waited, once nothing waits. A message larger than
  // send_queue_bytes itself never has room: SendResult::too_large (counted too if it is dropped),
  // and no on_drained comes for it.
  Overflow overflow = Overflow::close;
  // Of Unix sockets (unix_connection.h). How many descriptors that the peer has passed may wait to
  // be taken; more end the connection with error::too_many_descriptors. Zero: none is received, and
  // the kernel closes what is passed.
  std::size_t receive_descriptors = 0;
  // How many may wait in the send queue: each stays open here until it has gone. `overflow` says
  // what becomes of a message with more.
  std::size_t send_descriptors = 256;
};

// Zero switches a timeout off; so does more than 24 days, but for `lifetime`. How long silence is
// normal, who speaks first and how long a message may take only the protocol knows: `idle`,
// `first_byte`, `message` and `lifetime` are off unless you set them, and a peer that says nothing,
// or one byte now and then, keeps its place. A server on the open internet sets all but the last.
// They close gracefully: what is queued, and what is being sent, still arrives.
struct ConnectionTimeouts {
  using Milliseconds = std::chrono::milliseconds;

  // No byte in either direction while nothing waits to be sent: closed with error::idle_timeout.
  Milliseconds idle{0};
  // From on_open until the first byte has arrived: closed with error::first_byte_timeout.
  Milliseconds first_byte{0};
  // While bytes stay unconsumed after on_data, from then until something is consumed (a rest that
  // this leaves has its own time): closed with error::message_timeout. However many more bytes
  // trickle in meanwhile. With frames: how long one may take once it has begun to arrive.
  // Neither this nor `first_byte` closes while we have paused reading (that time does not count for
  // a message), or when the peer has ended.
  Milliseconds message{0};
  // Bytes wait and the peer takes none: aborted with error::write_stalled.
  Milliseconds write_stall{30'000};
  // After close() has sent everything and FIN: how long to wait for the peer's FIN, discarding what
  // it still sends. Starts anew while bytes come or the peer acknowledges ours, ...
  Milliseconds linger{5'000};
  // ... but for no longer than this in all.
  Milliseconds linger_total{30'000};
  // From on_open: closed with error::lifetime_exceeded, whatever it is doing.
  Milliseconds lifetime{0};
};

struct ConnectionOptions {
  ConnectionLimits limits;
  ConnectionTimeouts timeouts;
};

}  // namespace millrace
