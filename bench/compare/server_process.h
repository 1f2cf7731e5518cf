// A server in a process of its own, on a processor of its own.
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
  // Asks it to end (SIGTERM) and waits until it has; kills it if that takes more than ten seconds.
  void terminate();
  // "ended by signal 11 (Segmentation fault)" if it has ended by itself or does so within a moment;
  // empty if it runs.
  std::string how_it_ended();
  const SocketAddress& address() const { return address_; }

 private:
  // Whether it has ended, at most so much later.
  bool wait(int milliseconds);

  std::string program_;
  pid_t pid_ = -1;
  int status_ = 0;  // as of waitpid(), once it has ended
  bool ended_ = false;
  SocketAddress address_;
};

}  // namespace millrace::bench
