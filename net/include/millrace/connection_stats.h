// What can be asked of a connection to find out how it is, or why it is stuck. Values; any thread.
//
//   KernelQueues q = c.kernel_queues();
//   c.queued_bytes()       // waits with us: the kernel's buffer is full
//   q.send_bytes           // waits in the kernel: the peer has not acknowledged
//   q.send_unsent_bytes    // of those, not even sent: the peer's window is full, it does not read
//   q.receive_bytes        // waits in the kernel for us: we do not read
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace millrace {

struct ConnectionStats {
  std::uint64_t bytes_received = 0;
  std::uint64_t bytes_sent = 0;  // taken by the kernel
  std::size_t queued_bytes = 0;  // waiting to be taken; in on_close: lost
  // Given up by Overflow::drop_newest, and their bytes.
  std::uint64_t dropped_messages = 0;
  std::uint64_t dropped_bytes = 0;
  // In on_close: what the peer is not known to have got, which is what was queued, and what the
  // kernel had sent or was to send and the peer had not acknowledged. Zero in an orderly end: what
  // the kernel has taken then is on its way. Before on_close: queued_bytes.
  std::size_t undelivered_bytes = 0;
  std::chrono::milliseconds age{0};
  std::chrono::milliseconds idle{0};  // since the last byte in either direction
};

struct KernelQueues {
  std::size_t send_bytes = 0;         // sent or to be sent, not acknowledged (Send-Q)
  std::size_t send_unsent_bytes = 0;  // of those, not sent yet
  std::size_t receive_bytes = 0;      // received, not read (Recv-Q)
};

struct TcpInfo {
  std::chrono::microseconds rtt{0};
  std::chrono::microseconds rtt_variation{0};
  std::uint32_t retransmits = 0;  // in all
  std::uint32_t congestion_window_segments = 0;
  std::uint32_t send_segment_bytes = 0;
  std::uint32_t peer_window_bytes = 0;  // what the peer is ready to take; 0 from kernels before 5.4
};

}  // namespace millrace
