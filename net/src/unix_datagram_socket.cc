#include <millrace/error.h>
#include <millrace/unix_datagram_socket.h>

#include "apply_datagram_options.h"
#include "datagram_core.h"
#include "datagram_hooks.h"
#include "unix_path.h"

#include <cerrno>
#include <utility>

#include <fmt/format.h>

namespace millrace {
namespace {

void check_unix(const SocketAddress& address, const char* call) {
  if (address.family() == SocketAddress::Family::unix_domain) return;
  throw_system_error(
      EAFNOSUPPORT, fmt::format("{} {}: not the name of a Unix socket", call, address.to_string()));
}

}  // namespace

UnixDatagramSocket::UnixDatagramSocket(EventLoop& loop, UnixDatagramCallbacks callbacks,
                                       const DatagramOptions& options)
    : DatagramSocket(loop, bind_hooks(*this, std::move(callbacks)), options) {}

void UnixDatagramSocket::bind(std::string_view address, const UnixPathOptions& path) {
  bind(SocketAddress::parse(address), path);
}

void UnixDatagramSocket::bind(const SocketAddress& address, const UnixPathOptions& path) {
  check_unix(address, "bind");
  core().check_unbound(address);
  UniqueFd socket = open_datagram_socket(address, core().options());
  UnixPath bound(socket.get(), address, path);
  core().open(std::move(socket), address, std::move(bound));
}

void UnixDatagramSocket::connect(std::string_view peer) {
  connect(SocketAddress::parse(peer));
}

void UnixDatagramSocket::connect(const SocketAddress& peer) {
  check_unix(peer, "connect");
  core().connect(peer);
}

}  // namespace millrace
