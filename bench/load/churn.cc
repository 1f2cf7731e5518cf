#include "churn.h"

#include <cerrno>
#include <cstring>
#include <system_error>

#include <sys/socket.h>

namespace millrace::bench {
namespace {

// 127.0.0.2, 127.0.0.3 ... 127.0.0.201
SocketAddress source_of(std::size_t slot) {
  return SocketAddress::ipv4(0x7f000002 + static_cast<std::uint32_t>(slot % 200), 0);
}

}  // namespace

Churn::Churn(const LoadOptions& options)
    : RawLoad(options),
      payload_(options.message_bytes),
      slots_(options.connections),
      polled_(options.connections, pollfd{-1, POLLIN, 0}),
      block_(options.message_bytes + 1) {}

void Churn::start() {
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) open(slot);
}

void Churn::open(std::size_t number) {
  Slot& slot = slots_[number];
  slot.since = Clock::now();
  slot.connection = opened_++;
  slot.received = 0;
  slot.intact = true;
  slot.fd = connect_to(options_.server, source_of(number));
  const ByteView message = payload_.message(slot.connection, 0);
  ::send(slot.fd.get(), message.data(), message.size(), MSG_NOSIGNAL);
  polled_[number].fd = slot.fd.get();
  ++under_way_;
}

bool Churn::turn() {
  if (::poll(polled_.data(), polled_.size(), 0) <= 0) return false;
  const TimePoint now = Clock::now();
  for (std::size_t number = 0; number < slots_.size(); ++number) {
    if (polled_[number].fd >= 0 && polled_[number].revents != 0) receive(number, now);
  }
  return true;
}

void Churn::receive(std::size_t number, TimePoint now) {
  Slot& slot = slots_[number];
  const ssize_t n = ::recv(slot.fd.get(), block_.data(), block_.size(), 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    // Not opened again: a server that ends every connection would be asked for more for ever.
    fail_ended(n == 0 ? 0 : errno);
    return close(number);
  }
  const auto got = static_cast<std::size_t>(n);
  const ByteView message = payload_.message(slot.connection, 0);
  if (slot.received + got > message.size()) {
    fail("more came back than was sent");
    return close(number);
  }
  if (std::memcmp(block_.data(), message.data() + slot.received, got) != 0) slot.intact = false;
  slot.received += got;
  if (slot.received < message.size()) return;
  if (!slot.intact) fail("wrong bytes");
  record(now - slot.since);
  count(1, message.size());
  close(number);
  if (!stopping()) open(number);
}

void Churn::close(std::size_t number) {
  slots_[number].fd.reset();
  polled_[number].fd = -1;
  --under_way_;
}

}  // namespace millrace::bench
