// Listening, connecting and the life of a socket; how bytes move is in sim_stream.cc.
#include "support/sim/sim_socket.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/un.h>

namespace millrace::test {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t kLeastSendBuffer = 4608;
constexpr std::size_t kLeastReceiveBuffer = 2304;
constexpr Duration kGiveUp = 924s;  // fifteen retransmissions
constexpr Duration kSynGiveUp = 127s;
constexpr int kDefaultKeepaliveIdle = 7200;
constexpr int kDefaultKeepaliveInterval = 75;
constexpr int kDefaultKeepaliveProbes = 9;

}  // namespace

SimSocket::SimSocket(SimKernel& kernel, int domain)
    : SimFile(kernel),
      domain_(domain),
      send_buffer_(kernel.options().send_buffer),
      receive_buffer_(kernel.options().receive_buffer) {
  local_.native.ss_family = static_cast<sa_family_t>(domain);
  local_.size = domain == AF_INET    ? sizeof(sockaddr_in)
                : domain == AF_INET6 ? sizeof(sockaddr_in6)
                                     : sizeof(sa_family_t);
}

bool SimSocket::is_unix() const {
  return domain_ == AF_UNIX;
}

int SimSocket::bind(const SimAddress& address) {
  if (address.native.ss_family != domain_) return is_unix() ? EINVAL : EAFNOSUPPORT;
  if (local_.port() != 0 || !local_.path().empty()) return EINVAL;
  SimAddress wanted = address;
  if (const int e = kernel().network().bind(*this, wanted)) return e;
  local_ = wanted;
  return 0;
}

int SimSocket::listen(int backlog) {
  if (state_ != State::unconnected && state_ != State::listening) return EINVAL;
  if (is_unix() && local_.path().empty()) return EINVAL;
  if (!is_unix() && local_.port() == 0) {
    SimAddress any = local_;
    if (const int e = kernel().network().bind(*this, any)) return e;
    local_ = any;
  }
  state_ = State::listening;
  backlog_ = std::min(backlog, 4096);
  touch();
  return 0;
}

int SimSocket::connect(const SimAddress& address) {
  if (state_ == State::connecting) return EALREADY;
  if (state_ == State::connected && !std::exchange(connect_told_, true)) return 0;
  if (state_ == State::connected || state_ == State::listening) return EISCONN;
  if (state_ == State::closed) {
    if (error_ != 0) return take_error();
    return ECONNABORTED;
  }
  if (address.native.ss_family != domain_) return is_unix() ? EINVAL : EAFNOSUPPORT;
  return is_unix() ? connect_unix(address) : connect_tcp(address);
}

int SimSocket::connect_unix(const SimAddress& address) {
  SimSocket* listener = kernel().network().listener(address);
  if (!listener) return ECONNREFUSED;
  if (listener->waiting() > static_cast<std::size_t>(listener->backlog_)) return EAGAIN;
  const auto other = std::make_shared<SimSocket>(kernel(), domain_);
  kernel().network().enter(other);
  other->local_ = listener->local_;
  other->remote_ = local_;
  other->peer_ = shared_from_this();
  other->state_ = State::connected;
  remote_ = address;
  peer_ = other;
  state_ = State::connected;
  listener->accept_queue_.push_back(other);
  listener->touch();
  touch();
  return 0;
}

int SimSocket::connect_tcp(const SimAddress& address) {
  if (address.port() == 0) return ECONNREFUSED;
  if (local_.port() == 0) {
    SimAddress own = address;  // the host that the connection is made from
    own.set_port(0);
    if (local_.any_host() && !address.any_host()) local_ = own;
    SimAddress bound = local_;
    if (const int e = kernel().network().bind(*this, bound)) return e;
    local_ = bound;
  }
  remote_ = address;
  state_ = State::connecting;
  touch();
  send_syn(0);
  return EINPROGRESS;
}

