// SimStream is a simulated stream socket, TCP or Unix, with the rules that Linux has for what
// epoll, recv and send say of it. It lives in a SimKernel.
//
// The rules (those of tcp_poll(), tcp_recvmsg(), tcp_reset() ..., checked against the real kernel
// by tests/sim/kernel_conformance_test.cc):
// 1. Bytes wait with the sender until the receiver's window has room and, in the sender's buffer,
//    until they are acknowledged. EPOLLOUT: at least a third of the buffer is free.
// 2. RST drops what the sender has not transmitted, and what arrived before can still be read; then
//    the error comes once (EPIPE if FIN had come before, else ECONNRESET), then end of stream.
// 3. Closing with unread bytes, or with SO_LINGER {1, 0}, sends RST; otherwise what was sent still
//    arrives, and what comes for a closed socket is answered with RST.
// 4. Descriptors come with the first byte of the message that carried them; no receive goes beyond
//    the end of that message, and one that has no room for them closes them.
#pragma once

#include "support/sim/byte_fifo.h"
#include "support/sim/sim_file.h"
#include "support/sim/sim_kernel.h"
#include "support/sim/sim_socket.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <sys/socket.h>

namespace millrace::test {

class SimStream final : public SimSocket {
 public:
  SimStream(SimKernel& kernel, int domain) : SimSocket(kernel, domain, SOCK_STREAM) {}

  std::uint32_t poll() const override;
  // Nothing is said of one that connects before it has: that it is writable means that it is done.
  bool may_mislead() const override { return state_ != State::connecting; }
  void close() override;

  int listen(int backlog) override;
  int connect(const SimAddress& address) override;
  int disconnect() override;
  std::shared_ptr<SimStream> accept();  // null: none there
  int shutdown(int how) override;
  SimResult send(SimMessage&& message) override;
  SimResult receive(SimReceived& into, std::size_t n, int flags) override;
  // The same for who wants no more than the bytes: descriptors that come with them are closed.
  SimResult receive(void* to, std::size_t n, bool peek);
  // How many bytes send() would take at the most.
  std::size_t room() const;
  int set_option(int level, int name, const void* value, socklen_t n) override;
  int get_option(int level, int name, void* value, socklen_t* n) override;
  int queue_size(unsigned long request, int* value) const override;

  void vanish() override;
  bool connected() const override { return state_ == State::connected; }
  bool listening() const override { return state_ == State::listening; }
  std::size_t waiting() const { return accept_queue_.size(); }
  void forget_peer() { peer_.reset(); }
  void forget_all() override;

 private:
  enum class State { unconnected, listening, connecting, connected, closed };

  // The descriptors of one message, and where its bytes lie in all that was ever received.
  struct Rights {
    std::uint64_t begin;
    std::uint64_t end;
    std::vector<SimPassed> descriptors;
  };

  std::shared_ptr<SimStream> self();
  void inherit(const SimStream& listener);
  int connect_unix(const SimAddress& address);
  int connect_tcp(const SimAddress& address);
  void send_syn(int attempt);
  void become_connected();

  std::size_t window() const;
  // Of a Unix socket: what the peer has not read.
  std::size_t unacknowledged() const {
    if (is_unix()) return peer_ ? peer_->received_.size() : 0;
    return in_flight_out_ + unsent_.size();
  }
  void transmit();
  // To the other end, after everything that is under way there.
  void deliver(std::function<void(SimStream&)> arrival);
  void take_unix(std::string_view bytes, std::vector<SimPassed>&& descriptors);
  std::size_t mergeable(std::size_t n) const;
  std::vector<SimPassed> rights_before(std::uint64_t end, bool peek);
  void arrive(const std::string& bytes);
  void arrive_end();
  void arrive_reset();
  void acknowledged(std::size_t n);
  void send_reset();
  void die(int error);
  void give_up_if_unanswered(TimePoint since);
  void watch_vanished_peer();
  void close_unix();
  void close_listener();

  State state_ = State::unconnected;
  std::shared_ptr<SimStream> peer_;
  bool reset_on_close_ = false;
  bool connect_told_ = false;  // connect() has said that it is done

  bool no_more_input_ = false;   // RCV_SHUTDOWN
  bool no_more_output_ = false;  // SEND_SHUTDOWN
  bool peer_ended_ = false;      // FIN came, in order: SOCK_DONE
  bool end_sent_ = false;
  bool end_acknowledged_ = false;
  bool vanished_ = false;  // nothing comes from here, nothing arrives

  ByteFifo unsent_;                // taken from the owner, not transmitted
  std::size_t in_flight_out_ = 0;  // transmitted, not acknowledged
  std::size_t lost_ = 0;           // unacknowledged when the connection died: Linux counts on
  std::size_t in_flight_in_ = 0;   // transmitted by the other end, not arrived
  ByteFifo received_;
  std::uint64_t taken_ = 0;  // of all that was received, by the owner
  std::deque<Rights> rights_;
  TimePoint last_arrival_;  // of what is under way to this end
  TimePoint last_heard_;    // when something arrived last

  int backlog_ = 0;
  int handshakes_ = 0;
  std::deque<std::shared_ptr<SimStream>> accept_queue_;
};

}  // namespace millrace::test
