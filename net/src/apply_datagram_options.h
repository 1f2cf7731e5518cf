// Opens datagram sockets, with DatagramOptions on them.
#pragma once

#include <millrace/datagram_options.h>
#include <millrace/socket_address.h>
#include <millrace/unique_fd.h>

namespace millrace {

// For addresses of the family of `address`. Throws std::system_error naming the option and the
// address.
UniqueFd open_datagram_socket(const SocketAddress& address, const DatagramOptions& options);

// Of one that is open: joins or leaves. Throws std::system_error naming the group.
void change_membership(int fd, bool join, const SocketAddress& group,
                       const MulticastMembership& membership);

}  // namespace millrace
