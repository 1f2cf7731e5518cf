// The other half of many_connections_test.cc, in a process of its own: opens many connections,
// sends a message of its own on each, checks that this very message comes back, and waits until the
// server has closed them all. One line on standard output for each step that all of them have made.
//
//   net_many_peers PORT COUNT
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace {

[[noreturn]] void give_up(const char* what, int number) {
  std::fprintf(stderr, "%s of peer %d: %s\n", what, number, std::strerror(errno));
  std::exit(1);
}

int open_connection(std::uint16_t port, int number) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) give_up("socket", number);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    give_up("connect", number);
  }
  const timeval patience{60, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return fd;
}

std::string message_of(int number) {
  return "this is peer " + std::to_string(number) + "\n";
}

void receive(int fd, int number) {
  const std::string expected = message_of(number);
  std::string got(expected.size(), '\0');
  const ssize_t n = ::recv(fd, got.data(), got.size(), MSG_WAITALL);
  if (n != static_cast<ssize_t>(got.size())) give_up("receive", number);
  if (got != expected) give_up("somebody else's answer instead", number);
}

void say(const char* step) {
  std::puts(step);
  std::fflush(stdout);
}

}  // namespace

int main(int, char** arguments) {
  const auto port = static_cast<std::uint16_t>(std::atoi(arguments[1]));
  const int count = std::atoi(arguments[2]);
  std::vector<int> sockets;
  for (int i = 0; i < count; ++i) sockets.push_back(open_connection(port, i));
  say("connected");
  for (int i = 0; i < count; ++i) {
    const std::string message = message_of(i);
    const auto n = ::send(sockets[static_cast<std::size_t>(i)], message.data(), message.size(), 0);
    if (n != static_cast<ssize_t>(message.size())) give_up("send", i);
  }
  for (int i = 0; i < count; ++i) receive(sockets[static_cast<std::size_t>(i)], i);
  say("echoed");
  for (int i = 0; i < count; ++i) {
    const int fd = sockets[static_cast<std::size_t>(i)];
    char byte;
    if (::recv(fd, &byte, 1, 0) != 0) give_up("end", i);
    ::close(fd);
  }
  say("ended");
}
