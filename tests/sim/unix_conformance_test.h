// UnixConformanceTest is a KernelConformanceTest of Unix sockets: names of both kinds, and messages
// that carry descriptors.
//
//   const Pair pair = unix_pair();
//   EXPECT_SAYS(pass(pair.client, "bytes", {fd.get()}), 5, 0);
//   const Got got = take(pair.server);      // got.bytes, got.descriptors, got.flags
#pragma once

#include "kernel_conformance_test.h"

#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace millrace::test {

class UnixConformanceTest : public KernelConformanceTest {
 protected:
  struct Name {
    sockaddr_un native = {};
    socklen_t size;
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&native); }
  };
  // What recvmsg() said.
  struct Got {
    std::string bytes;  // "error ..." if it failed
    std::vector<UniqueFd> descriptors;
    int flags = 0;
    std::string from;
  };

  void SetUp() override {
    KernelConformanceTest::SetUp();
    if (GetParam()) return;
    char made[] = "/tmp/millrace-conformance-XXXXXX";
    ASSERT_NE(::mkdtemp(made), nullptr);
    directory_ = std::string(made) + "/";
  }
  void TearDown() override {
    if (directory_ != "/sim/") std::filesystem::remove_all(directory_);
  }

  std::string path(const std::string& file = "socket") const { return directory_ + file; }
  static Name named(std::string_view text) {
    Name made;
    made.native.sun_family = AF_UNIX;
    std::memcpy(made.native.sun_path, text.data(), text.size());
    made.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size());
    return made;
  }
  // An abstract one that nobody else has.
  static Name name() {
    static int number = 0;
    return named(std::string(1, '\0') + "millrace-conformance-" + std::to_string(::getpid()) + "-" +
                 std::to_string(++number));
  }
  static UniqueFd local(int type = SOCK_STREAM) {
    return UniqueFd(::socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  }
  static Said bind_at(const UniqueFd& fd, const Name& at) {
    return said(::bind(fd.get(), at.get(), at.size));
  }
  static UniqueFd listen_at(const Name& at, int backlog = 16) {
    UniqueFd made = local();
    EXPECT_EQ(bind_at(made, at).error, 0);
    EXPECT_EQ(::listen(made.get(), backlog), 0);
    return made;
  }
  static UniqueFd bound_datagram(const Name& at) {
    UniqueFd made = local(SOCK_DGRAM);
    EXPECT_EQ(bind_at(made, at).error, 0);
    return made;
  }
  static int connect_at(const UniqueFd& fd, const Name& at) {
    return ::connect(fd.get(), at.get(), at.size);
  }
  static Pair unix_pair() {
    const Name at = name();
    const UniqueFd listening = listen_at(at);
    UniqueFd client = local();
    EXPECT_EQ(connect_at(client, at), 0);
    return {std::move(client), accept(listening)};
  }
  // As getsockname() or getpeername() tells it, from the first byte of its path on.
  template <class Ask>
  static std::string name_of(const UniqueFd& fd, Ask ask) {
    sockaddr_un native{};
    socklen_t size = sizeof native;
    EXPECT_EQ(ask(fd.get(), reinterpret_cast<sockaddr*>(&native), &size), 0);
    return text_of(native, size);
  }
  static std::string text_of(const sockaddr_un& native, socklen_t size) {
    constexpr auto kPathAt = offsetof(sockaddr_un, sun_path);
    return size <= kPathAt ? std::string() : std::string(native.sun_path, size - kPathAt);
  }

  static UniqueFd event(unsigned value = 0) {
    return UniqueFd(::eventfd(value, EFD_NONBLOCK | EFD_CLOEXEC));
  }
  static Said send_to(const UniqueFd& fd, const Name& to, std::string_view bytes) {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_name = const_cast<sockaddr_un*>(&to.native);
    message.msg_namelen = to.size;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    return said(::sendmsg(fd.get(), &message, MSG_NOSIGNAL));
  }
  static Said pass(const UniqueFd& fd, std::string_view bytes,
                   const std::vector<int>& descriptors) {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    std::vector<char> control(CMSG_SPACE(descriptors.size() * sizeof(int)));
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::memcpy(CMSG_DATA(head), descriptors.data(), descriptors.size() * sizeof(int));
    return said(::sendmsg(fd.get(), &message, MSG_NOSIGNAL));
  }
  // `room`: for how many descriptors.
  static Got take(const UniqueFd& fd, std::size_t n = 100, std::size_t room = 16, int flags = 0) {
    std::string bytes(n, '\0');
    iovec part{bytes.data(), n};
    std::vector<char> control(CMSG_LEN(room * sizeof(int)));
    sockaddr_un from{};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = room > 0 ? control.data() : nullptr;
    message.msg_controllen = room > 0 ? control.size() : 0;
    Got got;
    const ssize_t result = ::recvmsg(fd.get(), &message, flags | MSG_CMSG_CLOEXEC);
    if (result < 0) {
      got.bytes = std::string("error ") + ::strerrorname_np(errno);
      return got;
    }
    got.bytes = bytes.substr(0, static_cast<std::size_t>(result));
    got.flags = message.msg_flags & ~MSG_CMSG_CLOEXEC;
    got.from = text_of(from, message.msg_namelen);
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
      for (std::size_t at = CMSG_LEN(0); at < c->cmsg_len; at += sizeof(int)) {
        int passed = -1;
        std::memcpy(&passed, reinterpret_cast<char*>(c) + at, sizeof passed);
        got.descriptors.emplace_back(passed);
      }
    }
    return got;
  }
  // The value that an event descriptor has.
  static std::uint64_t value_of(const UniqueFd& fd) {
    std::uint64_t value = 0;
    return ::read(fd.get(), &value, sizeof value) == sizeof value ? value : 0;
  }
  // Whether only this descriptor is left of the other end of its connection.
  static bool is_last(const UniqueFd& fd) { return (events(fd) & EPOLLHUP) != 0; }

 private:
  std::string directory_ = "/sim/";
};

}  // namespace millrace::test
