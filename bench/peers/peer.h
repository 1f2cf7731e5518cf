// What the servers of the benchmark share, so that each shows how its library is used and little
// else: the command line, a listening socket for libraries that want to be given one, and frames.
//
//   NAME PORT [--framed | --sink | --broadcast]   PORT 0: the kernel chooses
//   NAME --version                                the library's name and version
//
//   (none)        raw echo
//   --framed      echo of frames: 4 bytes of length, big-endian, and as many bytes
//   --sink        counts; when the client half-closes, sends the count as 8 bytes and closes
//   --broadcast   a frame goes, whole with its header, to every other open connection
//
// Every server writes the complete frames of one read with one write, and keeps what the kernel
// refuses until it takes it. Where one block to receive into serves all connections it is of kBlock
// bytes.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace peer {

constexpr std::size_t kBlock = 64 * 1024;
constexpr int kBacklog = 4096;

enum class Mode { echo, framed, sink, broadcast };

struct Arguments {
  std::uint16_t port = 0;
  Mode mode = Mode::echo;
};

// Answers `--version` with `library` and ends the program; also when it makes no sense of them.
inline Arguments arguments(int argc, char** argv, const std::string& library) {
  const std::string_view first = argc > 1 ? argv[1] : "";
  const std::string_view second = argc > 2 ? argv[2] : "";
  if (argc == 2 && first == "--version") {
    std::puts(library.c_str());
    std::exit(0);
  }
  Arguments parsed;
  char* end = argv[0];
  if (!first.empty()) parsed.port = static_cast<std::uint16_t>(std::strtoul(argv[1], &end, 10));
  if (second == "--framed") parsed.mode = Mode::framed;
  if (second == "--sink") parsed.mode = Mode::sink;
  if (second == "--broadcast") parsed.mode = Mode::broadcast;
  const bool second_known = argc == 2 || parsed.mode != Mode::echo;
  if (first.empty() || *end != '\0' || argc > 3 || !second_known) {
    std::fprintf(stderr, "usage: %s PORT [--framed | --sink | --broadcast] | --version\n", argv[0]);
    std::exit(2);
  }
  return parsed;
}

inline void announce(int port) {
  std::printf("listening on 127.0.0.1:%d\n", port);
  std::fflush(stdout);
}

[[noreturn]] inline void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

inline sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

// Listens, and is announced.
inline int listen_on(std::uint16_t port, int flags = SOCK_NONBLOCK) {
  const int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);  // inherited by what it accepts
  sockaddr_in address = loopback(port);
  socklen_t size = sizeof address;
  auto* native = reinterpret_cast<sockaddr*>(&address);
  if (bind(fd, native, size) != 0 || listen(fd, kBacklog) != 0) fail("listen");
  getsockname(fd, native, &size);
  announce(ntohs(address.sin_port));
  return fd;
}

// A socket that receives datagrams, and is announced.
inline int receive_datagrams_on(std::uint16_t port) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  sockaddr_in address = loopback(port);
  socklen_t size = sizeof address;
  auto* native = reinterpret_cast<sockaddr*>(&address);
  if (bind(fd, native, size) != 0) fail("bind");
  getsockname(fd, native, &size);
  announce(ntohs(address.sin_port));
  return fd;
}

// How many bytes of complete frames lie at the front.
inline std::size_t whole_frames(const char* from, std::size_t n) {
  std::size_t at = 0;
  while (n - at >= 4) {
    std::uint32_t length;
    std::memcpy(&length, from + at, 4);
    const std::size_t whole = 4 + std::size_t{ntohl(length)};
    if (n - at < whole) break;
    at += whole;
  }
  return at;
}

// What one connection sends, cut into frames.
class Frames {
 public:
  // Calls use(bytes, size) with all that are complete by now, if any is; keeps the rest.
  template <class Use>
  void take(const char* from, std::size_t n, Use&& use) {
    if (!partial_.empty()) {
      partial_.append(from, n);
      const std::size_t whole = whole_frames(partial_.data(), partial_.size());
      if (whole == 0) return;
      use(partial_.data(), whole);
      partial_.erase(0, whole);
      return;
    }
    const std::size_t whole = whole_frames(from, n);
    if (whole > 0) use(from, whole);
    if (whole < n) partial_.assign(from + whole, n - whole);
  }

 private:
  std::string partial_;
};

inline std::array<char, 8> big_endian(std::uint64_t value) {
  std::array<char, 8> bytes;
  for (char& byte : bytes) {
    byte = static_cast<char>(value >> 56);
    value <<= 8;
  }
  return bytes;
}

}  // namespace peer
