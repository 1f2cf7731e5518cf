// SimDatagram is a simulated datagram socket, UDP or Unix, with the rules that Linux has for it. It
// lives in a SimKernel.
//
// The rules (those of udp_sendmsg(), datagram_poll(), unix_dgram_sendmsg() ..., checked against the
// real kernel by tests/sim/datagram_conformance_test.cc):
// 1. UDP: what finds the receive buffer full is lost, and counted there. What finds nobody comes
//    back as ECONNREFUSED: to who is connected, or with IP_RECVERR, which also queues it.
// 2. An error that waits is the answer of the next send or receive, before any datagram.
// 3. Unix: nothing is lost. Eleven wait at a socket, the next one gets EAGAIN; EPOLLOUT speaks of
//    the peer of who is connected, and else of one's own buffer only.
#pragma once

#include "support/sim/sim_socket.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace millrace::test {

class SimDatagram final : public SimSocket {
 public:
  SimDatagram(SimKernel& kernel, int domain) : SimSocket(kernel, domain, SOCK_DGRAM) {}

  std::uint32_t poll() const override;
  void close() override;
  int bind(const SimAddress& address) override;
  int connect(const SimAddress& address) override;
  int disconnect() override;
  int shutdown(int how) override;
  SimResult send(SimMessage&& message) override;
  SimResult receive(SimReceived& into, std::size_t n, int flags) override;
  int set_option(int level, int name, const void* value, socklen_t n) override;
  int get_option(int level, int name, void* value, socklen_t* n) override;
  int queue_size(unsigned long request, int* value) const override;
  bool connected() const override { return connected_; }
  void forget_all() override;
  // recvmmsg() keeps the error that ended it for the next call.
  void keep_error(int error);
  int pending_error() { return take_error(); }

  // How well this UDP socket fits a datagram from there to there; negative: not at all.
  int score(const SimAddress& to, const SimAddress& from) const;
  bool member(const SimAddress& group, const SimAddress& from) const;
  bool takes_all_groups(const SimAddress& group) const;

 private:
  // What one takes of a buffer beside its bytes.
  static constexpr std::size_t kOverhead = 768;

  struct Packet {
    std::string bytes;
    SimAddress from;
    SimAddress to;
    std::vector<SimPassed> descriptors;
    std::weak_ptr<SimSocket> sender;
    std::size_t cost = 0;
    std::uint64_t message = 0;  // which send it was part of
    std::size_t segment = 0;    // of how many bytes its parts are
    int parts = 1;
  };
  struct Membership {
    SimAddress group;
    std::optional<SimAddress> source;
  };

  std::shared_ptr<SimDatagram> self();
  bool v6_only() const;
  // An option that IPv4 and IPv6 have, of the one that concerns this address.
  bool chosen(int v4_name, int v6_name, const SimAddress& about, bool otherwise = false) const;
  SimAddress as_ours(const SimAddress& address) const;  // ::ffff:a.b.c.d in an IPv6 socket

  // UDP.
  int destination_of(const SimMessage& message, SimAddress* to) const;
  SimAddress source_for(const SimMessage& message, const SimAddress& to) const;
  SimResult send_udp(SimMessage&& message);
  void transmit(Packet packet);
  void arrive(const Packet& packet);
  void take_udp(Packet packet);
  void unreachable(const Packet& packet);
  int change_membership(int name, const void* value, socklen_t n);

  // Unix.
  int connect_unix(const SimAddress& address);
  SimResult send_unix(SimMessage&& message);
  bool is_full_for(const SimDatagram& sender) const;
  void leave_peer();
  void drop_queue();

  SimResult receive_error(SimReceived& into, std::size_t n);
  void describe(const Packet& packet, SimReceived& into) const;
  void release(std::size_t cost);

  bool connected_ = false;
  bool host_was_bound_ = false;
  bool port_was_bound_ = false;
  bool no_more_input_ = false;
  bool no_more_output_ = false;
  std::deque<Packet> queue_;
  std::size_t queued_cost_ = 0;
  std::size_t out_cost_ = 0;  // sent, and not there yet
  std::uint32_t missed_ = 0;
  std::deque<SimReceived> errors_;
  std::vector<Membership> memberships_;
  std::weak_ptr<SimDatagram> peer_;
  std::vector<std::weak_ptr<SimDatagram>> connected_here_;
};

}  // namespace millrace::test
