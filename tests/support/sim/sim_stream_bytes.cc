// How bytes, FIN and RST move between two SimStreams.
#include "support/sim/sim_stream.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <sys/epoll.h>

namespace millrace::test {
namespace {

constexpr std::size_t kLargestSegment = 32 * 1024;

}  // namespace

std::uint32_t SimStream::poll() const {
  if (state_ == State::listening) return accept_queue_.empty() ? 0u : EPOLLIN | EPOLLRDNORM;
  std::uint32_t mask = error_ != 0 ? EPOLLERR : 0u;
  const bool both = no_more_input_ && no_more_output_;
  if (both || state_ == State::closed || state_ == State::unconnected) mask |= EPOLLHUP;
  if (no_more_input_) mask |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
  if (state_ == State::connecting) return mask;
  if (!received_.empty()) mask |= EPOLLIN | EPOLLRDNORM;
  const std::size_t used = unacknowledged();
  const bool has_room =
      is_unix() ? used * 4 <= send_buffer_ : used < send_buffer_ && send_buffer_ - used >= used / 2;
  if (no_more_output_ || has_room) mask |= EPOLLOUT | EPOLLWRNORM;
  return mask;
}

std::size_t SimStream::room() const {
  if (is_unix() && !peer_) return 0;
  const std::size_t used = unacknowledged();
  return used < send_buffer_ ? send_buffer_ - used : 0;
}

std::size_t SimStream::window() const {
  const std::size_t used = received_.size() + in_flight_in_;
  return used < receive_buffer_ ? receive_buffer_ - used : 0;
}

SimResult SimStream::send(SimMessage&& message) {
  if (state_ == State::connecting) return {-1, EAGAIN};
  if (is_unix() && message.to) return {-1, connected() ? EISCONN : EOPNOTSUPP};
  if (no_more_output_ || error_ != 0 || state_ != State::connected) {
    const int e = take_error();
    const bool never = state_ == State::unconnected && is_unix();
    return {-1, e != 0 ? e : never ? ENOTCONN : EPIPE};
  }
  const std::string_view bytes = message.bytes;
  const std::size_t n = std::min(bytes.size(), room());
  if (n == 0 && !bytes.empty()) return {-1, EAGAIN};
  if (is_unix()) {
    peer_->take_unix(bytes.substr(0, n), std::move(message.descriptors));
  } else {
    unsent_.append(bytes.substr(0, n));
    transmit();
  }
  touch();
  return {static_cast<ssize_t>(n), 0};
}

void SimStream::take_unix(std::string_view bytes, std::vector<SimPassed>&& descriptors) {
  if (bytes.empty()) return;  // and what it carries is closed
  const std::uint64_t begin = taken_ + received_.size();
  if (!descriptors.empty()) {
    rights_.push_back({begin, begin + bytes.size(), std::move(descriptors)});
  }
  received_.append(bytes);
  touch();
}

// How many of the next n bytes one receive takes: not beyond a message that carries descriptors.
std::size_t SimStream::mergeable(std::size_t n) const {
  if (rights_.empty() || taken_ + n <= rights_.front().begin) return n;
  return std::min<std::size_t>(n, rights_.front().end - taken_);
}

// Those of the message whose first byte lies before `end`: there is one at the most.
std::vector<SimPassed> SimStream::rights_before(std::uint64_t end, bool peek) {
  if (rights_.empty() || rights_.front().begin >= end) return {};
  if (peek) return rights_.front().descriptors;
  auto taken = std::move(rights_.front().descriptors);
  rights_.pop_front();
  return taken;
}

SimResult SimStream::receive(SimReceived& into, std::size_t n, int flags) {
  const bool peek = (flags & MSG_PEEK) != 0;
  const std::size_t most = std::min(n, received_.size());
  into.bytes.resize(mergeable(most));
  if (most > 0) into.descriptors = rights_before(taken_ + into.bytes.size(), peek);
  const SimResult got = receive(into.bytes.data(), most > 0 ? into.bytes.size() : n, peek);
  return got;
}

SimResult SimStream::receive(void* to, std::size_t n, bool peek) {
  if (!received_.empty()) {
    const std::size_t got = received_.copy(to, mergeable(n));
    if (peek) return {static_cast<ssize_t>(got), 0};
    received_.drop(got);
    taken_ += got;
    rights_before(taken_, false);
    touch();
    if (!peer_) return {static_cast<ssize_t>(got), 0};
    if (is_unix()) {
      peer_->touch();
    } else if (!peer_->unsent_.empty()) {
      // The window has opened; the other end hears of it.
      const auto other = peer_;
      kernel().at(kernel().after(kernel().latency()), [other] { other->transmit(); });
    }
    return {static_cast<ssize_t>(got), 0};
  }
  if (peer_ended_) return {0, 0};
  if (const int e = take_error()) return {-1, e};
  if (no_more_input_) return {0, 0};
  if (state_ == State::unconnected || state_ == State::listening)
    return {-1, is_unix() ? EINVAL : ENOTCONN};
  if (state_ == State::closed) return {-1, ENOTCONN};
  return {-1, EAGAIN};
}

int SimStream::shutdown(int how) {
  if (state_ != State::connected) return ENOTCONN;
  if (how == SHUT_RD || how == SHUT_RDWR) {
    no_more_input_ = true;
    if (is_unix() && peer_) {
      peer_->no_more_output_ = true;
      peer_->touch();
    }
  }
  if (how == SHUT_WR || how == SHUT_RDWR) {
    no_more_output_ = true;
    if (!is_unix()) {
      transmit();
    } else if (peer_) {
      peer_->no_more_input_ = true;
      peer_->touch();
    }
  }
  touch();
  return 0;
}

void SimStream::deliver(std::function<void(SimStream&)> arrival) {
  const auto other = peer_;
  if (!other || vanished_) return;
  other->last_arrival_ = std::max(other->last_arrival_, kernel().after(kernel().latency()));
  kernel().at(other->last_arrival_, [other, arrival = std::move(arrival)] {
    if (!other->vanished_) arrival(*other);
  });
}

void SimStream::transmit() {
  if (state_ != State::connected || is_unix() || !peer_) return;
  if (vanished_) {
    if (!unsent_.empty()) give_up_if_unanswered(kernel().now());
    return;
  }
  while (!unsent_.empty()) {
    const std::size_t room = std::min({unsent_.size(), peer_->window(), kLargestSegment});
    if (room == 0) return;  // until the window opens
    const std::size_t n = room - kernel().order(kernel().options().latency_most > Duration::zero()
                                                    ? std::min<std::size_t>(room, 3000)
                                                    : 1);
    in_flight_out_ += n;
    peer_->in_flight_in_ += n;
    deliver([bytes = unsent_.take(n)](SimStream& at) { at.arrive(bytes); });
  }
  if (!no_more_output_ || std::exchange(end_sent_, true)) return;
  deliver([](SimStream& at) { at.arrive_end(); });
}

void SimStream::arrive(const std::string& bytes) {
  in_flight_in_ -= std::min(in_flight_in_, bytes.size());
  last_heard_ = kernel().now();
  if (state_ != State::connected) return;
  if (kernel().decisions().chance(kernel().faults().reset)) {
    // Whoever is between the two has had enough of them.
    send_reset();
    return arrive_reset();
  }
  if (closed_by_owner_) {
    send_reset();
    state_ = State::closed;
    return peer_.reset();
  }
  // Shut for reading by its owner: acknowledged, and kept for nobody.
  received_.append(bytes);
  touch();
  deliver([n = bytes.size()](SimStream& at) { at.acknowledged(n); });
}

void SimStream::acknowledged(std::size_t n) {
  last_heard_ = kernel().now();
  in_flight_out_ -= std::min(in_flight_out_, n);
  transmit();
  touch();
}

void SimStream::arrive_end() {
  last_heard_ = kernel().now();
  if (state_ != State::connected) return;
  no_more_input_ = true;
  peer_ended_ = true;
  touch();
  deliver([](SimStream& at) {
    at.end_acknowledged_ = true;
    at.last_heard_ = at.kernel().now();
    const bool over = at.peer_ended_;
    if (over && at.closed_by_owner_) {
      at.state_ = State::closed;
      at.forget_peer();
    }
  });
}

void SimStream::send_reset() {
  unsent_.clear();
  in_flight_out_ = 0;
  deliver([](SimStream& at) { at.arrive_reset(); });
}

void SimStream::arrive_reset() {
  if (state_ == State::closed) return;
  die(peer_ended_ && !end_sent_ ? EPIPE : ECONNRESET);
}

// The connection is over, for this reason.
void SimStream::die(int error) {
  state_ = State::closed;
  if (!closed_by_owner_) error_ = error;
  no_more_input_ = no_more_output_ = true;
  lost_ = unacknowledged();
  unsent_.clear();
  in_flight_out_ = 0;
  touch();
  peer_.reset();
}

}  // namespace millrace::test
