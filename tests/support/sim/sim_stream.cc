// Listening, connecting and the life of a socket; how bytes move is in sim_stream.cc.
#include "support/sim/sim_stream.h"

#include "support/sim/sim_network.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

namespace millrace::test {

using namespace std::chrono_literals;

namespace {

constexpr Duration kGiveUp = 924s;  // fifteen retransmissions
constexpr Duration kSynGiveUp = 127s;
constexpr int kDefaultKeepaliveIdle = 7200;
constexpr int kDefaultKeepaliveInterval = 75;
constexpr int kDefaultKeepaliveProbes = 9;

}  // namespace

std::shared_ptr<SimStream> SimStream::self() {
  return std::static_pointer_cast<SimStream>(shared_from_this());
}

int SimStream::listen(int backlog) {
  if (state_ != State::unconnected && state_ != State::listening) return EINVAL;
  if (is_unix() && !is_bound()) return EINVAL;
  if (const int e = bind_anywhere()) return e;
  state_ = State::listening;
  backlog_ = std::min(backlog, 4096);
  touch();
  return 0;
}

int SimStream::connect(const SimAddress& address) {
  if (state_ == State::connecting) return EALREADY;
  if (state_ == State::connected && !is_unix() && !std::exchange(connect_told_, true)) return 0;
  if (state_ == State::connected || state_ == State::listening) return EISCONN;
  if (state_ == State::closed) {
    if (error_ != 0) return take_error();
    return ECONNABORTED;
  }
  if (address.family() != domain_) return is_unix() ? EINVAL : EAFNOSUPPORT;
  return is_unix() ? connect_unix(address) : connect_tcp(address);
}

int SimStream::connect_unix(const SimAddress& address) {
  int error = 0;
  auto* listener = dynamic_cast<SimStream*>(kernel().network().named(address, SOCK_STREAM, &error));
  if (!listener) return error;
  if (!listener->listening()) return ECONNREFUSED;
  if (listener->waiting() > static_cast<std::size_t>(listener->backlog_)) return EAGAIN;
  const auto other = std::make_shared<SimStream>(kernel(), domain_);
  kernel().network().enter(other);
  other->local_ = listener->local_;
  other->remote_ = local_;
  other->peer_ = self();
  other->state_ = State::connected;
  other->has_peer_credentials_ = has_peer_credentials_ = true;
  remote_ = listener->local_;
  peer_ = other;
  state_ = State::connected;
  listener->accept_queue_.push_back(other);
  listener->touch();
  touch();
  return 0;
}

int SimStream::connect_tcp(const SimAddress& address) {
  if (address.port() == 0) return ECONNREFUSED;
  if (local_.port() == 0) {
    SimAddress own = address;  // the host that the connection is made from
    own.set_port(0);
    if (local_.any_host() && !address.any_host()) local_ = own;
    if (const int e = bind_anywhere()) return e;
  }
  remote_ = address;
  state_ = State::connecting;
  touch();
  send_syn(0);
  return EINPROGRESS;
}

void SimStream::send_syn(int attempt) {
  const auto self = this->self();
  const TimePoint first = kernel().now();
  kernel().at(kernel().after(kernel().latency()), [this, self, attempt, first] {
    if (state_ != State::connecting || closed_by_owner_) return;
    const auto try_again = [&] {
      const Duration wait = std::min<Duration>(1s * (1 << std::min(attempt, 6)), kSynGiveUp);
      kernel().at(first + wait, [this, self, attempt] {
        if (state_ != State::connecting || closed_by_owner_) return;
        if (attempt >= 6) return die(ETIMEDOUT);
        send_syn(attempt + 1);
      });
    };
    if (kernel().network().swallows(remote_.port()) || vanished_) return try_again();
    SimStream* listener = dynamic_cast<SimStream*>(kernel().network().listener(remote_));
    if (!listener) {
      kernel().at(kernel().after(kernel().latency()), [this, self] {
        if (state_ == State::connecting) die(ECONNREFUSED);
      });
      return;
    }
    if (listener->waiting() + static_cast<std::size_t>(listener->handshakes_) >
        static_cast<std::size_t>(listener->backlog_)) {
      return try_again();
    }
    const auto other = std::make_shared<SimStream>(kernel(), domain_);
    kernel().network().enter(other);
    other->inherit(*listener);
    other->local_ = remote_;
    other->remote_ = local_;
    other->peer_ = self;
    other->state_ = State::connected;
    other->last_heard_ = kernel().now();
    ++listener->handshakes_;
    const std::weak_ptr<SimStream> at = listener->self();
    kernel().at(kernel().after(kernel().latency()), [this, self, other, at] {
      if (vanished_) {  // no answer: the half-open connection is forgotten in time
        if (const auto there = at.lock()) --there->handshakes_;
        return other->forget_peer();
      }
      const bool wanted = state_ == State::connecting && !closed_by_owner_;
      if (wanted) {
        peer_ = other;
        become_connected();
      }
      // The last segment of the handshake, or RST. It arrives before anything else does.
      other->last_arrival_ = std::max(other->last_arrival_, kernel().after(kernel().latency()));
      kernel().at(other->last_arrival_, [other, at, wanted] {
        const auto there = at.lock();
        if (there) --there->handshakes_;
        if (!wanted || (other->state_ == State::closed && !there)) return other->forget_peer();
        if (!there || !there->listening()) {
          other->closed_by_owner_ = true;
          other->send_reset();
          return other->forget_peer();
        }
        there->accept_queue_.push_back(other);
        there->touch();
      });
    });
  });
}

void SimStream::become_connected() {
  state_ = State::connected;
  last_heard_ = kernel().now();
  touch();
}

void SimStream::inherit(const SimStream& listener) {
  options_ = listener.options_;
  reset_on_close_ = listener.reset_on_close_;
  send_buffer_ = listener.send_buffer_;
  receive_buffer_ = listener.receive_buffer_;
}

std::shared_ptr<SimStream> SimStream::accept() {
  if (accept_queue_.empty()) return nullptr;
  auto accepted = std::move(accept_queue_.front());
  accept_queue_.pop_front();
  touch();
  return accepted;
}

int SimStream::disconnect() {
  if (is_unix()) return EINVAL;
  if (state_ == State::connected) send_reset();
  unsent_.clear();
  received_.clear();
  rights_.clear();
  in_flight_out_ = 0;
  peer_.reset();
  state_ = State::unconnected;
  no_more_input_ = no_more_output_ = true;
  touch();
  return 0;
}

void SimStream::close() {
  closed_by_owner_ = true;
  kernel().network().unbind(*this);
  if (state_ == State::listening) return close_listener();
  if (state_ != State::connected) {
    state_ = State::closed;
    peer_.reset();
    return;
  }
  if (is_unix()) return close_unix();
  if (!received_.empty() || reset_on_close_) {
    send_reset();
    peer_.reset();
    state_ = State::closed;
    return;
  }
  no_more_input_ = no_more_output_ = true;
  transmit();
}

void SimStream::close_listener() {
  state_ = State::closed;
  for (const auto& waiting : std::exchange(accept_queue_, {})) {
    waiting->closed_by_owner_ = true;
    if (waiting->is_unix()) {
      waiting->received_.append("unread");  // whoever connected is told ECONNRESET
      waiting->close_unix();
    } else {
      waiting->send_reset();
      waiting->peer_.reset();
    }
  }
}

void SimStream::close_unix() {
  state_ = State::closed;
  const auto other = std::exchange(peer_, nullptr);
  if (!other) return;
  if (!received_.empty()) other->error_ = ECONNRESET;
  received_.clear();
  rights_.clear();
  other->no_more_input_ = other->no_more_output_ = true;
  other->peer_.reset();
  other->touch();
}

void SimStream::forget_all() {
  peer_.reset();
  rights_.clear();
  accept_queue_.clear();
}

int SimStream::set_option(int level, int name, const void* value, socklen_t n) {
  if (level == SOL_SOCKET && name == SO_LINGER) {
    if (n < sizeof(linger)) return EINVAL;
    linger given{};
    std::memcpy(&given, value, sizeof given);
    reset_on_close_ = given.l_onoff != 0 && given.l_linger == 0;
    return 0;
  }
  return SimSocket::set_option(level, name, value, n);
}

int SimStream::get_option(int level, int name, void* value, socklen_t* n) {
  if (level == IPPROTO_TCP && name == TCP_INFO) {
    tcp_info info{};
    info.tcpi_snd_wnd = peer_ ? static_cast<std::uint32_t>(peer_->window()) : 0;
    *n = std::min<socklen_t>(*n, sizeof info);
    std::memcpy(value, &info, *n);
    return 0;
  }
  return SimSocket::get_option(level, name, value, n);
}

int SimStream::queue_size(unsigned long request, int* value) const {
  if (state_ == State::listening) return EINVAL;
  switch (request) {
    case SIOCINQ:
      *value = static_cast<int>(received_.size());
      return 0;
    case SIOCOUTQ:
      *value = static_cast<int>(unacknowledged() + lost_) +
               (!is_unix() && end_sent_ && !end_acknowledged_ ? 1 : 0);
      return 0;
    case SIOCOUTQNSD:
      *value = static_cast<int>(unsent_.size());
      return 0;
    default:
      return ENOTTY;
  }
}

void SimStream::vanish() {
  if (is_unix()) return;  // there is no network in between
  vanished_ = true;
  if (!peer_) return;
  peer_->vanished_ = true;
  peer_->watch_vanished_peer();
  watch_vanished_peer();
}

// What the retransmission and keepalive timers will find, now that nothing is answered.
void SimStream::watch_vanished_peer() {
  if (state_ != State::connected) return;
  if (unacknowledged() > 0 || end_sent_) give_up_if_unanswered(kernel().now());
  if (option(SOL_SOCKET, SO_KEEPALIVE) == 0) return;
  const auto or_default = [this](int name, int otherwise) {
    const int given = option(IPPROTO_TCP, name);
    return std::chrono::seconds(given != 0 ? given : otherwise);
  };
  const Duration patience = or_default(TCP_KEEPIDLE, kDefaultKeepaliveIdle) +
                            or_default(TCP_KEEPINTVL, kDefaultKeepaliveInterval) *
                                or_default(TCP_KEEPCNT, kDefaultKeepaliveProbes).count();
  const auto self = this->self();
  kernel().at(std::max(kernel().now(), last_heard_ + patience), [this, self] {
    if (state_ == State::connected) die(ETIMEDOUT);
  });
}

void SimStream::give_up_if_unanswered(TimePoint since) {
  const int user_timeout = option(IPPROTO_TCP, TCP_USER_TIMEOUT);
  const Duration patience = user_timeout > 0 ? std::chrono::milliseconds(user_timeout) : kGiveUp;
  const auto self = this->self();
  kernel().at(since + patience, [this, self] {
    if (state_ == State::connected) die(ETIMEDOUT);
  });
}

}  // namespace millrace::test
