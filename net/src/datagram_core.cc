#include "datagram_core.h"

#include <millrace/check.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/loop_services.h>

#include "apply_datagram_options.h"
#include "syscalls.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>

#include <fmt/format.h>
#include <linux/sock_diag.h>

namespace millrace {
namespace {

using Family = SocketAddress::Family;

// Datagrams received in one turn: who floods us makes the others wait for so many (about 50 us).
// Those of a GRO message count as one.
constexpr std::size_t kReceivesPerTurn = 64;
// What leaves in one iteration, a datagram counted as its bytes and its cost: a callback that sends
// until it is told to stop is told so.
constexpr std::size_t kBytesPerTurn = 4 * 1024 * 1024;
constexpr std::size_t kCostBytes = 1024;
// In a callback: so much is handed over before it returns, since more would not fit one system
// call.
constexpr std::size_t kFlushAtMessages = DatagramsOut::kMessages;
constexpr std::size_t kFlushAtBytes = 256 * 1024;
// What an IP packet holds, less the headers: IPv4's length counts its own header, IPv6's does not.
constexpr std::size_t kMostUdp4Bytes = 65'535 - 20 - 8;
constexpr std::size_t kMostUdp6Bytes = 65'535 - 8;
// Of its send buffer a Unix datagram leaves so much free (af_unix.c).
constexpr std::size_t kUnixOverheadBytes = 32;
// After receiving failed for lack of memory.
constexpr std::chrono::milliseconds kRest{10};

}  // namespace

DatagramCore::DatagramCore(EventLoop& loop, DatagramHooks hooks, const DatagramOptions& options)
    : IoTarget(loop),
      hooks_(std::move(hooks)),
      options_(options),
      batch_(loop.services().local<DatagramBatch>()) {
  MILLRACE_CHECK_LT(0u, options.largest_datagram_bytes, "no datagram would fit");
}

void DatagramCore::check_unbound(const SocketAddress& wanted) const {
  if (!attached()) return;
  throw_system_error(EINVAL, fmt::format("bind {}: the socket is {} already", wanted.to_string(),
                                         address().to_string()));
}

void DatagramCore::connect(const SocketAddress& peer) {
  if (connected_) {
    throw_system_error(EISCONN, fmt::format("connect {}: the socket is connected to {}",
                                            peer.to_string(), peer_.to_string()));
  }
  UniqueFd socket;
  if (!attached()) socket = open_datagram_socket(peer, options_);
  const int its_fd = attached() ? fd() : socket.get();
  while (sys::connect(its_fd, peer.native(), peer.native_size()) != 0) {
    if (errno == EINTR) continue;
    throw_system_error(errno, fmt::format("connect {}", peer.to_string()));
  }
  if (socket) open(std::move(socket), peer);
  peer_ = peer;
  connected_ = true;
  port_ = address().port();
}

void DatagramCore::open(UniqueFd socket, const SocketAddress& about, UnixPath path) {
  family_ = about.family();
  shut_down_ = false;
  receive_bytes_ = is_ip() && options_.receive_offload
                       ? DatagramBatch::kOffloadBytes
                       : std::min(options_.largest_datagram_bytes, DatagramBatch::kMostBytes);
  if (const int e = attach(socket.get(), reading() ? Interest::read : Interest::none)) {
    throw_system_error(e, fmt::format("epoll_ctl for {}", about.to_string()));
  }
  static_cast<void>(socket.release());
  path_ = std::move(path);
  update_interest();
  port_ = address().port();
  largest_segment_ = suspect_segment_ = 0;
  if (is_ip()) {
    largest_bytes_ = family_ == Family::ipv4 ? kMostUdp4Bytes : kMostUdp6Bytes;
    const bool segment = options_.segmentation_offload && batch_.can_segment(fd());
    largest_segment_ = segment ? DatagramQueue::kTrainBytes : 0;
  } else {
    int buffer = 0;
    socklen_t size = sizeof buffer;
    sys::getsockopt(fd(), SOL_SOCKET, SO_SNDBUF, &buffer, &size);
    largest_bytes_ = static_cast<std::size_t>(buffer) - kUnixOverheadBytes;
  }
}

std::error_code DatagramCore::disconnect() {
  if (!connected_) return system_error_code(ENOTCONN);
  flush();
  drop_queue();
  const SocketAddress bound = address();
  sockaddr none{};
  none.sa_family = AF_UNSPEC;
  if (sys::connect(fd(), &none, sizeof none) != 0) return system_error_code(errno);
  connected_ = false;
  peer_ = {};
  // The kernel takes a port away that it had chosen itself.
  if (is_ip() && address().port() == 0 && bound.port() != 0 &&
      sys::bind(fd(), bound.native(), bound.native_size()) != 0) {
    return system_error_code(errno);
  }
  return {};
}

void DatagramCore::close() noexcept {
  if (!attached()) return;
  if (!loop().services().forked_away()) {
    flush_all();
    stats_.missed = stats().missed;
  }
  drop_queue();
  TimerNode::cancel(loop());
  path_.remove();
  detach_and_close(true);
  ++life_;
  held_.clear();
  failures_.clear();
  connected_ = blocked_ = overflowed_ = resting_ = false;
  peer_ = {};
}

void DatagramCore::end() noexcept {
  close();
  bury();
}

SocketAddress DatagramCore::address() const {
  sockaddr_storage native;
  socklen_t size = sizeof native;
  if (!attached() || sys::getsockname(fd(), reinterpret_cast<sockaddr*>(&native), &size) != 0) {
    return {};
  }
  return SocketAddress::from_native(&native, size);
}

DatagramStats DatagramCore::stats() const {
  DatagramStats stats = stats_;
  std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
  socklen_t size = sizeof memory;
  if (attached() && sys::getsockopt(fd(), SOL_SOCKET, SO_MEMINFO, memory.data(), &size) == 0) {
    stats.missed += memory[SK_MEMINFO_DROPS];
  }
  return stats;
}

void DatagramCore::pause_reading() {
  paused_ = true;
  if (!in_turn_) update_interest();
}

void DatagramCore::resume_reading() {
  paused_ = false;
  if (!held_.empty()) request_flush();
  if (!in_turn_) update_interest();
}

// The way in

void DatagramCore::handle_io(IoEvents events) {
  in_turn_ = true;
  const std::uint32_t life = life_;
  if (events.error()) read_errors();
  if (life == life_ && events.writable()) blocked_ = false;
  if (life == life_ && events.hangup()) shut_down_ = true;
  if (life == life_ && events.readable() && !resting_) receive();
  settle();
}

void DatagramCore::receive() {
  deliver_held();
  const std::uint32_t life = life_;
  const std::size_t batch = DatagramBatch::messages_of(receive_bytes_);
  for (std::size_t done = 0; done < kReceivesPerTurn && life == life_ && reading();) {
    const auto n = static_cast<std::size_t>(std::max(take_batch(), 0));
    done += n;
    if (n < batch) return;
  }
}

int DatagramCore::take_batch() {
  const std::uint32_t life = life_;
  const int n = batch_.receive(fd(), receive_bytes_, with_control());
  if (n < 0) receive_failed(errno);
  for (int i = 0; i < n && life == life_; ++i) take(i);
  return n;
}

void DatagramCore::take(int i) {
  const DatagramBatch::Received from = batch_.received(i);
  // Mostly it is the sender of the one before.
  if (datagram_.from.native_size() != from.name_bytes ||
      std::memcmp(datagram_.from.native(), from.name, from.name_bytes) != 0) {
    datagram_.from = SocketAddress::from_native(from.name, from.name_bytes);
  }
  datagram_.bytes = from.bytes;
  datagram_.size_bytes = from.size_bytes;
  if (!with_control()) return deliver(datagram_);
  const DatagramBatch::Origin origin = batch_.origin(i);
  if (port_ == 0) port_ = address().port();  // the kernel would not say when it was bound
  datagram_.local = origin.local.with_port(port_);
  datagram_.interface = origin.interface;
  if (origin.segment == 0) return deliver(datagram_);
  const std::uint32_t life = life_;
  for (std::size_t at = 0; at < from.bytes.size() && life == life_; at += origin.segment) {
    const ByteView rest = from.bytes.from(at);
    datagram_.bytes = rest.first(std::min<std::size_t>(origin.segment, rest.size()));
    datagram_.size_bytes = datagram_.bytes.size();
    deliver(datagram_);
  }
}

void DatagramCore::deliver(const Datagram& datagram) {
  ++stats_.received;
  stats_.bytes_received += datagram.bytes.size();
  if (datagram.truncated()) ++stats_.truncated;
  if (!reading()) return hold(datagram);  // a callback has just paused
  call(hooks_.on_datagram, "datagram", datagram);
}

void DatagramCore::hold(const Datagram& datagram) noexcept {
  try {
    held_.push_back({datagram, std::string(datagram.bytes.text())});
  } catch (const std::bad_alloc&) {
    ++stats_.missed;
  }
}

void DatagramCore::deliver_held() {
  const std::uint32_t life = life_;
  while (!held_.empty() && reading()) {
    Held held = std::move(held_.front());
    held_.pop_front();
    held.datagram.bytes = held.bytes;
    call(hooks_.on_datagram, "datagram", held.datagram);
    if (life != life_) return;
  }
}

// What the network had to say is in the queue of errors too, whole: epoll tells.
void DatagramCore::receive_failed(int error) {
  if (error != ENOMEM && error != ENOBUFS && error != ENOTCONN) return;
  resting_ = true;
  TimerNode::start(loop(), kRest);
  report({system_error_code(error), {}, {}, 0});
}

// The way out

DatagramResult DatagramCore::send(const DatagramQueue::Target& target, ByteView bytes) {
  if (!attached()) return DatagramResult::closed;
  if (!target.to && !connected_) return DatagramResult::no_destination;
  std::size_t largest_bytes = std::min(largest_bytes_, options_.queue_bytes);
  if (target.to && target.to->family() != family_) {
    const bool mapped = family_ == Family::ipv6 && target.to->family() == Family::ipv4;
    if (!mapped || options_.v6_only) return DatagramResult::wrong_family;
    largest_bytes = std::min(largest_bytes, kMostUdp4Bytes);
  }
  if (bytes.size() > largest_bytes) return DatagramResult::too_large;
  if (!make_room(bytes.size())) {
    const bool refuse = options_.overflow == DatagramOverflow::refuse;
    ++(refuse ? stats_.refused : stats_.dropped);
    return refuse ? DatagramResult::refused : DatagramResult::dropped;
  }
  queue_.append(target, bytes, largest_segment_, loop().services().blocks());
  if (blocked_) return DatagramResult::sent;
  if (!in_turn_) request_flush();
  if (queue_.messages() >= kFlushAtMessages || queue_.bytes() >= kFlushAtBytes) flush_queue();
  return DatagramResult::sent;
}

bool DatagramCore::make_room(std::size_t bytes) noexcept {
  const auto full = [&] {
    return queue_.datagrams() >= std::max<std::size_t>(options_.queue_datagrams, 1) ||
           queue_.bytes() + bytes > options_.queue_bytes;
  };
  if (!full()) [[likely]]
    return true;
  overflowed_ = true;
  if (options_.overflow != DatagramOverflow::drop_oldest) return false;
  while (full()) {
    queue_.remove(1, loop().services().blocks());
    ++stats_.dropped;
  }
  return true;
}

void DatagramCore::flush() {
  if (!attached()) return;
  flush_all();
  if (in_turn_) return;
  update_interest();
  request_flush();  // what there is to tell is told from the loop
}

bool DatagramCore::may_flush() noexcept {
  const std::uint64_t iteration = loop().services().iteration();
  if (iteration != std::exchange(iteration_, iteration)) turn_bytes_ = 0;
  return turn_bytes_ < kBytesPerTurn;
}

void DatagramCore::flush_queue() noexcept {
  BlockPool& pool = loop().services().blocks();
  DatagramsOut& out = batch_.out();
  int attempts = 0;
  while (!queue_.empty() && may_flush()) {
    const unsigned n = queue_.fill(out, largest_segment_);
    const int taken = sys::sendmmsg(fd(), out.messages.data(), n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken <= 0) {
      if (!send_failed(errno, attempts)) return;
      continue;
    }
    attempts = 0;
    std::size_t datagrams = 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(taken); ++i) datagrams += out.datagrams[i];
    const std::size_t before = queue_.bytes();
    queue_.remove(datagrams, pool);
    const std::size_t bytes = before - queue_.bytes();
    stats_.sent += datagrams;
    stats_.bytes_sent += bytes;
    turn_bytes_ += bytes + datagrams * kCostBytes;
    blocked_ = false;
    retry_after_ = std::chrono::milliseconds{1};
    // What was refused as a whole went one by one: it was for its size.
    if (suspect_segment_ != 0) largest_segment_ = std::exchange(suspect_segment_, 0) - 1;
  }
}

