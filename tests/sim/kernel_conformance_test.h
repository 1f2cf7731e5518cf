// KernelConformanceTest is a test that runs twice, on the real kernel and on the simulated one,
// with sockets made and asked in as few words as possible.
//
//   TEST_P(KernelConformanceTest, BytesArrive) {
//     const Pair pair = tcp_pair();
//     EXPECT_SAYS(send(pair.client, "hello"), 5, 0);
//     EXPECT_TRUE(has(pair.server, EPOLLIN));
//     EXPECT_EQ(receive(pair.server), "hello");
//   }
//   INSTANTIATE_TEST_SUITE_P(Kernels, KernelConformanceTest, ::testing::Bool(), kernel_name);
#pragma once

#include <millrace/unique_fd.h>

#include "support/sim/sim_kernel.h"

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace millrace::test {

inline constexpr std::uint32_t kAll = EPOLLIN | EPOLLOUT | EPOLLRDHUP;

// What a call said: its result, or the error.
struct Said {
  ssize_t result;
  int error;
};
inline Said said(ssize_t result) {
  return {result, result < 0 ? errno : 0};
}

struct Pair {
  UniqueFd client;
  UniqueFd server;
};

class KernelConformanceTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) kernel_.emplace(decisions_);
  }

  static UniqueFd tcp() {
    UniqueFd made(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    EXPECT_TRUE(made);
    return made;
  }
  static sockaddr_in loopback(std::uint16_t port) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return to;
  }
  static int bind_to(const UniqueFd& fd, std::uint16_t port) {
    const sockaddr_in to = loopback(port);
    return ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
  static int connect_to(const UniqueFd& fd, std::uint16_t port) {
    const sockaddr_in to = loopback(port);
    return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to);
  }
  static std::uint16_t port_of(const UniqueFd& fd) {
    sockaddr_in own{};
    socklen_t size = sizeof own;
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&own), &size), 0);
    return ntohs(own.sin_port);
  }
  static UniqueFd listener(int backlog = 16, int buffers = 0) {
    UniqueFd made = tcp();
    if (buffers > 0) set_buffers(made, buffers);
    EXPECT_EQ(bind_to(made, 0), 0);
    EXPECT_EQ(::listen(made.get(), backlog), 0);
    return made;
  }
  static void set_buffers(const UniqueFd& fd, int bytes) {
    EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
    EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), 0);
  }
  static UniqueFd accept(const UniqueFd& from) {
    EXPECT_TRUE(has(from, EPOLLIN));
    UniqueFd made(::accept4(from.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    EXPECT_TRUE(made);
    return made;
  }
  static UniqueFd connecting(std::uint16_t port, int buffers = 0) {
    UniqueFd made = tcp();
    if (buffers > 0) set_buffers(made, buffers);
    EXPECT_EQ(connect_to(made, port), -1);
    EXPECT_EQ(errno, EINPROGRESS);
    return made;
  }
  static Pair tcp_pair(int buffers = 0) {
    const UniqueFd at = listener(16, buffers);
    UniqueFd client = connecting(port_of(at), buffers);
    UniqueFd server = accept(at);
    EXPECT_TRUE(has(client, EPOLLOUT));
    return {std::move(client), std::move(server)};
  }

  // What epoll says of the descriptor now, of what was asked for and of what it says unasked.
  static std::uint32_t events(const UniqueFd& fd, std::uint32_t asked = kAll, int wait_ms = 0) {
    const UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    event.events = asked;
    EXPECT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd.get(), &event), 0);
    epoll_event found{};
    return ::epoll_wait(epoll.get(), &found, 1, wait_ms) == 1 ? found.events : 0;
  }
  // Waits until epoll says `wanted` (all of it); the network has time.
  static bool has(const UniqueFd& fd, std::uint32_t wanted) {
    return until([&] { return (events(fd) & wanted) == wanted; }, fd, wanted);
  }
  // Waits for exactly this. The result is what it was in the end, for messages.
  static std::uint32_t settled(const UniqueFd& fd, std::uint32_t wanted) {
    until([&] { return events(fd) == wanted; }, fd, wanted);
    return events(fd);
  }
  static bool until(const std::function<bool()>& done, const UniqueFd& fd, std::uint32_t wanted) {
    for (int i = 0; i < 2000; ++i) {
      if (done()) return true;
      events(fd, wanted & ~events(fd), 1);  // time passes
    }
    return done();
  }

  static Said send(const UniqueFd& fd, std::string_view bytes) {
    return said(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
  }
  static std::string receive(const UniqueFd& fd, std::size_t n = 100) {
    std::string bytes(n, '\0');
    const ssize_t got = ::recv(fd.get(), bytes.data(), n, 0);
    if (got < 0) return std::string("error ") + ::strerrorname_np(errno);
    return bytes.substr(0, static_cast<std::size_t>(got));
  }
  static void reset_on_close(const UniqueFd& fd) {
    const linger now{1, 0};
    EXPECT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
  }
  static int pending_error(const UniqueFd& fd) {
    int error = -1;
    socklen_t size = sizeof error;
    EXPECT_EQ(::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size), 0);
    return error;
  }
  static int queued(const UniqueFd& fd, unsigned long request) {
    int bytes = -1;
    EXPECT_EQ(::ioctl(fd.get(), request, &bytes), 0);
    return bytes;
  }
  static std::size_t fill(const UniqueFd& fd) {
    const std::string block(1000, 'f');
    std::size_t taken = 0;
    for (;;) {
      const Said one = send(fd, block);
      if (one.result < 0) {
        EXPECT_EQ(one.error, EAGAIN);
        return taken;
      }
      taken += static_cast<std::size_t>(one.result);
    }
  }

  SeededDecisions decisions_{1};
  std::optional<SimKernel> kernel_;
};

#define EXPECT_SAYS(call, wanted_result, wanted_error) \
  do {                                                 \
    const Said answer = (call);                        \
    EXPECT_EQ(answer.result, wanted_result);           \
    EXPECT_EQ(answer.error, wanted_error);             \
  } while (false)

inline std::string kernel_name(const ::testing::TestParamInfo<bool>& info) {
  return info.param ? "Simulated" : "Real";
}

}  // namespace millrace::test
