#include "connection_core.h"

#include <millrace/check.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>

#include "stream_io.h"
#include "syscalls.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace millrace {
namespace {

// Callbacks that one settle() runs before the loop's other work gets its turn: enough for what one
// event leads to, few enough that a handler which always has more does not keep the loop.
constexpr int kCallbacksPerSettle = 4;

}  // namespace

ConnectionOwner::ConnectionOwner(const ConnectionOptions& options)
    : connection_options(options),
      quick_bytes(std::min({ConnectionCore::kFlushNowBytes, options.limits.high_watermark_bytes,
                            options.limits.send_queue_bytes})) {
  MILLRACE_CHECK_LE(options.limits.low_watermark_bytes, options.limits.high_watermark_bytes,
                    "ConnectionLimits: the low watermark is above the high one");
}

void ConnectionOwner::connection_opened(ConnectionCore&) noexcept {}

void ConnectionOwner::end_connections(std::error_code why) noexcept {
  while (ConnectionCore* connection = first_) {
    connection->leave_owner();
    connection->fail(why);
    connection->settle();  // does nothing yet if one of its callbacks is on the stack
  }
}

ConnectionCore::ConnectionCore(EventLoop& loop, ConnectionOwner& owner, ConnectionHandler& handler,
                               const SocketAddress& peer)
    : IoTarget(loop), handler_(&handler), owner_(&owner) {
  const std::uint64_t now = services().now_ms();
  opened_high_ = static_cast<std::uint8_t>(now >> 32);
  opened_low_ = last_activity_ms_ = static_cast<std::uint32_t>(now);
  keep_peer(peer);
}

ConnectionCore::PeerV6::PeerV6(const SocketAddress& peer) : ContextBase(&kKey<PeerV6>) {
  std::memcpy(native.data(), peer.native(), native.size());
}

void ConnectionCore::keep_peer(const SocketAddress& peer) {
  switch (peer.family()) {
    case SocketAddress::Family::none:  // gone before it was accepted
      return;
    case SocketAddress::Family::ipv4:
      peer_v4_ = peer.ipv4();
      peer_port_ = peer.port();
      return;
    case SocketAddress::Family::ipv6:
      obtain<PeerV6>(peer);
      return;
    case SocketAddress::Family::unix_domain:
      set(kUnix);
      if (peer != SocketAddress::unix_abstract({})) obtain<NamedPeer>(peer);
      return;
  }
}

SocketAddress ConnectionCore::peer() const noexcept {
  if (peer_port_ != 0) return SocketAddress::ipv4(peer_v4_, peer_port_);
  if (const auto* v6 = find<PeerV6>()) {
    return SocketAddress::from_native(v6->native.data(), v6->native.size());
  }
  if (!has(kUnix)) return {};
  const auto* named = find<NamedPeer>();
  return named ? named->address : SocketAddress::unix_abstract({});
}

ConnectionCore::~ConnectionCore() = default;

int ConnectionCore::open(EventLoop& loop, ConnectionOwner& owner, UniqueFd socket,
                         const SocketAddress& peer, ConnectionHandler& handler,
                         std::unique_ptr<ConnectionHandler> owned_handler, FirstRead* first_read,
                         bool from_elsewhere) {
  ConnectionCore* made = nullptr;
  int e = 0;
  try {
    made = loop.services().slab<ConnectionCore>().make(loop, owner, handler, peer);
    if (owned_handler) made->rare().owned_handler = std::move(owned_handler);
    e = made->attach(socket.get(), Interest::read);
  } catch (const std::bad_alloc&) {
    if (!made) return ENOMEM;
    e = ENOMEM;
  }
  if (e != 0) {
    made->set(kFinished);
    made->bury();
    return e;
  }
  static_cast<void>(socket.release());
  made->enter_owner();
  made->set(kTimersChanged);
  if (from_elsewhere) made->set(kHandleShared);
  if (made->over_unix() && owner.connection_options.limits.receive_descriptors > 0) {
    made->set(kDescriptors);
  }
  if (owner.draining_) made->set(kDrainOwed | kDrainTold);
  made->call("on_open", [&] {
    made->handler_->on_open(*made);
    if (made->owner_) made->owner_->connection_opened(*made);
  });
  made->settle();
  // A callback may have ended it, and its server.
  if (first_read && made->is_open() && made->wants_input() && first_read->worth_trying()) {
    made->read_first(*first_read);
  }
  return 0;
}