void SimSocket::send_syn(int attempt) {
  const auto self = shared_from_this();
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
    SimSocket* listener = kernel().network().listener(remote_);
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
    const auto other = std::make_shared<SimSocket>(kernel(), domain_);
    kernel().network().enter(other);
    other->inherit(*listener);
    other->local_ = remote_;
    other->remote_ = local_;
    other->peer_ = self;
    other->state_ = State::connected;
    other->last_heard_ = kernel().now();
    ++listener->handshakes_;
    const std::weak_ptr<SimSocket> at = listener->shared_from_this();
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

void SimSocket::become_connected() {
  state_ = State::connected;
  last_heard_ = kernel().now();
  touch();
}

void SimSocket::inherit(const SimSocket& listener) {
  options_ = listener.options_;
  reset_on_close_ = listener.reset_on_close_;
  send_buffer_ = listener.send_buffer_;
  receive_buffer_ = listener.receive_buffer_;
}

std::shared_ptr<SimSocket> SimSocket::accept() {
  if (accept_queue_.empty()) return nullptr;
  auto accepted = std::move(accept_queue_.front());
  accept_queue_.pop_front();
  touch();
  return accepted;
}

int SimSocket::disconnect() {
  if (state_ == State::connected) send_reset();
  unsent_.clear();
  received_.clear();
  in_flight_out_ = 0;
  peer_.reset();
  state_ = State::unconnected;
  no_more_input_ = no_more_output_ = true;
  touch();
  return 0;
}

void SimSocket::close() {
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

void SimSocket::close_listener() {
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

void SimSocket::close_unix() {
  state_ = State::closed;
  const auto other = std::exchange(peer_, nullptr);
  if (!other) return;
  if (!received_.empty()) other->error_ = ECONNRESET;
  other->no_more_input_ = other->no_more_output_ = true;
  other->peer_.reset();
  other->touch();
}

int SimSocket::take_error() {
  const int e = std::exchange(error_, 0);
  if (e != 0) touch();
  return e;
}

int SimSocket::set_option(int level, int name, const void* value, socklen_t n) {
  if (level == SOL_SOCKET && name == SO_LINGER) {
    if (n < sizeof(linger)) return EINVAL;
    linger given{};
    std::memcpy(&given, value, sizeof given);
    reset_on_close_ = given.l_onoff != 0 && given.l_linger == 0;
    return 0;
  }
  int given = 0;
  if (n < sizeof given) return EINVAL;
  std::memcpy(&given, value, sizeof given);
  if (level == SOL_SOCKET && name == SO_SNDBUF) {
    send_buffer_ = std::max(static_cast<std::size_t>(given) * 2, kLeastSendBuffer);
  } else if (level == SOL_SOCKET && name == SO_RCVBUF) {
    receive_buffer_ = std::max(static_cast<std::size_t>(given) * 2, kLeastReceiveBuffer);
  }
  options_[{level, name}] = given;
  return 0;
}

int SimSocket::option(int level, int name) const {
  const auto found = options_.find({level, name});
  return found == options_.end() ? 0 : found->second;
}

int SimSocket::get_option(int level, int name, void* value, socklen_t* n) {
  if (level == IPPROTO_TCP && name == TCP_INFO) {
    tcp_info info{};
    info.tcpi_snd_wnd = peer_ ? static_cast<std::uint32_t>(peer_->window()) : 0;
    *n = std::min<socklen_t>(*n, sizeof info);
    std::memcpy(value, &info, *n);
    return 0;
  }
  int answer = option(level, name);
  if (level == SOL_SOCKET && name == SO_ERROR) answer = take_error();
  if (level == SOL_SOCKET && name == SO_SNDBUF) answer = static_cast<int>(send_buffer_);
  if (level == SOL_SOCKET && name == SO_RCVBUF) answer = static_cast<int>(receive_buffer_);
  if (*n < sizeof answer) return EINVAL;
  std::memcpy(value, &answer, sizeof answer);
  *n = sizeof answer;
  return 0;
}

int SimSocket::local_address(sockaddr* to, socklen_t* n) const {
  local_.copy_to(to, n);
  return 0;
}

int SimSocket::peer_address(sockaddr* to, socklen_t* n) const {
  if (state_ != State::connected) return ENOTCONN;
  remote_.copy_to(to, n);
  return 0;
}

int SimSocket::queue_size(unsigned long request, int* value) const {
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

void SimSocket::vanish() {
  vanished_ = true;
  if (!peer_) return;
  peer_->vanished_ = true;
  peer_->watch_vanished_peer();
  watch_vanished_peer();
}

// What the retransmission and keepalive timers will find, now that nothing is answered.
void SimSocket::watch_vanished_peer() {
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
  const auto self = shared_from_this();
  kernel().at(std::max(kernel().now(), last_heard_ + patience), [this, self] {
    if (state_ == State::connected) die(ETIMEDOUT);
  });
}

void SimSocket::give_up_if_unanswered(TimePoint since) {
  const int user_timeout = option(IPPROTO_TCP, TCP_USER_TIMEOUT);
  const Duration patience = user_timeout > 0 ? std::chrono::milliseconds(user_timeout) : kGiveUp;
  const auto self = shared_from_this();
  kernel().at(since + patience, [this, self] {
    if (state_ == State::connected) die(ETIMEDOUT);
  });
}

SimNetwork::~SimNetwork() {
  for (const auto& each : sockets_) {
    if (const auto socket = each.lock()) socket->forget_peer();
  }
}

bool SimNetwork::in_use(const SimSocket& by, const SimAddress& address) const {
  const auto set = [](const SimSocket& socket, int name) {
    return socket.option(SOL_SOCKET, name) != 0;
  };
  return std::any_of(bound_.begin(), bound_.end(), [&](const SimSocket* other) {
    if (other->domain_ == AF_UNIX || by.domain_ == AF_UNIX) {
      return other->domain_ == by.domain_ && other->local_.path() == address.path();
    }
    if (other->local_.port() != address.port()) return false;
    if (!other->local_.any_host() && !address.any_host() && !other->local_.same_host(address)) {
      return false;
    }
    if (set(*other, SO_REUSEPORT) && set(by, SO_REUSEPORT)) return false;
    const bool both_reuse = set(*other, SO_REUSEADDR) && set(by, SO_REUSEADDR);
    return !both_reuse || other->listening();
  });
}

int SimNetwork::bind(SimSocket& socket, SimAddress& address) {
  if (!socket.is_unix() && address.port() == 0) {
    do {
      address.set_port(free_port());
    } while (in_use(socket, address));
  } else if (in_use(socket, address)) {
    return EADDRINUSE;
  }
  bound_.push_back(&socket);
  return 0;
}

std::uint16_t SimNetwork::free_port() {
  if (next_port_ > 60'000) next_port_ = 32768;
  return next_port_++;
}

SimSocket* SimNetwork::listener(const SimAddress& address) const {
  std::vector<SimSocket*> found;  // in the order in which they were bound: runs must repeat
  for (SimSocket* each : bound_) {
    if (!each->listening()) continue;
    if (address.native.ss_family == AF_UNIX) {
      if (each->local_.path() == address.path()) return each;
      continue;
    }
    if (each->local_.port() != address.port()) continue;
    if (each->local_.any_host() || each->local_.same_host(address)) found.push_back(each);
  }
  if (found.empty()) return nullptr;
  return found[kernel_.order(found.size())];
}

SimAddress::SimAddress(const sockaddr* from, socklen_t n)
    : size(std::min<socklen_t>(n, sizeof native)) {
  std::memcpy(&native, from, size);
}

std::uint16_t SimAddress::port() const {
  if (native.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in&>(native).sin_port);
  }
  return native.ss_family == AF_INET6
             ? ntohs(reinterpret_cast<const sockaddr_in6&>(native).sin6_port)
             : std::uint16_t{0};
}

void SimAddress::set_port(std::uint16_t port) {
  if (native.ss_family == AF_INET) {
    reinterpret_cast<sockaddr_in&>(native).sin_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in6&>(native).sin6_port = htons(port);
  }
}

bool SimAddress::any_host() const {
  if (native.ss_family == AF_INET) {
    return reinterpret_cast<const sockaddr_in&>(native).sin_addr.s_addr == htonl(INADDR_ANY);
  }
  return IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6&>(native).sin6_addr);
}

bool SimAddress::same_host(const SimAddress& other) const {
  if (native.ss_family != other.native.ss_family) return false;
  if (native.ss_family == AF_INET) {
    return reinterpret_cast<const sockaddr_in&>(native).sin_addr.s_addr ==
           reinterpret_cast<const sockaddr_in&>(other.native).sin_addr.s_addr;
  }
  return IN6_ARE_ADDR_EQUAL(&reinterpret_cast<const sockaddr_in6&>(native).sin6_addr,
                            &reinterpret_cast<const sockaddr_in6&>(other.native).sin6_addr);
}

std::string SimAddress::path() const {
  if (native.ss_family != AF_UNIX || size <= offsetof(sockaddr_un, sun_path)) return {};
  const auto& un = reinterpret_cast<const sockaddr_un&>(native);
  return {un.sun_path, size - offsetof(sockaddr_un, sun_path)};
}

void SimAddress::copy_to(sockaddr* to, socklen_t* n) const {
  if (!to || !n) return;
  std::memcpy(to, &native, std::min(*n, size));
  *n = size;
}

}  // namespace millrace::test
