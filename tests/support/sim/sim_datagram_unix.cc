// What is different of Unix datagram sockets.
#include "support/sim/sim_datagram.h"
#include "support/sim/sim_network.h"

#include <cerrno>
#include <utility>

namespace millrace::test {
namespace {

constexpr std::size_t kQueueMost = 10;  // net.unix.max_dgram_qlen; one more is taken
constexpr std::size_t kReserved = 32;   // of the send buffer, by the kernel

}  // namespace

// Who is connected back is held back by its own buffer only.
bool SimDatagram::is_full_for(const SimDatagram& sender) const {
  if (&sender == this || peer_.lock().get() == &sender) return false;
  return queue_.size() > kQueueMost;
}

int SimDatagram::connect_unix(const SimAddress& address) {
  if (address.family() != AF_UNIX) return EINVAL;
  int error = 0;
  auto* other = dynamic_cast<SimDatagram*>(kernel().network().named(address, SOCK_DGRAM, &error));
  if (!other) return error;
  const auto theirs = other->peer_.lock();
  if (theirs && theirs.get() != this) return EPERM;
  if (peer_.lock().get() != other) leave_peer();
  peer_ = other->self();
  other->connected_here_.push_back(self());
  remote_ = other->local_;
  connected_ = true;
  touch();
  return 0;
}

// What it had sent is lost, and the peer is told, if it was connected back.
void SimDatagram::leave_peer() {
  const auto other = std::exchange(peer_, {}).lock();
  if (!other) return;
  std::erase_if(other->connected_here_,
                [this](const auto& each) { return each.expired() || each.lock().get() == this; });
  if (queue_.empty() || closed_by_owner_) return;
  drop_queue();
  if (other->peer_.lock().get() == this) other->keep_error(ECONNRESET);
}

void SimDatagram::drop_queue() {
  queued_cost_ = 0;
  for (const Packet& each : std::exchange(queue_, {})) {
    kernel().datagrams().discarded += static_cast<std::uint64_t>(each.parts);
    const auto sender = each.sender.lock();
    if (is_unix() && sender) static_cast<SimDatagram&>(*sender).release(each.cost);
  }
  touch();
}

SimResult SimDatagram::send_unix(SimMessage&& message) {
  if (message.bytes.size() > send_buffer_ - kReserved) return {-1, EMSGSIZE};
  if (!message.to && !connected_) return {-1, ENOTCONN};
  if (const int e = take_error()) return {-1, e};
  if (no_more_output_) return {-1, EPIPE};
  if (out_cost_ >= send_buffer_) return {-1, EAGAIN};
  std::shared_ptr<SimDatagram> other;
  if (message.to) {
    int error = 0;
    SimSocket* found = kernel().network().named(*message.to, SOCK_DGRAM, &error);
    if (!found) return {-1, error};
    other = static_cast<SimDatagram*>(found)->self();
  } else {
    other = peer_.lock();
    if (!other || other->closed_by_owner_) {
      connected_ = false;
      leave_peer();
      return {-1, ECONNREFUSED};
    }
  }
  const auto theirs = other->peer_.lock();
  if (theirs && theirs.get() != this) return {-1, EPERM};
  if (other->no_more_input_) return {-1, EPIPE};
  if (other->is_full_for(*this)) return {-1, EAGAIN};
  Packet packet;
  packet.bytes = std::move(message.bytes);
  packet.from = local_;
  packet.descriptors = std::move(message.descriptors);
  packet.sender = weak_from_this();
  packet.cost = packet.bytes.size() + kOverhead;
  const auto n = static_cast<ssize_t>(packet.bytes.size());
  out_cost_ += packet.cost;
  other->queued_cost_ += packet.cost;
  other->queue_.push_back(std::move(packet));
  ++kernel().datagrams().sent;
  ++kernel().datagrams().delivered;
  other->touch();
  touch();
  return {n, 0};
}

}  // namespace millrace::test
