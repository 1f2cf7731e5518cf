#include "byte_echo.h"

#include "payload.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <netinet/in.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

namespace millrace::bench {
namespace {

// From here on lending the kernel the pages costs less than copying them.
constexpr std::size_t kSendFileFrom = 64 * 1024;
// More than can have come at once; MSG_TRUNC needs no room for it.
constexpr std::size_t kReceiveMost = 16 * 1024 * 1024;

std::vector<std::byte> on_the_wire(const LoadOptions& options) {
  const Payload payload(options.message_bytes);
  const ByteView message = payload.message(0, 0);
  const std::uint32_t length = htonl(static_cast<std::uint32_t>(message.size()));
  const std::size_t header_bytes = options.framed ? sizeof length : 0;
  std::vector<std::byte> wire(header_bytes + message.size());
  if (options.framed) std::memcpy(wire.data(), &length, sizeof length);
  std::memcpy(wire.data() + header_bytes, message.data(), message.size());
  return wire;
}

}  // namespace

ByteEcho::ByteEcho(const LoadOptions& options) : RawLoad(options), wire_(on_the_wire(options)) {
  if (wire_.size() >= kSendFileFrom) file_ = file_in_memory(ByteView(wire_.data(), wire_.size()));
}

void ByteEcho::connect(std::size_t more) {
  for (; more > 0; --more) {
    const std::size_t number = peers_.size();
    peers_.emplace_back().fd = connect_to(options_.server);
    ready_.add(peers_.back().fd.get(), number, EPOLLIN);
    begin_message(number, Clock::now());
  }
}

LoadResult ByteEcho::measure_again() {
  result_ = {};
  measure(options_.warmup, options_.duration);
  return result_;
}

bool ByteEcho::turn() {
  const auto events = ready_.look();
  if (events.empty()) return false;
  const TimePoint now = Clock::now();  // one reading of the clock for all that has come together
  for (const epoll_event& event : events) {
    const auto number = static_cast<std::size_t>(event.data.u64);
    if (event.events & EPOLLOUT) send_more(number);
    if (event.events & ~std::uint32_t{EPOLLOUT}) receive(number, now);
  }
  return true;
}

void ByteEcho::begin_message(std::size_t number, TimePoint now) {
  Peer& peer = peers_[number];
  peer.to_send = peer.to_receive = wire_.size();
  peer.since = now;
  ++awaited_;
  send_more(number);
}

void ByteEcho::send_more(std::size_t number) {
  Peer& peer = peers_[number];
  while (peer.to_send > 0) {
    auto at = static_cast<off_t>(wire_.size() - peer.to_send);
    const ssize_t n = file_ ? ::sendfile(peer.fd.get(), file_.get(), &at, peer.to_send)
                            : ::send(peer.fd.get(), wire_.data() + at, peer.to_send, MSG_NOSIGNAL);
    if (n <= 0) break;  // a connection that is gone says so to recv()
    peer.to_send -= static_cast<std::size_t>(n);
  }
  const bool waits = peer.to_send > 0;
  if (waits == peer.waits_for_room) return;
  peer.waits_for_room = waits;
  ready_.change(peer.fd.get(), number, waits ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

void ByteEcho::receive(std::size_t number, TimePoint now) {
  Peer& peer = peers_[number];
  if (!peer.fd) return;
  const ssize_t n = ::recv(peer.fd.get(), nullptr, kReceiveMost, MSG_TRUNC);  // tcp(7): discards
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) return end(peer, n == 0 ? 0 : errno);
  const auto got = static_cast<std::size_t>(n);
  if (got > peer.to_receive) {
    fail("more came back than was sent");
    return end(peer, ECONNABORTED);
  }
  peer.to_receive -= got;
  if (peer.to_receive > 0) return;
  --awaited_;
  record(now - peer.since);
  count(1, options_.message_bytes);
  if (!stopping()) begin_message(number, now);
}

void ByteEcho::end(Peer& peer, int error) {
  fail_ended(error);
  if (peer.to_receive > 0) --awaited_;
  peer.fd.reset();
}

}  // namespace millrace::bench
