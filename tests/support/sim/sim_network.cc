#include "support/sim/sim_network.h"

#include "support/sim/sim_datagram.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include <unistd.h>

namespace millrace::test {
namespace {

constexpr mode_t kUmask = 022;

bool in_directory(const std::string& path) {
  constexpr std::string_view kDirectory = SimKernel::kDirectory;
  return path.starts_with(kDirectory) && path.find('/', kDirectory.size()) == std::string::npos;
}

bool set(const SimSocket& socket, int name) {
  return socket.option(SOL_SOCKET, name) != 0;
}

}  // namespace

SimNetwork::~SimNetwork() {
  for (const auto& each : sockets_) {
    if (const auto socket = each.lock()) socket->forget_all();
  }
}

void SimNetwork::enter(const std::shared_ptr<SimSocket>& socket) {
  sockets_.push_back(socket);
}

bool SimNetwork::in_use(const SimSocket& by, const SimAddress& address) const {
  return std::any_of(bound_.begin(), bound_.end(), [&](const SimSocket* other) {
    if (other->is_unix() || by.is_unix()) {
      return other->domain() == by.domain() && other->type() == by.type() &&
             other->local().name() == address.name();
    }
    if (other->type() != by.type() || other->local().port() != address.port()) return false;
    if (!other->local().any_host() && !address.any_host() && !other->local().same_host(address)) {
      return false;
    }
    if (set(*other, SO_REUSEPORT) && set(by, SO_REUSEPORT)) return false;
    const bool both_reuse = set(*other, SO_REUSEADDR) && set(by, SO_REUSEADDR);
    return !both_reuse || other->listening();
  });
}

int SimNetwork::bind(SimSocket& socket, SimAddress& address) {
  if (socket.is_unix()) return bind_name(socket, address);
  if (address.port() == 0) {
    do {
      address.set_port(free_port());
    } while (in_use(socket, address));
  } else if (in_use(socket, address)) {
    return EADDRINUSE;
  }
  bound_.push_back(&socket);
  return 0;
}

int SimNetwork::bind_name(SimSocket& socket, SimAddress& address) {
  if (address.is_path()) {
    const std::string path = address.name();
    if (nodes_.count(path) > 0) return EADDRINUSE;
    if (!in_directory(path)) return ENOENT;
    make_node(path, S_IFSOCK | (socket.file_mode() & ~kUmask))->socket = &socket;
    return 0;
  }
  if (!address.name().empty()) {
    if (in_use(socket, address)) return EADDRINUSE;
  } else {
    do {
      char name[8];
      std::snprintf(name, sizeof name, "%05x", next_name_++);
      address = SimAddress::abstract(name);
    } while (in_use(socket, address));
  }
  bound_.push_back(&socket);
  return 0;
}

void SimNetwork::unbind(SimSocket& socket) {
  std::erase(bound_, &socket);
  for (auto& [path, node] : nodes_) {
    if (node->socket == &socket) node->socket = nullptr;
  }
}

std::shared_ptr<SimNode> SimNetwork::node(const std::string& path) const {
  const auto found = nodes_.find(path);
  return found == nodes_.end() ? nullptr : found->second;
}

std::shared_ptr<SimNode> SimNetwork::make_node(const std::string& path, mode_t mode) {
  auto made = std::make_shared<SimNode>(SimNode{++node_number_, mode, ::geteuid(), ::getegid()});
  nodes_[path] = made;
  return made;
}

std::uint16_t SimNetwork::free_port() {
  if (next_port_ > 60'000) next_port_ = 32768;
  return next_port_++;
}

SimSocket* SimNetwork::listener(const SimAddress& address) const {
  std::vector<SimSocket*> found;  // in the order in which they were bound: runs must repeat
  for (SimSocket* each : bound_) {
    if (!each->listening() || each->is_unix() || each->local().port() != address.port()) continue;
    if (each->local().any_host() || each->local().same_host(address)) found.push_back(each);
  }
  if (found.empty()) return nullptr;
  return found[kernel_.order(found.size())];
}

SimSocket* SimNetwork::named(const SimAddress& address, int type, int* error) const {
  *error = ECONNREFUSED;
  if (address.is_path()) {
    const auto file = node(address.name());
    if (!file) *error = ENOENT;
    if (!file || !file->socket) return nullptr;
    if (file->socket->type() == type) return file->socket;
    *error = EPROTOTYPE;
    return nullptr;
  }
  if (address.name().empty()) *error = EINVAL;
  for (SimSocket* each : bound_) {
    if (each->is_unix() && each->type() == type && each->local().name() == address.name()) {
      return each;
    }
  }
  return nullptr;
}

std::vector<SimDatagram*> SimNetwork::receivers(const SimAddress& to,
                                                const SimAddress& from) const {
  std::vector<SimDatagram*> all;
  for (SimSocket* each : bound_) {
    auto* socket = dynamic_cast<SimDatagram*>(each);
    if (socket && !socket->is_unix()) all.push_back(socket);
  }
  std::vector<SimDatagram*> found;
  if (to.multicast()) {
    const bool joined_by_someone = std::any_of(
        all.begin(), all.end(), [&](const SimDatagram* each) { return each->member(to, from); });
    for (SimDatagram* each : all) {
      if (each->score(to, from) < 0) continue;
      if (each->member(to, from) || (joined_by_someone && each->takes_all_groups(to))) {
        found.push_back(each);
      }
    }
    return found;
  }
  int best = -1;
  for (SimDatagram* each : all) {
    const int score = each->score(to, from);
    if (score < 0 || score < best) continue;
    if (score > best) found.clear();
    best = score;
    found.push_back(each);
  }
  if (found.size() <= 1) return found;
  // Of several the one that was bound last, unless they have agreed to share.
  const bool shared = set(*found.back(), SO_REUSEPORT);
  return {found[shared ? kernel_.order(found.size()) : found.size() - 1]};
}

}  // namespace millrace::test
