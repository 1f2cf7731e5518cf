// SimMessage is what one sendmsg() gives, SimReceived what one recvmsg() gets: bytes, address and
// what the control messages say. Values.
#pragma once

#include <millrace/unique_fd.h>

#include "support/sim/sim_address.h"
#include "support/sim/sim_file.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <linux/errqueue.h>
#include <sys/socket.h>

namespace millrace::test {

// A descriptor under way (SCM_RIGHTS): of a simulated file, or of a real one.
struct SimPassed {
  SimHandle file;
  std::shared_ptr<UniqueFd> real;
};

struct SimMessage {
  std::string bytes;
  std::optional<SimAddress> to;
  std::vector<SimPassed> descriptors;
  std::optional<SimAddress> source;  // IP_PKTINFO, IPV6_PKTINFO: from which of our addresses
  std::size_t segment = 0;           // UDP_SEGMENT
};

struct SimReceived {
  std::string bytes;     // as much as there was room for
  std::size_t size = 0;  // of the whole datagram
  bool truncated = false;
  std::optional<SimAddress> from;
  std::vector<SimPassed> descriptors;
  std::optional<SimAddress> local;  // IP_PKTINFO, IPV6_RECVPKTINFO
  int segment = 0;                  // UDP_GRO
  std::uint32_t missed = 0;         // SO_RXQ_OVFL
  struct Error {
    sock_extended_err code;
    SimAddress offender;  // of the family of the socket
  };
  std::optional<Error> error;  // MSG_ERRQUEUE
};

// What the message says but its bytes. 0, or the error that sendmsg() has of it.
int read_control(const msghdr& from, const std::function<std::optional<SimPassed>(int fd)>& pass,
                 SimMessage& to);
// Fills address, control messages and flags in. `install` gives a descriptor, or -1 when there are
// too many.
void write_control(const SimReceived& from, const std::function<int(const SimPassed&)>& install,
                   msghdr& to);

}  // namespace millrace::test