void ConnectionCore::enter_owner() noexcept {
  if (ConnectionCore* next = owner_->first_) {
    next_ = next->number();
    next->previous_ = number();
  }
  owner_->first_ = this;
  ++owner_->count_;
}

ConnectionOwner* ConnectionCore::leave_owner() noexcept {
  if (!owner_) return nullptr;
  ConnectionCore* const next = at(next_);
  if (ConnectionCore* previous = at(previous_)) {
    previous->next_ = next_;
  } else {
    owner_->first_ = next;
  }
  if (next) next->previous_ = previous_;
  next_ = previous_ = kNobody;
  --owner_->count_;
  return std::exchange(owner_, nullptr);
}

const ConnectionOptions& ConnectionCore::options() const noexcept {
  static constexpr ConnectionOptions kDefaults;
  return owner_ ? owner_->connection_options : kDefaults;
}

std::size_t ConnectionCore::low_watermark() const noexcept {
  const ConnectionLimits& limits = options().limits;
  return limits.low_watermark_bytes != 0 ? limits.low_watermark_bytes
                                         : limits.high_watermark_bytes / 2;
}

void ConnectionCore::handle_exception(std::string_view kind) noexcept {
  services().report_exception(std::current_exception(), kind);
  if (ended()) return;  // out of on_close: how it ends is settled
  break_off(error::handler_exception);
}

void ConnectionCore::handle_io(IoEvents events) {
  if (events.readable() || events.ended()) {
    if (wants_input()) {
      read_turn();
    } else if (events.ended()) {
      look_for_end(events);
    } else {
      // Paused before this came: only now it pays to tell the kernel.
      set_interest(has(kBlocked) ? Interest::write : Interest::none);
    }
  }
  if (has(kBlocked) && (events.writable() || events.ended())) {
    unset(kBlocked);
    set(kRetrying);
  }
  flush_output();
  if (has(kRetrying)) note_retried();
  settle();
}

void ConnectionCore::handle_flush() {
  settle();
}

void ConnectionCore::settle_all() noexcept {
  if (callbacks_ > 0 || ended()) return;
  if (has(kFlushedEarly)) flushed_early_ = 0;
  unset(kFlushedEarly);
  for (int callbacks = 0;; ++callbacks) {
    flush_output();
    if (has(kUncorkDue) && output_.empty()) set_cork(false);
    if (has(kWriteFailed)) read_remaining();
    if (has(kFailed)) return finish();
    if (!owes_callback()) break;
    if (callbacks == kCallbacksPerSettle) return settle_soon();
    pay_callback();
  }
  if (settle_end_of_output()) return finish();
  settle_interest();
  if (has(kFailed)) return finish();
  settle_timer();
  if (has(kFailed)) return finish();
  check_invariants();
}

bool ConnectionCore::owes_callback() const noexcept {
  if (!is_open()) return false;
  if (has(kDrainOwed) || (has(kRedeliver | kPeerEndOwed) && !has(kPaused))) return true;
  return has(kAboveHigh) && output_.bytes() <= (has(kAwaitsEmpty) ? 0 : low_watermark());
}

void ConnectionCore::pay_callback() noexcept {
  // In this order: data before the end of the data.
  if (has(kRedeliver) && !has(kPaused)) {
    deliver(input_.view());
  } else if (has(kPeerEndOwed) && !has(kPaused)) {
    unset(kPeerEndOwed);
    call("on_peer_end", [this] { handler_->on_peer_end(*this); });
  } else if (has(kDrainOwed)) {
    unset(kDrainOwed);
    call("on_drain", [this] { handler_->on_drain(*this); });
  } else {
    unset(kAboveHigh | kAwaitsEmpty);
    call("on_drained", [this] { handler_->on_drained(*this); });
  }
}

