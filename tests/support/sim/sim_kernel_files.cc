// The calls of SimKernel about files: those in /sim/, which Unix sockets are bound to and which are
// locked beside them.
#include "support/sim/sim_kernel.h"
#include "support/sim/sim_network.h"
#include "support/sim/sim_node.h"
#include "support/sim/sim_socket.h"

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

namespace millrace::test {
namespace {

constexpr std::string_view kByDescriptor = "/proc/self/fd/";

}  // namespace

bool SimKernel::owns(const char* path) noexcept {
  const std::string_view text(path);
  if (!active()) return false;
  if (text.starts_with(kByDescriptor)) return owns(std::atoi(path + kByDescriptor.size()));
  return text.starts_with(kDirectory);
}

int SimKernel::open(const char* path, int flags, mode_t mode) {
  enter();
  if (!room_for_descriptor()) return leave("open", 0, 0, EMFILE);
  auto node = network_->node(path);
  if (!node && (flags & O_CREAT) == 0) return leave("open", 0, 0, ENOENT);
  if (node && (flags & O_EXCL) != 0) return leave("open", 0, 0, EEXIST);
  if (node && S_ISSOCK(node->mode) && (flags & O_PATH) == 0) return leave("open", 0, 0, ENXIO);
  if (!node) node = network_->make_node(path, S_IFREG | mode);
  return leave("open", 0, install(std::make_shared<SimOpenNode>(*this, std::move(node))), 0);
}

int SimKernel::unlink(const char* path) {
  enter();
  return leave("unlink", 0, 0, network_->remove_node(path) ? 0 : ENOENT);
}

int SimKernel::lstat(const char* path, struct stat* to) {
  enter();
  const auto node = network_->node(path);
  if (node) node->describe(to);
  return leave("lstat", 0, 0, node ? 0 : ENOENT);
}

int SimKernel::fstat(int fd, struct stat* to) {
  enter();
  if (auto* open = find<SimOpenNode>(fd)) {
    open->node().describe(to);
    return leave("fstat", fd, 0, 0);
  }
  if (!find_any(fd)) return leave("fstat", fd, 0, EBADF);
  *to = {};
  to->st_mode = find<SimSocket>(fd) ? S_IFSOCK | 0777 : 0600;
  return leave("fstat", fd, 0, 0);
}

// Of a socket that is not bound yet: what its file will have.
int SimKernel::fchmod(int fd, mode_t mode) {
  enter();
  if (auto* open = find<SimOpenNode>(fd)) {
    open->node().set_permissions(mode);
  } else if (auto* socket = find<SimSocket>(fd)) {
    socket->set_file_mode(mode);
  } else {
    return leave("fchmod", fd, 0, EBADF);
  }
  return leave("fchmod", fd, 0, 0);
}

int SimKernel::chmod(const char* path, mode_t mode) {
  enter();
  const std::string_view text(path);
  if (text.starts_with(kByDescriptor)) {
    auto* open = find<SimOpenNode>(std::atoi(path + kByDescriptor.size()));
    if (open) open->node().set_permissions(mode);
    return leave("chmod", 0, 0, open ? 0 : ENOENT);
  }
  const auto node = network_->node(path);
  if (node) node->set_permissions(mode);
  return leave("chmod", 0, 0, node ? 0 : ENOENT);
}

int SimKernel::fchownat(int fd, uid_t owner, gid_t group) {
  enter();
  auto* open = find<SimOpenNode>(fd);
  if (!open) return leave("fchownat", fd, 0, EBADF);
  if (owner != static_cast<uid_t>(-1)) open->node().owner = owner;
  if (group != static_cast<gid_t>(-1)) open->node().group = group;
  return leave("fchownat", fd, 0, 0);
}

int SimKernel::flock(int fd, int operation) {
  enter();
  auto* open = find<SimOpenNode>(fd);
  return leave("flock", fd, 0, open ? open->lock(operation) : EBADF);
}

// Everything here is non-blocking and closed on exec.
int SimKernel::fcntl(int fd, int command) {
  enter();
  if (!find_any(fd)) return leave("fcntl", fd, 0, EBADF);
  switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: {
      if (!room_for_descriptor()) return leave("fcntl", fd, 0, EMFILE);
      const SimHandle same = files_[static_cast<std::size_t>(fd - kFirstDescriptor)];
      return leave("fcntl", fd, install(same), 0);
    }
    case F_GETFL:
      return leave("fcntl", fd, O_RDWR | O_NONBLOCK, 0);
    case F_GETFD:
      return leave("fcntl", fd, FD_CLOEXEC, 0);
    default:
      return leave("fcntl", fd, 0, 0);
  }
}

}  // namespace millrace::test
