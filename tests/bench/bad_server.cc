// A server as bench/compare starts it, with something wrong with it, as MILLRACE_BAD says:
//   silent   listens and never says so before it ends
//   flip     echoes with one bit turned in every byte
//   crash    ends by a signal when something arrives
//   close    closes every connection when something arrives
//   count    tells 1 as the number of bytes that it received
// Otherwise it echoes. One connection after the other.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

int main() {
  const char* set = std::getenv("MILLRACE_BAD");
  const std::string bad = set ? set : "";
  if (bad == "silent") return 3;
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* native = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener, native, size) != 0 || ::listen(listener, 128) != 0) return 1;
  ::getsockname(listener, native, &size);
  std::printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  static char block[64 * 1024];
  for (;;) {
    const int peer = ::accept(listener, nullptr, nullptr);
    for (ssize_t n; (n = ::recv(peer, block, sizeof block, 0)) > 0;) {
      if (bad == "crash") std::raise(SIGABRT);
      if (bad == "close") break;
      if (bad == "count") continue;
      for (ssize_t i = 0; bad == "flip" && i < n; ++i) block[i] = static_cast<char>(block[i] ^ 1);
      if (::send(peer, block, static_cast<std::size_t>(n), MSG_NOSIGNAL) != n) break;
    }
    const char one[8] = {0, 0, 0, 0, 0, 0, 0, 1};
    if (bad == "count") ::send(peer, one, sizeof one, MSG_NOSIGNAL);
    ::close(peer);
  }
}