void ConnectionCore::settle_interest() noexcept {
  // Silenced because it has ended while paused: asking again would only be told so again.
  if (silenced() && !wants_input()) return;
  Interest want = has(kBlocked) ? Interest::write : Interest::none;
  // After pause_reading() the kernel is told only when something comes: a handler that pauses and
  // resumes around each message costs no system call.
  const bool may_stay = !has(kPeerEnded) && millrace::has(interest(), Interest::read);
  if (wants_input() || may_stay) want = want | Interest::read;
  if (const int e = set_interest(want)) break_off(system_error_code(e), "epoll_ctl");
}

// settle() is due, and no event of this connection will bring it about.
void ConnectionCore::settle_soon() noexcept {
  if (callbacks_ == 0) request_flush();
}

void ConnectionCore::remember(std::error_code why, std::string_view detail) noexcept {
  if (!why || end_reason()) return;  // the first reason is the cause
  try {
    Rare& kept = rare();
    kept.why = why;
    kept.detail = detail;
  } catch (const std::bad_alloc&) {
    set(kOutOfMemory);
  }
}

void ConnectionCore::fail(std::error_code why, std::string_view detail) noexcept {
  if (ended()) return;
  remember(why, detail);
  set(kFailed);
  settle_soon();
}

void ConnectionCore::break_off(std::error_code why, std::string_view detail) noexcept {
  set(kReset);
  fail(why, detail);
}

void ConnectionCore::close_gracefully(std::error_code why, std::string_view detail) {
  if (!ended()) remember(why, detail);  // of a close() without a reason too
  if (!is_open()) return;
  // The other side of its pipe may have had more to say: that must not look like all.
  if (why && has(kPiped)) return abort(why, detail);
  set(kClosing | kTimersChanged);
  settle_soon();
}

void ConnectionCore::drain() noexcept {
  if (!is_open() || has(kDrainTold)) return;
  set(kDrainOwed | kDrainTold);
  settle_soon();
}

void ConnectionCore::abort(std::error_code why, std::string_view detail) {
  if (has(kFailed | kFinished)) return;
  break_off(why ? why : make_error_code(error::aborted), detail);
}

std::error_code ConnectionCore::end_reason() const noexcept {
  if (const Rare* rare = find<Rare>(); rare && rare->why) return rare->why;
  return has(kOutOfMemory) ? make_error_code(std::errc::not_enough_memory) : std::error_code();
}

void ConnectionCore::finish() noexcept {
  set(kFinished);
  drop_deadline();
  ConnectionOwner* owner = leave_owner();  // which may do without it in on_close already
  const std::error_code why = end_reason();
  call("on_close", [&] { handler_->on_close(*this, why); });

  // What is lost must not look to the peer like the end of all that there was.
  if (!output_.empty()) set(kReset);
  end_stream();
  if (!has(kWriting)) output_.clear(pool());
  input_.clear(pool());
  detach_and_close(has(kHandleShared));
  if (owner) owner->connection_ended(*this);
  bury();
}

// Sees to it that closing the descriptor sends RST or FIN.
void ConnectionCore::end_stream() noexcept {
  // In a forked child the socket is the parent's too: its state must not be touched.
  if (services().forked_away()) return;
  // While there are copies of the descriptor, closing ours sends nothing.
  const bool copied = has(kHandleShared) || services().ever_forked();
  if (has(kReset)) {
    stream_reset(fd(), copied);
  } else if (copied && !has(kFinSent)) {
    sys::shutdown(fd(), SHUT_WR);
  }
}

void ConnectionCore::check_invariants() const noexcept {
#ifndef NDEBUG
  if (output_.empty()) return;
  MILLRACE_CHECK(borrows_nothing(), "invariant 4: what was received is still borrowed");
  MILLRACE_CHECK(
      has(kBlocked) ? silenced() || millrace::has(interest(), Interest::write) : flush_requested(),
      "invariant 1: bytes are queued and nothing will send them");
#endif
}

}  // namespace millrace
