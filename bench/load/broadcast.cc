#include "broadcast.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <netinet/in.h>
#include <sys/socket.h>

namespace millrace::bench {

Broadcast::Broadcast(const LoadOptions& options)
    : RawLoad(options),
      payload_(options.message_bytes),
      frame_(sizeof(std::uint32_t) + options.message_bytes),
      block_(frame_.size() + 1),
      subscribers_(options.connections),
      received_(options.connections) {
  const std::uint32_t length = htonl(static_cast<std::uint32_t>(options.message_bytes));
  std::memcpy(frame_.data(), &length, sizeof length);
}

void Broadcast::start() {
  for (std::size_t i = 0; i < subscribers_.size(); ++i) {
    subscribers_[i] = connect_to(options_.server);
    ready_.add(subscribers_[i].get(), i, EPOLLIN);
  }
  alive_ = subscribers_.size();
  // The last one to connect: when the server reads from it, it has accepted all the others.
  publisher_ = connect_to(options_.server);
  ready_.add(publisher_.get(), subscribers_.size(), EPOLLIN);
  publish();
}

void Broadcast::publish() {
  if (alive_ == 0) return;
  const ByteView message = payload_.message(0, published_++);
  std::memcpy(frame_.data() + frame_.size() - message.size(), message.data(), message.size());
  std::fill(received_.begin(), received_.end(), 0);
  missing_ = alive_;
  published_at_ = Clock::now();
  if (::send(publisher_.get(), frame_.data(), frame_.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(frame_.size())) {
    fail("the frame does not go out in one piece");
    missing_ = 0;
  }
}

bool Broadcast::turn() {
  const auto events = ready_.look();
  if (events.empty()) return false;
  const TimePoint now = Clock::now();
  for (const epoll_event& event : events) {
    receive(static_cast<std::size_t>(event.data.u64), now);
  }
  if (missing_ == 0 && !stopping()) publish();
  return true;
}

void Broadcast::receive(std::size_t number, TimePoint now) {
  const bool to_publisher = number == subscribers_.size();
  const int fd = to_publisher ? publisher_.get() : subscribers_[number].get();
  if (fd < 0) return;
  const ssize_t n =
      ::recv(fd, block_.data(), block_.size(), options_.verify && !to_publisher ? 0 : MSG_TRUNC);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) return end(number, n == 0 ? 0 : errno);
  if (to_publisher) {
    fail("a frame came back to who sent it");
    return end(number, ECONNABORTED);
  }
  const auto got = static_cast<std::size_t>(n);
  std::size_t& received = received_[number];
  if (received + got > frame_.size()) {
    fail("more arrived than was sent");
    return end(number, ECONNABORTED);
  }
  if (options_.verify && std::memcmp(block_.data(), frame_.data() + received, got) != 0) {
    fail("wrong bytes");
  }
  received += got;
  if (received < frame_.size()) return;
  --missing_;
  record(now - published_at_);
  count(1, options_.message_bytes);
}

void Broadcast::end(std::size_t number, int error) {
  fail_ended(error);
  if (number == subscribers_.size()) {
    publisher_.reset();
    missing_ = alive_ = 0;
    return;
  }
  subscribers_[number].reset();
  if (alive_ == 0) return;
  --alive_;
  if (received_[number] < frame_.size()) --missing_;
}

}  // namespace millrace::bench
