#include "datagram_workload.h"

#include <millrace/udp_socket.h>
#include <millrace/unix_datagram_socket.h>

#include "stream_model.h"
#include "support/sim/sim_world.h"
#include "workload_setup.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <vector>

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

constexpr Duration kDatagramActive = 5s;
constexpr Duration kDatagramLatencyMost = 50ms;
constexpr Duration kDatagramPatience = 60s;
constexpr std::size_t kSocketsMost = 8;
constexpr std::uint64_t kReply = std::uint64_t{1} << 63;  // in a number: nobody answers it

// Socket: UdpSocket or UnixDatagramSocket.
template <class Socket>
class DatagramWorkload {
 public:
  explicit DatagramWorkload(Decisions& by)
      : decisions_(by), world_(by, random_sim_options(by, kDatagramLatencyMost)) {}

  Report run();

 private:
  static constexpr bool kUnix = std::is_same_v<Socket, UnixDatagramSocket>;

  struct Peer {
    DatagramOptions options;
    std::unique_ptr<Socket> socket;
    bool owed_drain = false;                              // a result or a drop promised it
    bool in_turn = false;                                 // inside one of its callbacks
    DatagramStats seen = {};                              // of sockets that were destroyed
    std::map<std::string, std::uint64_t> last_from = {};  // by whom, the number of the last one
  };
  struct Sent {
    std::size_t size;
    SocketAddress from;
    SocketAddress to;
    std::uint64_t arrivals = 0;
  };
  // A callback of this peer runs.
  struct Turn {
    explicit Turn(DatagramWorkload& workload, Peer& of) : peer(of), before(of.in_turn) {
      if (workload.in_call_) workload.world_.problem("a callback inside a call");
      peer.in_turn = true;
    }
    ~Turn() { peer.in_turn = before; }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    Peer& peer;
    bool before;
  };
  struct Call {
    explicit Call(DatagramWorkload& of) : workload(of) { workload.in_call_ = true; }
    ~Call() { workload.in_call_ = false; }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    DatagramWorkload& workload;
  };

  DatagramOptions random_options();
  void make_socket(Peer& peer);
  void open(Peer& peer);
  void close(Peer& peer, bool destroy);
  SocketAddress some_address();
  std::string payload(std::uint64_t number, std::size_t size) const;

  void send_some(Peer& peer);
  void send_one(Peer& peer, std::size_t size, const SocketAddress& to);
  void answer(Peer& peer, const Datagram& d);
  void take_result(Peer& peer, DatagramResult result, std::uint64_t number, bool was_full);
  bool is_full_for(const Peer& peer, std::size_t size) const;
  void arrived(Peer& peer, const Datagram& d);
  void check_order(Peer& peer, const SocketAddress& from, std::uint64_t number);
  void drained(Peer& peer);
  void failed(const DatagramError& error);
  void disturb(Peer& peer);

  void be_active();
  void come_to_an_end();
  void check_sums();

  Decisions& decisions_;
  SimWorld world_;
  unsigned mischief_ = 0;
  bool in_call_ = false;
  bool ending_ = false;
  bool was_closed_ = false;      // a socket, while others sent
  bool batch_was_lost_ = false;  // a socket was closed by the callback that was given a datagram
  SocketAddress any_;
  SocketAddress nobody_;  // where none of them is
  std::vector<SocketAddress> known_;
  std::map<std::uint64_t, Sent> sent_;
  std::uint64_t numbers_ = 0;
  std::uint64_t refused_ = 0;
  std::uint64_t dropped_ = 0;
  std::uint64_t taken_ = 0;
  std::uint64_t right_bytes_ = 0;
  std::uint64_t empties_ = 0;
  std::uint64_t made_ = 0;
  std::vector<std::unique_ptr<Peer>> peers_;
};