// However much it is.
void DatagramCore::flush_all() noexcept {
  do {
    turn_bytes_ = 0;
    blocked_ = false;
    flush_queue();
  } while (!queue_.empty() && !blocked_);
}

void DatagramCore::drop_queue() noexcept {
  stats_.dropped += queue_.datagrams();
  queue_.clear(loop().services().blocks());
  blocked_ = false;
}

void DatagramCore::handle_flush() {
  in_turn_ = true;
  deliver_held();
  settle();
}

// Of those whose writability says nothing, or after receiving has failed.
void DatagramCore::handle_timer() {
  in_turn_ = true;
  resting_ = false;
  blocked_ = false;
  settle();
}

void DatagramCore::settle() {
  if (attached() && !blocked_) flush_queue();
  report_failures();
  if (owes_drained()) {
    overflowed_ = false;
    if (hooks_.on_drained) call(hooks_.on_drained, "drained");
  }
  in_turn_ = false;
  if (!attached()) return;
  // These callbacks may have called flush().
  const bool owes = owes_drained() || !failures_.empty();
  if (owes || (!queue_.empty() && !blocked_)) request_flush();
  update_interest();
}

bool DatagramCore::owes_drained() const noexcept {
  return overflowed_ && queue_.bytes() <= options_.queue_bytes / 2 &&
         queue_.datagrams() <= options_.queue_datagrams / 2;
}

void DatagramCore::update_interest() noexcept {
  if (!attached()) return;
  if (shut_down_) return silence();  // epoll would tell for ever
  const bool read = reading() && !resting_;
  const bool write = blocked_ && !TimerNode::active();
  set_interest((read ? Interest::read : Interest::none) |
               (write ? Interest::write : Interest::none));
}

void DatagramCore::handle_burial() noexcept {
  loop().services().slab<DatagramCore>().destroy(this);
}

}  // namespace millrace
