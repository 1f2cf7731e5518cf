#include "support/process.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace millrace::test {
namespace {

constexpr int kPatienceMs = 10'000;

// The next bytes of `fd` into `to`; false at its end or when patience is over.
bool read_some(int fd, std::string& to, std::size_t most) {
  pollfd ready{fd, POLLIN, 0};
  if (fd < 0 || ::poll(&ready, 1, kPatienceMs) != 1) return false;
  std::string buffer(most, '\0');
  const ssize_t n = ::read(fd, buffer.data(), most);
  if (n <= 0) return false;
  to.append(buffer, 0, static_cast<std::size_t>(n));
  return true;
}

std::string line_of(int fd) {
  std::string line;
  while (read_some(fd, line, 1)) {
    if (line.back() == '\n') {
      line.pop_back();
      break;
    }
  }
  return line;
}

}  // namespace

std::map<int, std::string> open_descriptors() {
  std::map<int, std::string> found;
  DIR* directory = ::opendir("/proc/self/fd");
  if (!directory) throw std::runtime_error("cannot read /proc/self/fd");
  while (const dirent* entry = ::readdir(directory)) {
    const int fd = std::atoi(entry->d_name);
    if (entry->d_name[0] == '.' || fd == ::dirfd(directory)) continue;
    std::error_code gone;
    found[fd] = std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), gone);
  }
  ::closedir(directory);
  return found;
}

std::size_t raise_descriptor_limit(std::size_t wanted) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_max < wanted) {
    const rlimit raised{wanted, wanted};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) return wanted;
  }
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, wanted);
  ::setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

DescriptorLimit::DescriptorLimit(std::size_t room) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  before_ = limit.rlim_cur;
  // The limit is on the numbers, and the lowest free one is taken: count what lies free below it.
  const auto open = open_descriptors();
  int number = 0;
  for (std::size_t free = 0; free < room || open.count(number) != 0; ++number) {
    if (open.count(number) == 0) ++free;
  }
  limit.rlim_cur = static_cast<rlim_t>(number);
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) throw std::runtime_error("setrlimit");
}

DescriptorLimit::~DescriptorLimit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = before_;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

DescriptorCopies::DescriptorCopies() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  child_ = ::fork();
  if (child_ == 0) {
    ::close(ends[1]);
    char none;
    while (::read(ends[0], &none, 1) < 0 && errno == EINTR) {
    }
    ::_exit(0);
  }
  ::close(ends[0]);
  release_ = ends[1];
  if (child_ < 0) throw std::runtime_error("fork");
}

DescriptorCopies::~DescriptorCopies() {
  ::close(release_);
  ::waitpid(child_, nullptr, 0);
}

Program::Program(const std::vector<std::string>& command) {
  int in[2], out[2], err[2];
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0) {
    throw std::runtime_error("pipe2");
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err[1], STDERR_FILENO);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int error =
      ::posix_spawnp(&pid_, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(in[0]);
  ::close(out[1]);
  ::close(err[1]);
  input_ = in[1];
  output_ = out[0];
  error_ = err[0];
  if (error != 0) throw std::runtime_error("cannot start " + command[0]);
}

Program::~Program() {
  if (status_ < 0) {
    ::kill(pid_, SIGKILL);
    wait();
  }
  close_input();
  ::close(output_);
  ::close(error_);
}

std::string Program::read_line() {
  return line_of(output_);
}
std::string Program::read_error_line() {
  return line_of(error_);
}

bool Program::has_output() const {
  pollfd ready{output_, POLLIN, 0};
  return ::poll(&ready, 1, 0) == 1;
}

std::string Program::read_rest() {
  std::string rest;
  while (read_some(output_, rest, 4096)) {
  }
  return rest;
}

void Program::write(const std::string& text) {
  if (::write(input_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    throw std::runtime_error("the program does not read its input");
  }
}

void Program::close_input() {
  if (input_ >= 0) ::close(std::exchange(input_, -1));
}

void Program::signal(int number) {
  ::kill(pid_, number);
}

int Program::wait() {
  if (status_ >= 0) return status_;
  // A descriptor that becomes readable when the process ends: waiting without polling.
  const int handle = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));
  pollfd ended{handle, POLLIN, 0};
  if (handle < 0 || ::poll(&ended, 1, kPatienceMs) != 1) ::kill(pid_, SIGKILL);
  if (handle >= 0) ::close(handle);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  status_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return status_;
}

std::size_t virtual_bytes() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

std::size_t resident_bytes() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace millrace::test
