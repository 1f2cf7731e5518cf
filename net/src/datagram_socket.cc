#include <millrace/datagram_socket.h>
#include <millrace/event_loop.h>
#include <millrace/loop_services.h>

#include "datagram_core.h"

#include <utility>

namespace millrace {

DatagramSocket::DatagramSocket(EventLoop& loop, DatagramHooks hooks, const DatagramOptions& options)
    : core_(loop.services().slab<DatagramCore>().make(loop, std::move(hooks), options)) {}

DatagramSocket::~DatagramSocket() {
  core_->end();
}

DatagramResult DatagramSocket::send(ByteView bytes) {
  return core_->send({}, bytes);
}

DatagramResult DatagramSocket::send_to(const SocketAddress& to, ByteView bytes) {
  if (core_->is_connected()) return DatagramResult::connected;
  return core_->send({.to = &to}, bytes);
}

DatagramResult DatagramSocket::reply(const Datagram& d, ByteView bytes) {
  const bool known = d.local.family() != SocketAddress::Family::none;
  return core_->send({.to = &d.from, .from = known ? &d.local : nullptr}, bytes);
}

void DatagramSocket::flush() {
  core_->flush();
}
void DatagramSocket::pause_reading() {
  core_->pause_reading();
}
void DatagramSocket::resume_reading() {
  core_->resume_reading();
}
bool DatagramSocket::reading_paused() const noexcept {
  return core_->reading_paused();
}
std::error_code DatagramSocket::disconnect() {
  return core_->disconnect();
}
void DatagramSocket::close() {
  core_->close();
}
bool DatagramSocket::is_open() const noexcept {
  return core_->is_open();
}
bool DatagramSocket::is_connected() const noexcept {
  return core_->is_connected();
}
SocketAddress DatagramSocket::address() const {
  return core_->address();
}
SocketAddress DatagramSocket::peer() const {
  return core_->peer();
}
std::size_t DatagramSocket::queued_bytes() const noexcept {
  return core_->queued_bytes();
}
std::size_t DatagramSocket::queued_datagrams() const noexcept {
  return core_->queued_datagrams();
}
DatagramStats DatagramSocket::stats() const {
  return core_->stats();
}
int DatagramSocket::fd() const noexcept {
  return core_->fd();
}
EventLoop& DatagramSocket::loop() const noexcept {
  return core_->loop();
}

}  // namespace millrace
