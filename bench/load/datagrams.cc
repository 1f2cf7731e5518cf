#include "datagrams.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>

namespace millrace::bench {
namespace {

// Without any answer for so long, what is under way is lost.
constexpr std::chrono::milliseconds kLostAfter{500};

}  // namespace

Datagrams::Datagrams(const LoadOptions& options)
    : RawLoad(options),
      payload_(options.message_bytes),
      sockets_(options.connections),
      messages_(options.depth),
      parts_(options.depth),
      block_(options.depth * (options.message_bytes + 1)) {}

void Datagrams::start() {
  for (std::size_t number = 0; number < sockets_.size(); ++number) {
    Socket& socket = sockets_[number];
    const auto* server = options_.server.native();
    socket.fd.reset(::socket(server->sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (::connect(socket.fd.get(), server, options_.server.native_size()) != 0) {
      throw std::system_error(errno, std::system_category(), "connect");
    }
    ready_.add(socket.fd.get(), number, EPOLLIN);
  }
  last_answer_ = Clock::now();
  for (std::size_t number = 0; number < sockets_.size(); ++number) send(number, options_.depth);
}

void Datagrams::send(std::size_t number, std::size_t n) {
  Socket& socket = sockets_[number];
  for (std::size_t i = 0; i < n; ++i) {
    const ByteView message = payload_.message(number, socket.sent + i);
    parts_[i] = {const_cast<std::byte*>(message.data()), message.size()};
    messages_[i].msg_hdr = {};
    messages_[i].msg_hdr.msg_iov = &parts_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
  }
  socket.since = Clock::now();
  const int taken = ::sendmmsg(socket.fd.get(), messages_.data(), static_cast<unsigned>(n), 0);
  if (taken < static_cast<int>(n)) fail("not sent: " + std::generic_category().message(errno));
  if (taken <= 0) return;
  socket.sent += static_cast<std::size_t>(taken);
  under_way_ += static_cast<std::size_t>(taken);
}

std::size_t Datagrams::receive(std::size_t number) {
  Socket& socket = sockets_[number];
  const std::size_t room = options_.message_bytes + 1;
  for (std::size_t i = 0; i < messages_.size(); ++i) {
    parts_[i] = {block_.data() + i * room, room};
    messages_[i].msg_hdr = {};
    messages_[i].msg_hdr.msg_iov = &parts_[i];
    messages_[i].msg_hdr.msg_iovlen = 1;
  }
  const auto most = static_cast<unsigned>(messages_.size());
  const int n = ::recvmmsg(socket.fd.get(), messages_.data(), most, MSG_DONTWAIT, nullptr);
  if (n < 0 && errno != EAGAIN) fail("recvmmsg: " + std::generic_category().message(errno));
  if (n <= 0) return 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
    const ByteView expected = payload_.message(number, socket.answered++);
    if (!(ByteView(parts_[i].iov_base, messages_[i].msg_len) == expected)) fail("wrong bytes");
  }
  return static_cast<std::size_t>(n);
}

bool Datagrams::turn() {
  const auto ready = ready_.look();
  const TimePoint now = Clock::now();
  if (ready.empty()) {
    look_for_losses(now);
    return false;
  }
  last_answer_ = now;
  for (const epoll_event& event : ready) {
    const auto number = static_cast<std::size_t>(event.data.u64);
    const TimePoint since = sockets_[number].since;
    const std::size_t n = receive(number);
    under_way_ -= n;
    for (std::size_t i = 0; i < n; ++i) record(now - since);
    count(n, n * options_.message_bytes);
    if (n > 0 && !stopping()) send(number, n);
  }
  return true;
}

void Datagrams::look_for_losses(TimePoint now) {
  if (under_way_ == 0 || now - last_answer_ < kLostAfter) return;
  last_answer_ = now;
  for (std::size_t number = 0; number < sockets_.size(); ++number) {
    Socket& socket = sockets_[number];
    const auto lost = static_cast<std::size_t>(socket.sent - socket.answered);
    for (std::size_t i = 0; i < lost; ++i) fail("lost");
    under_way_ -= lost;
    socket.answered = socket.sent;
    if (lost > 0 && !stopping()) send(number, lost);
  }
}

}  // namespace millrace::bench
