// An echo server in a process of its own, on a processor of its own.
#pragma once

#include <millrace/socket_address.h>

#include <string>
#include <vector>

#include <sys/types.h>

namespace millrace::bench {

// Pins the calling thread, or a process that it starts later, to one processor.
void pin_to_cpu(int cpu);

class ServerProcess {
 public:
  // Starts the program on `cpu` and waits until it says `listening on ADDRESS`. Throws
  // std::runtime_error naming the program when it does not.
  ServerProcess(const std::vector<std::string>& command, int cpu);
  ~ServerProcess();  // ends it
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  pid_t pid() const { return pid_; }
  const SocketAddress& address() const { return address_; }

 private:
  pid_t pid_ = -1;
  SocketAddress address_;
};

}  // namespace millrace::bench
