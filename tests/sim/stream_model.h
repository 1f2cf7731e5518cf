// The model that workloads on the simulated kernel are held against: what each side of a connection
// was given to send, what arrived at the other, what was done to it and how it ended. The bytes of
// a stream follow from its number and their position, so that every one can be checked.
#pragma once

#include <millrace/bytes.h>
#include <millrace/connection.h>
#include <millrace/connection_options.h>
#include <millrace/socket_address.h>

#include "support/sim/sim_world.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace millrace::test {

// `n` bytes of stream `stream` from `position` on; at most kPatternBytes at once.
constexpr std::size_t kPatternBytes = 64 * 1024;
std::string_view pattern(std::uint64_t stream, std::uint64_t position, std::size_t n);

// One side of one connection.
struct Side {
  std::uint64_t stream = 0;
  bool is_client = false;
  bool opened = false;
  bool closed = false;
  std::uint64_t accepted = 0;  // bytes that send() took
  std::uint64_t received = 0;  // bytes that on_data consumed
  std::uint64_t taken_by_kernel = 0;
  std::uint64_t lost = 0;  // queued at the end
  std::error_code why;
  std::vector<int> kernel_errors;
  bool cut_off = false;  // something that was to be sent was not taken
  bool peer_ended = false;
  bool refused = false;  // a send() was told to stop
  std::uint64_t descriptors_sent = 0;
  std::uint64_t descriptors_received = 0;
  bool over_unix = false;
  bool lost_descriptors = false;  // this kernel had no number for one
  // What was done to it by its owner:
  bool did_close = false;
  bool did_end = false;
  bool did_abort = false;
  bool did_throw = false;
  bool was_destroyed = false;
  bool was_drained = false;

  bool orderly() const { return closed && !why; }
};

// The number of the stream between this client and a server: its port, or the name that the kernel
// chose for a Unix socket.
std::uint64_t stream_of(const SocketAddress& client);
// The next `n` bytes that this side has to send, at most what pattern() gives at once.
std::string_view next_bytes(const Side& side, std::size_t n);
// Checks what has arrived; the first that is wrong is a problem of the world.
void check_arrived(SimWorld& world, const Side& side, std::uint64_t peer_stream, ByteView bytes);
// For on_close: takes down how it ended, and checks that it is accounted for and that the reason is
// one that this connection had.
void check_end(SimWorld& world, Side& side, Connection& c, std::error_code why,
               const ConnectionOptions& options);

}  // namespace millrace::test
