// Sockets without a framework: for loads that shall cost the client as little as the kernel allows.
// One thread.
#pragma once

#include <millrace/bytes.h>
#include <millrace/socket_address.h>
#include <millrace/unique_fd.h>

#include <array>
#include <cstdint>
#include <span>

#include <sys/epoll.h>

namespace millrace::bench {

// A connected socket that does not block, with TCP_NODELAY. The handshake is waited for: on
// loopback it is over when connect() returns. Throws std::system_error.
UniqueFd connect_to(const SocketAddress& server, const SocketAddress& source = {});

// A file in memory with this content. What is sent from it is not copied.
UniqueFd file_in_memory(ByteView content);

// Level-triggered, each descriptor with a number of the caller's choice.
class ReadySet {
 public:
  ReadySet();
  void add(int fd, std::size_t number, std::uint32_t events);
  void change(int fd, std::size_t number, std::uint32_t events);
  // Those that are ready now; never waits. Number: event.data.u64. Valid until the next call.
  std::span<const epoll_event> look();

 private:
  UniqueFd epoll_;
  std::array<epoll_event, 512> events_;
};

}  // namespace millrace::bench
