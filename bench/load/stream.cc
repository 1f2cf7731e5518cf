#include "stream.h"

#include <cerrno>
#include <string>

#include <sys/sendfile.h>
#include <sys/socket.h>

namespace millrace::bench {
namespace {

constexpr std::size_t kMebibyte = 1024 * 1024;
// Of one turn: several connections shall flow side by side.
constexpr std::size_t kSendMost = 256 * 1024;

}  // namespace

Stream::Stream(const LoadOptions& options) : RawLoad(options), peers_(options.connections) {
  const std::vector<std::byte> content(kMebibyte, std::byte{'s'});
  file_ = file_in_memory(ByteView(content.data(), content.size()));
}

void Stream::start() {
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    peers_[i].fd = connect_to(options_.server);
    ready_.add(peers_[i].fd.get(), i, EPOLLIN | EPOLLOUT);
    ++open_;
  }
}

void Stream::stop() {
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    if (!peers_[i].fd) continue;
    ::shutdown(peers_[i].fd.get(), SHUT_WR);
    ready_.change(peers_[i].fd.get(), i, EPOLLIN);
  }
}

bool Stream::turn() {
  const auto events = ready_.look();
  for (const epoll_event& event : events) {
    Peer& peer = peers_[static_cast<std::size_t>(event.data.u64)];
    if (event.events & ~std::uint32_t{EPOLLOUT}) receive(peer);
    if ((event.events & EPOLLOUT) && peer.fd && !stopping()) send(peer);
  }
  return !events.empty();
}

void Stream::send(Peer& peer) {
  off_t at = 0;
  const ssize_t n = ::sendfile(peer.fd.get(), file_.get(), &at, kSendMost);
  if (n <= 0) return;  // a connection that is gone says so to recv()
  peer.sent += static_cast<std::uint64_t>(n);
  uncounted_ += static_cast<std::uint64_t>(n);
  const std::uint64_t whole = uncounted_ / kMebibyte;
  uncounted_ -= whole * kMebibyte;
  count(whole, whole * kMebibyte);
}

void Stream::receive(Peer& peer) {
  if (!peer.fd) return;
  const ssize_t n = ::recv(peer.fd.get(), peer.told.data() + peer.told_bytes,
                           peer.told.size() - peer.told_bytes, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    fail_ended(n == 0 ? 0 : errno);
    return end(peer);
  }
  peer.told_bytes += static_cast<std::size_t>(n);
  if (peer.told_bytes < peer.told.size()) return;
  std::uint64_t told = 0;
  for (const unsigned char byte : peer.told) told = told << 8 | byte;
  if (told != peer.sent || !stopping()) {
    fail("the server counted " + std::to_string(told) + " of " + std::to_string(peer.sent) +
         " bytes");
  }
  end(peer);
}

void Stream::end(Peer& peer) {
  peer.fd.reset();
  --open_;
}

}  // namespace millrace::bench
