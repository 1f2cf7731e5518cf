#include "server_process.h"

#include <millrace/unique_fd.h>

#include <stdexcept>
#include <utility>

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace millrace::bench {
namespace {

std::string first_line(int fd) {
  std::string line;
  char c;
  while (::read(fd, &c, 1) == 1 && c != '\n') line += c;
  return line;
}

}  // namespace

void pin_to_cpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) {
    throw std::runtime_error("cannot run on processor " + std::to_string(cpu));
  }
}

ServerProcess::ServerProcess(const std::vector<std::string>& command, int cpu) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // no server outlives a comparison that was interrupted
    pin_to_cpu(cpu);
    ::dup2(input.get(), STDOUT_FILENO);
    std::vector<char*> arguments;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  input.reset();
  const std::string line = first_line(output.get());
  const std::string expected = "listening on ";
  if (line.rfind(expected, 0) != 0) throw std::runtime_error(command[0] + " does not start");
  address_ = SocketAddress::parse(line.substr(expected.size()));
}

ServerProcess::~ServerProcess() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

}  // namespace millrace::bench