template <class Socket>
DatagramOptions DatagramWorkload<Socket>::random_options() {
  DatagramOptions made;
  made.queue_bytes = 1 + decisions_.size_up_to(300'000);
  made.queue_datagrams = 1 + decisions_.size_up_to(500);
  constexpr std::array kOverflows{DatagramOverflow::refuse, DatagramOverflow::drop_newest,
                                  DatagramOverflow::drop_oldest};
  made.overflow = kOverflows[decisions_.below(kOverflows.size())];
  made.segmentation_offload = decisions_.below(2) == 0;
  made.receive_offload = decisions_.below(3) == 0;
  made.local_address = decisions_.below(3) == 0;
  if (decisions_.below(3) == 0) made.largest_datagram_bytes = 16 + decisions_.size_up_to(2'000);
  return made;
}

template <class Socket>
void DatagramWorkload<Socket>::make_socket(Peer& peer) {
  Peer* const at = &peer;
  peer.owed_drain = false;
  ++made_;
  DatagramCallbacks<Socket> callbacks;
  callbacks.on_datagram = [this, at](Socket&, const Datagram& d) { arrived(*at, d); };
  callbacks.on_drained = [this, at](Socket&) { drained(*at); };
  callbacks.on_error = [this, at](Socket&, const DatagramError& error) {
    const Turn turn(*this, *at);
    failed(error);
    if (decisions_.chance(mischief_)) disturb(*at);
  };
  auto& loop = world_.loop(decisions_.below(world_.loop_count()));
  peer.socket = std::make_unique<Socket>(loop, std::move(callbacks), peer.options);
}

template <class Socket>
void DatagramWorkload<Socket>::open(Peer& peer) {
  const Call call(*this);
  try {
    peer.socket->bind(any_);
    if (decisions_.below(4) == 0) peer.socket->connect(some_address());
  } catch (const std::system_error&) {
    // No memory, no descriptors: it is tried again.
  }
  if (peer.socket->is_open()) known_.push_back(peer.socket->address());
}

template <class Socket>
void DatagramWorkload<Socket>::close(Peer& peer, bool destroy) {
  if (peer.in_turn) batch_was_lost_ = true;
  if (!ending_) was_closed_ = true;
  peer.owed_drain = false;
  const Call call(*this);
  peer.socket->close();
  if (!destroy) return;
  const DatagramStats last = peer.socket->stats();
  peer.seen.received += last.received;
  peer.seen.missed += last.missed;
  peer.seen.sent += last.sent;
  peer.seen.refused += last.refused;
  peer.seen.dropped += last.dropped;
  peer.seen.send_failures += last.send_failures;
  peer.socket.reset();
}

template <class Socket>
SocketAddress DatagramWorkload<Socket>::some_address() {
  if (known_.empty() || decisions_.below(8) == 0) return nobody_;
  return known_[decisions_.below(known_.size())];
}

// Its number, and bytes that follow from it.
template <class Socket>
std::string DatagramWorkload<Socket>::payload(std::uint64_t number, std::size_t size) const {
  if (size < sizeof number) return {};
  std::string made(sizeof number, '\0');
  std::memcpy(made.data(), &number, sizeof number);
  made += pattern(number % 1000, 0, size - sizeof number);
  return made;
}

template <class Socket>
bool DatagramWorkload<Socket>::is_full_for(const Peer& peer, std::size_t size) const {
  return peer.socket->queued_datagrams() >= peer.options.queue_datagrams ||
         peer.socket->queued_bytes() + size > peer.options.queue_bytes;
}

template <class Socket>
void DatagramWorkload<Socket>::send_some(Peer& peer) {
  const SocketAddress to = some_address();
  const std::size_t most = !kUnix && decisions_.below(20) == 0 ? 65'499 : 3'000;
  const std::size_t size = decisions_.below(6) == 0 ? 0 : 8 + decisions_.size_up_to(most);
  for (std::uint64_t i = decisions_.below(30) + 1; i > 0 && peer.socket; --i) {
    send_one(peer, decisions_.below(4) == 0 ? size / 2 : size, to);
  }
}

template <class Socket>
void DatagramWorkload<Socket>::send_one(Peer& peer, std::size_t size, const SocketAddress& to) {
  const Call call(*this);
  Socket& s = *peer.socket;
  const std::uint64_t number = ++numbers_;
  const std::string bytes = payload(number, size);
  const bool with_address = decisions_.below(10) == 0 ? s.is_connected() : !s.is_connected();
  const bool full = is_full_for(peer, bytes.size());
  sent_[number] = {bytes.size(), s.address(), s.is_connected() ? s.peer() : to};
  take_result(peer, with_address ? s.send_to(to, bytes) : s.send(bytes), number, full);
  if (decisions_.below(50) == 0) s.flush();
}

template <class Socket>
void DatagramWorkload<Socket>::answer(Peer& peer, const Datagram& d) {
  const Call call(*this);
  const std::uint64_t number = ++numbers_ | kReply;
  const std::string bytes = payload(number, d.bytes.size());
  const bool full = is_full_for(peer, bytes.size());
  sent_[number] = {bytes.size(), peer.socket->address(), d.from};
  take_result(peer, peer.socket->reply(d, bytes), number, full);
}

template <class Socket>
void DatagramWorkload<Socket>::take_result(Peer& peer, DatagramResult result, std::uint64_t number,
                                           bool was_full) {
  const Sent sent = sent_[number];
  if (!result) sent_.erase(number);
  const bool drops_oldest = peer.options.overflow == DatagramOverflow::drop_oldest;
  switch (result.state()) {
    case DatagramResult::sent:
      ++taken_;
      if (sent.size == 0) ++empties_;
      if (was_full && !drops_oldest) world_.problem("taken by a queue that is full");
      peer.owed_drain = peer.owed_drain || was_full;
      return;
    case DatagramResult::refused:
    case DatagramResult::dropped:
      ++(result == DatagramResult::refused ? refused_ : dropped_);
      if (!was_full || drops_oldest) world_.problem("not taken by a queue that has room");
      peer.owed_drain = true;
      return;
    case DatagramResult::too_large:
      if (sent.size <= peer.options.queue_bytes) world_.problem("too large, and it is not");
      return;
    case DatagramResult::no_destination:
    case DatagramResult::connected:
      if (peer.socket->is_connected() != (result == DatagramResult::connected)) {
        world_.problem("the wrong way to send, and it is not");
      }
      return;
    case DatagramResult::wrong_family:
      return world_.problem("of a wrong family, and it is not");
    case DatagramResult::closed:
      if (peer.socket->is_open()) world_.problem("closed, and it is not");
      return;
  }
}

template <class Socket>
void DatagramWorkload<Socket>::arrived(Peer& peer, const Datagram& d) {
  const Turn turn(*this, peer);
  const SocketAddress own = peer.socket->address();
  if (peer.socket->reading_paused()) world_.problem("a datagram while reading is paused");
  if (!kUnix && peer.options.local_address && d.local != own)
    world_.problem("it came to somewhere else");
  std::uint64_t number = 0;
  if (d.size_bytes >= sizeof number) {
    std::memcpy(&number, d.bytes.data(), sizeof number);
    const auto found = sent_.find(number);
    if (found == sent_.end()) return world_.problem("a datagram that nobody sent");
    Sent& sent = found->second;
    const std::string whole = payload(number, sent.size);
    if (++sent.arrivals > (kUnix ? 1 : 2)) world_.problem("a datagram arrived too often");
    if (kUnix) check_order(peer, d.from, number & ~kReply);
    if (sent.from != d.from) world_.problem("a datagram of somebody else");
    if (sent.to != own) world_.problem("a datagram for somebody else");
    if (d.size_bytes != whole.size()) world_.problem("a datagram of another size");
    if (d.bytes.text() != std::string_view(whole).substr(0, d.bytes.size())) {
      world_.problem("a datagram with other bytes");
    }
    const bool any_size = !kUnix && peer.options.receive_offload;
    const bool cut = !any_size && d.size_bytes > peer.options.largest_datagram_bytes;
    if (d.truncated() != cut) world_.problem("cut off, or not, and it should be the other way");
    right_bytes_ += d.bytes.size();
  } else if (d.size_bytes != 0 || empties_ == 0) {
    world_.problem("a datagram that nobody sent, and that is empty");
  }
  if ((number & kReply) == 0 && number != 0) answer(peer, d);
  if (decisions_.chance(mischief_)) disturb(peer);
}

// Numbers are given in the order of sending.
template <class Socket>
void DatagramWorkload<Socket>::check_order(Peer& peer, const SocketAddress& from,
                                           std::uint64_t number) {
  std::uint64_t& last = peer.last_from[from.to_string()];
  if (number <= last) world_.problem("a datagram overtook another");
  last = number;
}

template <class Socket>
void DatagramWorkload<Socket>::drained(Peer& peer) {
  const Turn turn(*this, peer);
  if (!peer.owed_drain) world_.problem("on_drained that was not owed");
  peer.owed_drain = false;
  if (peer.socket->queued_bytes() > peer.options.queue_bytes / 2 ||
      peer.socket->queued_datagrams() > peer.options.queue_datagrams / 2) {
    world_.problem("on_drained, and more than half of the queue is used");
  }
  if (decisions_.chance(mischief_ * 4)) disturb(peer);
}

template <class Socket>
void DatagramWorkload<Socket>::failed(const DatagramError& error) {
  if (!error.code) world_.problem("an error that is none");
  const bool known = error.destination == nobody_ || error.destination == SocketAddress() ||
                     std::find(known_.begin(), known_.end(), error.destination) != known_.end();
  if (!known) world_.problem("an error about " + error.destination.to_string());
}

// Something at random, with it or with another one.
template <class Socket>
void DatagramWorkload<Socket>::disturb(Peer& one) {
  Peer& peer = decisions_.below(3) == 0 ? *peers_[decisions_.below(peers_.size())] : one;
  if (!peer.socket) {
    make_socket(peer);
    return open(peer);
  }
  if (!peer.socket->is_open()) return open(peer);
  switch (decisions_.below(12)) {
    case 0:
      return close(peer, true);
    case 1:
      return close(peer, false);
    case 2:
    case 3:
      return peer.socket->pause_reading();
    case 4: {
      const Call call(*this);
      return peer.socket->resume_reading();
    }
    case 5: {
      const Call call(*this);
      static_cast<void>(peer.socket->disconnect());
      return;
    }
    case 6: {
      const Call call(*this);
      if (peer.socket->is_connected()) return;
      try {
        peer.socket->connect(some_address());
      } catch (const std::system_error&) {
      }
      return;
    }
    case 7:
      if (peer.in_turn) throw std::runtime_error("a callback throws");
      return;
    default:
      return send_some(peer);
  }
}

template <class Socket>
void DatagramWorkload<Socket>::be_active() {
  TimePoint end = world_.kernel().after(kDatagramActive);
  while (world_.kernel().now() < end && world_.problems().empty()) {
    if (!world_.step() || decisions_.chance(20)) {
      Peer& peer = *peers_[decisions_.below(peers_.size())];
      if (peer.socket && peer.socket->is_open() && decisions_.below(4) != 0) {
        send_some(peer);
      } else {
        disturb(peer);
      }
      world_.kernel().at(world_.kernel().after(20ms), [] {});
    }
    if (decisions_.exhausted()) end = std::min(end, world_.kernel().after(100ms));
  }
}

template <class Socket>
void DatagramWorkload<Socket>::come_to_an_end() {
  mischief_ = 0;
  world_.kernel().faults() = {};
  for (const auto& peer : peers_) {
    if (peer->socket) peer->socket->resume_reading();
  }
  const auto empty = [&] {
    return std::all_of(peers_.begin(), peers_.end(), [](const auto& each) {
      return !each->socket || (each->socket->queued_datagrams() == 0 && !each->owed_drain);
    });
  };
  if (!world_.run_until(empty, kDatagramPatience) && world_.problems().empty()) {
    world_.problem("a queue that does not drain, or whose on_drained does not come");
  }
  world_.run_for(10s);  // what is under way
  ending_ = true;
  for (const auto& peer : peers_) {
    if (peer->socket) close(*peer, true);
  }
  world_.run_for(1s);
}

// Where each datagram has gone.
template <class Socket>
void DatagramWorkload<Socket>::check_sums() {
  DatagramStats sum;
  for (const auto& peer : peers_) {
    sum.received += peer->seen.received;
    sum.missed += peer->seen.missed;
    sum.sent += peer->seen.sent;
    sum.refused += peer->seen.refused;
    sum.dropped += peer->seen.dropped;
    sum.send_failures += peer->seen.send_failures;
  }
  const SimDatagramCounts& kernel = world_.kernel().datagrams();
  const auto same = [this](const char* what, std::uint64_t a, std::uint64_t b) {
    if (a != b) {
      world_.problem(std::string(what) + ": " + std::to_string(a) + " and " + std::to_string(b));
    }
  };
  same("sent, as the sockets and the kernel count", sum.sent, kernel.sent);
  same("refused, as they were and as the sockets count", refused_, sum.refused);
  same("taken, and what became of them", taken_ + dropped_,
       sum.sent + sum.dropped + sum.send_failures);
  same("on the network, and what became of them", kernel.sent - kernel.lost + kernel.duplicated,
       kernel.delivered + kernel.overflowed + kernel.unclaimed);
  // While a socket is closed more may be lost, after it has asked.
  if (!was_closed_) same("missed, by the sockets and the kernel", sum.missed, kernel.overflowed);
  if (sum.missed > kernel.overflowed) world_.problem("more missed than there was");
  if (batch_was_lost_) return;
  same("delivered to the sockets and by them", kernel.delivered - kernel.discarded, sum.received);
}

template <class Socket>
Report DatagramWorkload<Socket>::run() {
  for (std::uint64_t i = 1 + decisions_.below(2); i > 0; --i) {
    world_.add_loop().set_exception_hook([](std::exception_ptr, std::string_view) {});
  }
  constexpr std::array kFaults{SimFaults(), SimFaults::harmless(), SimFaults::harmful()};
  world_.kernel().faults() = kFaults[decisions_.below(kFaults.size())];
  const std::size_t own_descriptors = world_.kernel().open_descriptors();
  if (kUnix) {
    any_ = SocketAddress::unix_abstract({});
    nobody_ = SocketAddress::unix_abstract("nobody");
  } else {
    any_ = decisions_.below(3) == 0 ? SocketAddress::loopback_v6(0) : SocketAddress::loopback(0);
    nobody_ = any_.with_port(9);
  }
  mischief_ = static_cast<unsigned>(decisions_.below(4) * 10);
  for (std::uint64_t i = 2 + decisions_.below(kSocketsMost - 1); i > 0; --i) {
    Peer& peer = *peers_.emplace_back(std::make_unique<Peer>());
    peer.options = random_options();
    make_socket(peer);
    open(peer);
  }
  be_active();
  come_to_an_end();
  if (world_.problems().empty()) check_sums();
  if (world_.kernel().open_descriptors() != own_descriptors) {
    world_.problem("descriptors were left open");
  }
  return {world_.problems(), world_.kernel().fingerprint(), made_, right_bytes_,
          world_.kernel().calls()};
}

}  // namespace

Report run_datagram_workload(Decisions& decisions) {
  DatagramWorkload<UdpSocket> workload(decisions);
  return workload.run();
}

Report run_unix_datagram_workload(Decisions& decisions) {
  DatagramWorkload<UnixDatagramSocket> workload(decisions);
  return workload.run();
}

}  // namespace millrace::test
