#include "server_process.h"

#include <millrace/unique_fd.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace millrace::bench {
namespace {

constexpr int kStartMilliseconds = 10'000;
constexpr int kEndMilliseconds = 10'000;
// From the moment that a client sees connections end until the process that held them is gone.
constexpr int kCrashMilliseconds = 200;

std::string first_line(int fd) {
  std::string line;
  char c;
  pollfd ready{fd, POLLIN, 0};
  while (::poll(&ready, 1, kStartMilliseconds) == 1 && ::read(fd, &c, 1) == 1 && c != '\n') {
    line += c;
  }
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

ServerProcess::ServerProcess(const std::vector<std::string>& command, int cpu)
    : program_(command[0]) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) {
    // No server outlives a comparison that was interrupted. Not SIGKILL: a tracer that it hits
    // would leave what it traces behind.
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    ::signal(SIGPIPE, SIG_DFL);  // what the client ignores is its own affair
    try {
      pin_to_cpu(cpu);
    } catch (const std::exception& e) {
      // Not further up: there this process would go on with the comparison, beside its parent.
      std::fprintf(stderr, "%s: %s\n", program_.c_str(), e.what());
      ::_exit(126);
    }
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
  if (line.rfind(expected, 0) != 0) {
    const std::string end = how_it_ended();
    terminate();
    throw std::runtime_error(program_ + " does not start" + (end.empty() ? "" : ": " + end));
  }
  address_ = SocketAddress::parse(line.substr(expected.size()));
}

ServerProcess::~ServerProcess() {
  terminate();
}

bool ServerProcess::wait(int milliseconds) {
  if (ended_) return true;
  const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  pollfd gone{process.get(), POLLIN, 0};
  if (process && ::poll(&gone, 1, milliseconds) != 1) return false;
  ended_ = ::waitpid(pid_, &status_, process ? 0 : WNOHANG) == pid_;
  return ended_;
}

void ServerProcess::terminate() {
  if (ended_) return;
  ::kill(pid_, SIGTERM);
  if (wait(kEndMilliseconds)) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, &status_, 0);
  ended_ = true;
}

std::string ServerProcess::how_it_ended() {
  if (!wait(kCrashMilliseconds)) return {};
  if (WIFSIGNALED(status_)) {
    const int number = WTERMSIG(status_);
    return program_ + " ended by signal " + std::to_string(number) + " (" + ::strsignal(number) +
           ")";
  }
  return program_ + " ended with status " + std::to_string(WEXITSTATUS(status_));
}

}  // namespace millrace::bench
