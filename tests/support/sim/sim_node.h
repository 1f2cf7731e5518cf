// SimNode is a file of the simulated directory: that of a Unix socket, or an empty one. SimOpenNode
// is what a descriptor of it refers to, with its lock. They live in a SimKernel.
#pragma once

#include "support/sim/sim_file.h"

#include <cerrno>
#include <cstdint>
#include <memory>
#include <utility>

#include <sys/file.h>
#include <sys/stat.h>

namespace millrace::test {

class SimSocket;
class SimOpenNode;

struct SimNode {
  std::uint64_t number;
  mode_t mode;  // with its kind
  uid_t owner;
  gid_t group;
  SimSocket* socket = nullptr;  // that is bound to it
  const SimOpenNode* locked_by = nullptr;

  void describe(struct stat* to) const {
    *to = {};
    to->st_dev = 1;
    to->st_ino = number;
    to->st_mode = mode;
    to->st_uid = owner;
    to->st_gid = group;
    to->st_nlink = 1;
  }
  void set_permissions(mode_t to) { mode = (mode & S_IFMT) | (to & 07777u); }
};

class SimOpenNode final : public SimFile {
 public:
  SimOpenNode(SimKernel& kernel, std::shared_ptr<SimNode> node)
      : SimFile(kernel), node_(std::move(node)) {}
  SimNode& node() { return *node_; }
  std::uint32_t poll() const override { return 0; }
  void close() override {
    if (node_->locked_by == this) node_->locked_by = nullptr;
  }
  int lock(int operation) {
    if ((operation & LOCK_UN) != 0) {
      close();
      return 0;
    }
    if (node_->locked_by && node_->locked_by != this) return EWOULDBLOCK;
    node_->locked_by = this;
    return 0;
  }

 private:
  std::shared_ptr<SimNode> node_;
};

}  // namespace millrace::test
