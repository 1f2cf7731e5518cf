// The step that moves bytes between a stream's descriptor and its buffers, and the only place that
// does: whatever else a stream may become (TLS) replaces these functions. For a plain
// connection they are one system call each, without a virtual call. Loop's thread.
#pragma once

#include <millrace/bytes.h>
#include <millrace/unique_fd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

namespace millrace {

struct IoResult {
  std::size_t bytes = 0;
  int error = 0;  // errno value; EAGAIN when the kernel has nothing, or no room

  // EINPROGRESS: the connection of TCP Fast Open is being made after all.
  bool blocked() const noexcept {
    return error == EAGAIN || error == EWOULDBLOCK || error == EINPROGRESS;
  }
  bool failed() const noexcept { return error != 0 && !blocked(); }
};

// bytes == 0 without an error: the end of the stream.
IoResult stream_read(int fd, std::byte* to, std::size_t n) noexcept;
// Never raises SIGPIPE. A result of fewer bytes than given means that the kernel has no more room.
IoResult stream_write(int fd, const std::byte* from, std::size_t n) noexcept;
// `more`: something follows at once, and a last segment that is not full may wait for it.
IoResult stream_write(int fd, std::span<const iovec> parts, bool more = false) noexcept;
// The same from a file at `offset`. bytes == 0 without an error: the file ends here.
IoResult stream_send_file(int fd, int file, std::uint64_t offset, std::size_t n) noexcept;
// Unix sockets pass at most so many descriptors with one message (SCM_MAX_FD).
constexpr std::size_t kMostDescriptors = 253;
// n > 0 bytes, and with the first of them copies of the descriptors: they have gone if any has.
IoResult stream_write(int fd, const std::byte* from, std::size_t n,
                      std::span<const UniqueFd> descriptors) noexcept;
struct PassedDescriptors {
  std::array<UniqueFd, kMostDescriptors> descriptors;
  std::size_t count = 0;
  bool lost = false;  // there were more, for which this process had no room
};
// What stream_read() does, and the descriptors that came with these bytes. It stops behind them: a
// result of fewer bytes than asked for does not mean that there are no more.
IoResult stream_read(int fd, std::byte* to, std::size_t n, PassedDescriptors* passed) noexcept;

// Whether the stream has data, has ended or has failed, without taking anything but the failure:
// bytes == 1: data; 0 without an error: the end.
IoResult stream_peek(int fd) noexcept;

// The error that waits with the socket (SO_ERROR), 0 if none does. Takes it: a read that comes
// later sees an orderly end.
int stream_error(int fd) noexcept;

// Sees to it that closing the descriptor sends RST. `copied`: there may be copies of it, with which
// closing ours alone would send nothing; then it is sent now.
void stream_reset(int fd, bool copied) noexcept;

}  // namespace millrace
