// A pipe, or a pair of connected sockets, without waiting on either side. Ends close with it.
#pragma once

#include <millrace/unique_fd.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace millrace::test {

struct Channel {
  UniqueFd in;  // what is written to `out` is read here
  UniqueFd out;

  static Channel pipe() {
    int ends[2];
    if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
  }
  static Channel sockets() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
      throw std::runtime_error("socketpair");
    }
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
  }

  void write(std::string_view text = "x") const {
    EXPECT_EQ(::write(out.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  // All that is there now.
  std::string read() const {
    char buffer[256];
    const ssize_t n = ::read(in.get(), buffer, sizeof buffer);
    return {buffer, n > 0 ? static_cast<std::size_t>(n) : 0};
  }
};

}  // namespace millrace::test
