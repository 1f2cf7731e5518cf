// The test's own process, and others that it starts.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include <sys/types.h>

namespace millrace::test {

// What the descriptors of this process refer to, by number ("socket:[123]").
std::map<int, std::string> open_descriptors();

// Memory of this process: mapped, and really there.
std::size_t virtual_bytes();
std::size_t resident_bytes();

// Raises the limit of open descriptors to `wanted` if it may, and says what it is then.
std::size_t raise_descriptor_limit(std::size_t wanted);

// While it lives, this process may open only `room` more descriptors; one more is EMFILE.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(std::size_t room);
  ~DescriptorLimit();
  DescriptorLimit(const DescriptorLimit&) = delete;
  DescriptorLimit& operator=(const DescriptorLimit&) = delete;

 private:
  std::size_t before_;
};

// A child of this process that does nothing but hold copies of its descriptors, while this object
// lives.
class DescriptorCopies {
 public:
  DescriptorCopies();
  ~DescriptorCopies();
  DescriptorCopies(const DescriptorCopies&) = delete;
  DescriptorCopies& operator=(const DescriptorCopies&) = delete;

 private:
  pid_t child_;
  int release_;  // the child ends when this is closed
};

// A program that runs until it is told to end or this object goes.
class Program {
 public:
  // Throws std::runtime_error when it cannot be started.
  explicit Program(const std::vector<std::string>& command);
  ~Program();  // kills it
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  pid_t pid() const { return pid_; }
  // The next line of its standard output or standard error, without the newline; what has come of
  // it if the program ends or ten seconds pass.
  std::string read_line();
  std::string read_error_line();
  // Whether read_line() would find something, or the end, without waiting.
  bool has_output() const;
  // Everything that it still writes to standard output, until it closes it.
  std::string read_rest();
  void write(const std::string& text);  // to its standard input
  void close_input();
  void signal(int number);
  // Its exit status, or 128 + the number of the signal that ended it. Waits ten seconds at most,
  // then kills it.
  int wait();

 private:
  pid_t pid_ = -1;
  int input_ = -1;
  int output_ = -1;
  int error_ = -1;
  int status_ = -1;
};

}  // namespace millrace::test
