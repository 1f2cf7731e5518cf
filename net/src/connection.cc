// The public face of a connection: forwards to ConnectionCore, and answers questions.
#include <millrace/check.h>
#include <millrace/connection.h>
#include <millrace/event_loop.h>
#include <millrace/send_writer.h>
#include <millrace/socket_options.h>

#include "apply_socket_options.h"
#include "connection_core.h"
#include "syscalls.h"

#include <algorithm>
#include <utility>

#include <linux/sockios.h>

namespace millrace {
namespace {

ConnectionCore& core(Connection& c) {
  return ConnectionCore::of(c);
}
const ConnectionCore& core(const Connection& c) {
  return ConnectionCore::of(c);
}

template <class Ask>
SocketAddress ask_address(Ask&& ask) {
  alignas(8) unsigned char native[SocketAddress::kNativeBytes];
  socklen_t size = sizeof native;
  if (ask(reinterpret_cast<sockaddr*>(native), &size) != 0) return {};
  return SocketAddress::from_native(native, size);
}

}  // namespace

SendResult Connection::send(ByteView bytes) {
  return core(*this).send_bytes(bytes, {});
}
SendResult Connection::send_together(ByteView first, ByteView second, ByteView third) {
  return core(*this).send_bytes(first, second, third);
}
SendResult Connection::send_together(ByteView first, SharedBytes second, ByteView third) {
  return core(*this).send_shared(first, std::move(second), third);
}
SendResult Connection::send(SharedBytes bytes) {
  return core(*this).send_shared({}, std::move(bytes));
}
SendResult Connection::try_send(ByteView bytes) {
  return core(*this).try_send(bytes);
}
SendResult Connection::send_file(UniqueFd file, std::uint64_t offset, std::uint64_t length_bytes) {
  return core(*this).send_file(std::move(file), offset, length_bytes);
}
SendWriter Connection::writer(std::size_t bytes) {
  return SendWriter(core(*this), bytes);
}
void Connection::flush() {
  core(*this).flush_now();
}
std::size_t Connection::queued_bytes() const noexcept {
  return core(*this).output_.bytes();
}

void Connection::end() {
  core(*this).end_output();
}
void Connection::close(std::error_code why, std::string_view detail) {
  core(*this).close_gracefully(why, detail);
}
void Connection::abort(std::error_code why, std::string_view detail) {
  core(*this).abort(why, detail);
}
bool Connection::is_open() const noexcept {
  const ConnectionCore& self = core(*this);
  return self.is_open() && !self.has(ConnectionCore::kWriteFailed);
}
std::string_view Connection::close_detail() const noexcept {
  const auto* rare = core(*this).find<ConnectionCore::Rare>();
  return rare ? std::string_view(rare->detail) : std::string_view();
}

void Connection::pause_reading() {
  core(*this).pause();
}
void Connection::resume_reading() {
  core(*this).resume();
}
bool Connection::reading_paused() const noexcept {
  return core(*this).has(ConnectionCore::kPaused);
}
ByteView Connection::unconsumed() const noexcept {
  return core(*this).input_.view();
}
std::uint64_t Connection::remembered() const noexcept {
  return core(*this).input_.note();
}

void Connection::set_handler(ConnectionHandler& handler) {
  core(*this).switch_handler(handler);
}
ConnectionHandler& Connection::handler() const noexcept {
  return *core(*this).handler_;
}

void Connection::put_context(std::unique_ptr<ContextBase> context) {
  std::unique_ptr<ContextBase>* place = &core(*this).contexts_;
  while (*place && (*place)->key != context->key && !ConnectionCore::is_ours(**place)) {
    place = &(*place)->next;
  }
  if (!*place || (*place)->key != context->key) {  // before ours: the user's are found first
    context->next = std::move(*place);
    *place = std::move(context);
    return;
  }
  // The old one dies after the new one is in place: its destructor may look for its successor.
  context->next = std::move((*place)->next);
  std::swap(*place, context);
}
Connection::ContextBase* Connection::find_context(const void* key) const noexcept {
  ContextBase* found = core(*this).contexts_.get();
  while (found && found->key != key) found = found->next.get();
  return found;
}

EventLoop& Connection::loop() const noexcept {
  return core(*this).IoTarget::loop();
}
std::uint64_t Connection::id() const noexcept {
  return Slot::of(const_cast<ConnectionCore*>(&core(*this))).id;
}
ConnectionRef Connection::ref() const noexcept {
  const Slot& slot = Slot::of(const_cast<ConnectionCore*>(&core(*this)));
  return ConnectionRef(loop().ref(), &slot, slot.id);
}

Connection* ConnectionRef::get() const noexcept {
  if (!slot_ || !loop_.alive() || slot_->id != id_) return nullptr;
  auto* core =
      static_cast<ConnectionCore*>(static_cast<IoTarget*>(const_cast<Slot*>(slot_)->object()));
  return core->ended() ? nullptr : core;
}

SocketAddress Connection::peer() const noexcept {
  return core(*this).peer();
}

SocketAddress Connection::local() const noexcept {
  const int fd = core(*this).fd();
  return ask_address([fd](sockaddr* to, socklen_t* n) { return sys::getsockname(fd, to, n); });
}

ConnectionStats Connection::stats() const noexcept {
  const ConnectionCore& self = core(*this);
  ConnectionStats stats;
  stats.bytes_received = self.bytes_received_;
  stats.bytes_sent = self.bytes_sent_;
  stats.queued_bytes = self.output_.bytes();
  if (const auto* rare = self.find<ConnectionCore::Rare>()) {
    stats.dropped_messages = rare->dropped_messages;
    stats.dropped_bytes = rare->dropped_bytes;
  }
  stats.undelivered_bytes = self.undelivered_bytes();
  const std::uint64_t now = self.services().now_ms();
  stats.age = std::chrono::milliseconds(now - self.opened_ms());
  stats.idle = std::chrono::milliseconds(static_cast<std::uint32_t>(now) - self.last_activity_ms_);
  return stats;
}

KernelQueues Connection::kernel_queues() const noexcept {
  const int fd = core(*this).fd();
  const auto ask = [fd](unsigned long request) {
    int bytes = 0;
    return sys::ioctl(fd, request, &bytes) == 0 ? static_cast<std::size_t>(std::max(bytes, 0)) : 0;
  };
  return {ask(SIOCOUTQ), ask(SIOCOUTQNSD), ask(SIOCINQ)};
}

std::optional<TcpInfo> Connection::tcp_info() const noexcept {
  ::tcp_info native{};
  socklen_t size = sizeof native;
  if (sys::getsockopt(core(*this).fd(), IPPROTO_TCP, TCP_INFO, &native, &size) != 0) return {};
  TcpInfo info;
  info.rtt = std::chrono::microseconds(native.tcpi_rtt);
  info.rtt_variation = std::chrono::microseconds(native.tcpi_rttvar);
  info.retransmits = native.tcpi_total_retrans;
  info.congestion_window_segments = native.tcpi_snd_cwnd;
  info.send_segment_bytes = native.tcpi_snd_mss;
  info.peer_window_bytes = native.tcpi_snd_wnd;
  return info;
}

std::error_code Connection::set_socket_options(const SocketOptions& options, std::string* why) {
  const ConnectionCore& self = core(*this);
  // In a forked child the socket is the parent's too.
  if (!self.is_open() || self.services().forked_away()) {
    if (why) *why = "the connection is not open";
    return make_error_code(std::errc::not_connected);
  }
  const int domain = domain_of(self.fd());
  OptionFailure failure = check_socket_options(options, domain);
  if (!failure) {
    failure = apply_socket_options(self.fd(), domain, options, OptionsFor::live_socket);
  }
  if (!failure) return {};
  if (why) *why = failure.text();
  return system_error_code(failure.error);
}

SocketOptions Connection::socket_options() const {
  return read_socket_options(core(*this).fd());
}

int Connection::native_handle() noexcept {
  core(*this).set(ConnectionCore::kHandleShared);
  return core(*this).fd();
}

}  // namespace millrace
