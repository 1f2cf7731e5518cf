// SimNetwork is what lies between simulated sockets: who is bound where, which names Unix sockets
// have in the file system, which groups have members. It lives in a SimKernel.
#pragma once

#include "support/sim/sim_node.h"
#include "support/sim/sim_socket.h"

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <sys/stat.h>

namespace millrace::test {

class SimDatagram;

class SimNetwork {
 public:
  explicit SimNetwork(SimKernel& kernel) : kernel_(kernel) {}
  ~SimNetwork();

  void enter(const std::shared_ptr<SimSocket>& socket);
  // Gives the socket this address, a free port or name if it says none; tells which.
  int bind(SimSocket& socket, SimAddress& address);
  void unbind(SimSocket& socket);
  // Who accepts connections there. Null: nobody.
  SimSocket* listener(const SimAddress& address) const;
  // The Unix socket that has this name, and the error of who looks for one of that type.
  SimSocket* named(const SimAddress& address, int type, int* error) const;
  // The files in the only directory. That of a Unix socket stays when the socket is closed.
  std::shared_ptr<SimNode> node(const std::string& path) const;
  std::shared_ptr<SimNode> make_node(const std::string& path, mode_t mode);
  bool remove_node(const std::string& path) { return nodes_.erase(path) > 0; }
  // Who gets a datagram from there to there: one, or all members of a group.
  std::vector<SimDatagram*> receivers(const SimAddress& to, const SimAddress& from) const;
  void black_hole(std::uint16_t port) { black_holes_.insert(port); }
  bool swallows(std::uint16_t port) const { return black_holes_.count(port) > 0; }

 private:
  bool in_use(const SimSocket& by, const SimAddress& address) const;
  int bind_name(SimSocket& socket, SimAddress& address);
  std::uint16_t free_port();

  SimKernel& kernel_;
  std::vector<std::weak_ptr<SimSocket>> sockets_;
  std::vector<SimSocket*> bound_;
  std::map<std::string, std::shared_ptr<SimNode>> nodes_;
  std::uint64_t node_number_ = 0;
  std::set<std::uint16_t> black_holes_;
  std::uint16_t next_port_ = 32768;
  std::uint32_t next_name_ = 0;
};

}  // namespace millrace::test
