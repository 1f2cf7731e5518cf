// SimSocket is a simulated stream socket, TCP or Unix, with the rules that Linux has for what
// epoll, recv and send say of it. SimNetwork is what lies between them: who listens where, and what
// is under way. Both live in a SimKernel.
//
// The rules (those of tcp_poll(), tcp_recvmsg(), tcp_reset() ..., checked against the real kernel
// by tests/sim/kernel_conformance_test.cc):
// 1. Bytes wait with the sender until the receiver's window has room and, in the sender's buffer,
//    until they are acknowledged. EPOLLOUT: at least a third of the buffer is free.
// 2. RST drops what the sender has not transmitted, and what arrived before can still be read; then
//    the error comes once (EPIPE if FIN had come before, else ECONNRESET), then end of stream.
// 3. Closing with unread bytes, or with SO_LINGER {1, 0}, sends RST; otherwise what was sent still
//    arrives, and what comes for a closed socket is answered with RST.
#pragma once

#include "support/sim/byte_fifo.h"
#include "support/sim/sim_file.h"
#include "support/sim/sim_kernel.h"

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/socket.h>

namespace millrace::test {

// As the calls give and take it.
struct SimAddress {
  sockaddr_storage native = {};
  socklen_t size = 0;

  SimAddress() = default;
  SimAddress(const sockaddr* from, socklen_t n);
  std::uint16_t port() const;  // of IP addresses
  void set_port(std::uint16_t port);
  bool any_host() const;
  bool same_host(const SimAddress& other) const;
  std::string path() const;  // of Unix addresses
  void copy_to(sockaddr* to, socklen_t* n) const;
};

// What a call has to say: a number of bytes, or an error.
struct SimResult {
  ssize_t value = 0;
  int error = 0;
};

class SimSocket final : public SimFile, public std::enable_shared_from_this<SimSocket> {
 public:
  SimSocket(SimKernel& kernel, int domain);

  std::uint32_t poll() const override;
  // Nothing is said of one that connects before it has: that it is writable means that it is done.
  bool may_mislead() const override { return state_ != State::connecting; }
  void close() override;

  // The calls: 0 or an errno value, or a SimResult.
  int bind(const SimAddress& address);
  int listen(int backlog);
  int connect(const SimAddress& address);
  int disconnect();                     // connect() to AF_UNSPEC
  std::shared_ptr<SimSocket> accept();  // null: none there
  int shutdown(int how);
  SimResult receive(void* to, std::size_t n, bool peek);
  SimResult send(std::string_view bytes);
  // How many bytes send() would take at the most.
  std::size_t room() const;
  int set_option(int level, int name, const void* value, socklen_t n);
  int get_option(int level, int name, void* value, socklen_t* n);
  int local_address(sockaddr* to, socklen_t* n) const;
  int peer_address(sockaddr* to, socklen_t* n) const;
  void remote_address(sockaddr* to, socklen_t* n) const { remote_.copy_to(to, n); }
  int queue_size(unsigned long request, int* value) const;

  void vanish();  // see SimKernel
  bool listening() const { return state_ == State::listening; }
  std::size_t waiting() const { return accept_queue_.size(); }
  const SimAddress& local() const { return local_; }
  std::vector<int>& errors_seen() { return errors_seen_; }
  void forget_peer() { peer_.reset(); }

 private:
  friend class SimNetwork;
  enum class State { unconnected, listening, connecting, connected, closed };

  bool is_unix() const;
  int option(int level, int name) const;
  void inherit(const SimSocket& listener);
  int connect_unix(const SimAddress& address);
  int connect_tcp(const SimAddress& address);
  void send_syn(int attempt);
  void become_connected();
  int take_error();

  std::size_t window() const;
  std::size_t unacknowledged() const { return in_flight_out_ + unsent_.size(); }
  void transmit();
  // To the other end, after everything that is under way there.
  void deliver(std::function<void(SimSocket&)> arrival);
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
  bool gone() const { return closed_by_owner_; }

  const int domain_;
  State state_ = State::unconnected;
  SimAddress local_;
  SimAddress remote_;
  std::shared_ptr<SimSocket> peer_;
  std::map<std::pair<int, int>, int> options_;
  bool reset_on_close_ = false;
  bool connect_told_ = false;  // connect() has said that it is done
  std::size_t send_buffer_;
  std::size_t receive_buffer_;

  int error_ = 0;
  std::vector<int> errors_seen_;
  bool no_more_input_ = false;   // RCV_SHUTDOWN
  bool no_more_output_ = false;  // SEND_SHUTDOWN
  bool peer_ended_ = false;      // FIN came, in order: SOCK_DONE
  bool end_sent_ = false;
  bool end_acknowledged_ = false;
  bool closed_by_owner_ = false;
  bool vanished_ = false;  // nothing comes from here, nothing arrives

  ByteFifo unsent_;                // taken from the owner, not transmitted
  std::size_t in_flight_out_ = 0;  // transmitted, not acknowledged
  std::size_t lost_ = 0;           // unacknowledged when the connection died: Linux counts on
  std::size_t in_flight_in_ = 0;   // transmitted by the other end, not arrived
  ByteFifo received_;
  TimePoint last_arrival_;  // of what is under way to this end
  TimePoint last_heard_;    // when something arrived last

  int backlog_ = 0;
  int handshakes_ = 0;
  std::deque<std::shared_ptr<SimSocket>> accept_queue_;
};

class SimNetwork {
 public:
  explicit SimNetwork(SimKernel& kernel) : kernel_(kernel) {}
  ~SimNetwork();

  void enter(const std::shared_ptr<SimSocket>& socket) { sockets_.push_back(socket); }
  int bind(SimSocket& socket, SimAddress& address);
  void unbind(SimSocket& socket) { std::erase(bound_, &socket); }
  SimSocket* listener(const SimAddress& address) const;
  std::uint16_t free_port();
  void black_hole(std::uint16_t port) { black_holes_.insert(port); }
  bool swallows(std::uint16_t port) const { return black_holes_.count(port) > 0; }

 private:
  bool in_use(const SimSocket& by, const SimAddress& address) const;

  SimKernel& kernel_;
  std::vector<std::weak_ptr<SimSocket>> sockets_;
  std::vector<SimSocket*> bound_;
  std::set<std::uint16_t> black_holes_;
  std::uint16_t next_port_ = 32768;
};

}  // namespace millrace::test
