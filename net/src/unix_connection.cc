#include <millrace/connection.h>
#include <millrace/error.h>
#include <millrace/unix_connection.h>

#include "connection_core.h"
#include "syscalls.h"

#include <string>
#include <utility>

namespace millrace {
namespace {

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

}  // namespace

std::optional<PeerCredentials> peer_credentials(const Connection& c) noexcept {
  const ConnectionCore& core = ConnectionCore::of(c);
  ucred native{};
  socklen_t size = sizeof native;
  if (!core.over_unix() ||
      sys::getsockopt(core.fd(), SOL_SOCKET, SO_PEERCRED, &native, &size) != 0) {
    return {};
  }
  return PeerCredentials{native.pid, native.uid, native.gid};
}

UniqueFd peer_process(const Connection& c) noexcept {
  const ConnectionCore& core = ConnectionCore::of(c);
  int fd = -1;
  socklen_t size = sizeof fd;
  if (!core.over_unix() || sys::getsockopt(core.fd(), SOL_SOCKET, SO_PEERPIDFD, &fd, &size) != 0) {
    return {};
  }
  return UniqueFd(fd);
}

SendResult send_descriptors(Connection& c, ByteView bytes, std::vector<UniqueFd>&& descriptors) {
  return ConnectionCore::of(c).send_descriptors(bytes, descriptors);
}

std::vector<UniqueFd> take_descriptors(Connection& c) noexcept {
  return ConnectionCore::of(c).take_descriptors();
}

std::vector<UniqueFd> ConnectionCore::take_descriptors() noexcept {
  auto* received = find<Received>();
  return received ? std::exchange(received->descriptors, {}) : std::vector<UniqueFd>();
}

// False when the connection has failed because of them.
bool ConnectionCore::keep_descriptors(PassedDescriptors& passed) {
  if (passed.lost) {
    break_off(error::descriptors_lost,
              "the peer passed more than this process may have open (RLIMIT_NOFILE)");
    return false;
  }
  std::vector<UniqueFd>& kept = obtain<Received>().descriptors;
  const std::size_t limit = options().limits.receive_descriptors;
  if (kept.size() + passed.count > limit) {
    break_off(error::too_many_descriptors, std::to_string(kept.size() + passed.count) +
                                               " received and not taken, limit " +
                                               std::to_string(limit));
    return false;
  }
  kept.reserve(kept.size() + passed.count);
  for (std::size_t i = 0; i < passed.count; ++i) kept.push_back(std::move(passed.descriptors[i]));
  return true;
}

}  // namespace millrace
