// What only a connection over a Unix socket can do: say which process the peer is, and pass open
// descriptors. Functions of a Connection; loop's thread only.
//
//   const auto who = peer_credentials(c);                    // in on_open
//   if (!who || who->uid != ::geteuid()) return c.close();
//   send_descriptors(c, "job", std::move(files));            // travel with these bytes
//   std::vector<UniqueFd> files = take_descriptors(c);       // the other side, in on_data
//
// Receiving has to be asked for: ConnectionLimits::receive_descriptors. Otherwise the kernel closes
// what a peer passes.
#pragma once

#include <millrace/bytes.h>
#include <millrace/send_result.h>
#include <millrace/unique_fd.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace millrace {

class Connection;

// Of the process that connected, or listened, at that moment; its number may be somebody else's by
// now, its user cannot.
struct PeerCredentials {
  std::int32_t pid = 0;  // 0: in a place that our process cannot see
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
};
// None for a connection over TCP. A system call.
std::optional<PeerCredentials> peer_credentials(const Connection& c) noexcept;
// The same process, as a descriptor that is nobody else's ever (pidfd): readable once it has ended.
// None for TCP, for a process that is gone, and from kernels before 6.5.
UniqueFd peer_process(const Connection& c) noexcept;

// Queues the bytes, which must be some, and with the first of them the descriptors; in order with
// all else that is sent. They are closed here once the peer's kernel has them, or when the
// connection ends before. They are taken only if the message is queued; if not (refused, dropped,
// too_large: more than 253 too, which is the most for one message; closed), the vector still has
// them. SendResult::unsupported: not a Unix socket. How many may wait: see
// ConnectionLimits::send_descriptors. Who passes more than RLIMIT_NOFILE that nobody has received
// yet, without privileges, loses the connection (ETOOMANYREFS).
SendResult send_descriptors(Connection& c, ByteView bytes, std::vector<UniqueFd>&& descriptors);

// What the peer has passed so far, in its order, close-on-exec. Descriptors are there no later than
// the byte that they came with: in the on_data that brings it, and in the on_frame of its frame.
// They may be there earlier, with bytes before it: a protocol says in its messages how many belong
// to each, and keeps the others. What is not taken is closed after on_close. More than
// ConnectionLimits::receive_descriptors not taken: the connection ends with
// error::too_many_descriptors. If this process is out of descriptors some are lost, and it ends
// with error::descriptors_lost.
std::vector<UniqueFd> take_descriptors(Connection& c) noexcept;

}  // namespace millrace
