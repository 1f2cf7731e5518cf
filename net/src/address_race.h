// AddressRace makes one connection to whichever address of an endpoint answers first (RFC 8305,
// "Happy Eyeballs"), and looks the addresses up if it is a name. It is part of a Client and lives
// as long: a callback of its own may be running when it is destroyed, so that its owner has to be
// buried. Loop's thread.
//
// Addresses wait in two lists, of the preferred family and of the others, which take turns. The
// next one's turn comes when the one before has had its time (`attempt_delay`) or when any has
// failed. The first that is connected ends the race; it is lost when nobody runs, nobody waits and
// no look-up is under way, or at the deadline of the whole.
#pragma once

#include <millrace/client_options.h>
#include <millrace/function.h>
#include <millrace/resolver.h>
#include <millrace/socket_address.h>
#include <millrace/time.h>
#include <millrace/timer.h>
#include <millrace/unique_fd.h>

#include "connector.h"
#include "endpoint.h"

#include <cstddef>
#include <span>
#include <string>
#include <system_error>
#include <vector>

namespace millrace {

class AddressRace {
 public:
  // The socket connected to `peer`, or why there is none: once for each start(), from the loop.
  // The race is over by then; the callback may start the next one, or destroy the owner.
  using Result = Function<void(UniqueFd socket, const SocketAddress& peer, std::error_code why)>;

  AddressRace(EventLoop& loop, const ClientOptions& options, Result result);
  AddressRace(const AddressRace&) = delete;
  AddressRace& operator=(const AddressRace&) = delete;
  ~AddressRace() { cancel(); }

  // Precondition: not active. Throws what the resolver throws when it is made, and std::bad_alloc;
  // is not active then.
  void start(const Endpoint& endpoint);
  // There will be no result.
  void cancel() noexcept;
  bool active() const noexcept { return active_; }
  // What became of each address.
  std::string detail() const;

 private:
  // A thousand addresses in one answer are an attack, or a mistake.
  static constexpr std::size_t kMostAddresses = 64;

  struct Attempt {
    SocketAddress address;
    Connector* connector;  // while it runs
    std::error_code failure;
  };

  struct Question {
    Lookup lookup;
    std::error_code failure;
  };

  void add(const SocketAddress& address);
  bool known(const SocketAddress& address) const noexcept;
  std::size_t waiting() const noexcept { return waiting_[0].size() + waiting_[1].size(); }
  bool resolving() const noexcept { return v6_.lookup.active() || v4_.lookup.active(); }
  void look_up(const Endpoint& name);
  void ask(Question& question, const Endpoint& name, Resolver::Families family);
  void take_answer(Question& question, std::error_code why,
                   std::span<const SocketAddress> addresses);
  void schedule();
  SocketAddress take_next();
  void try_next();
  void try_one(const SocketAddress& address) noexcept;
  void go_on();
  void attempt_ended(std::size_t number, UniqueFd socket, std::error_code failure);
  void out_of_time();
  void lose();
  void finish(UniqueFd socket, const SocketAddress& peer, std::error_code why);
  std::error_code most_telling() const noexcept;
  std::error_code why_no_address() const noexcept;

  EventLoop& loop_;
  ClientOptions options_;
  const bool fast_open_;
  Result result_;
  bool active_ = false;
  SocketAddress::Family preferred_ = SocketAddress::Family::none;
  std::vector<SocketAddress> waiting_[2];  // of the preferred family, and of the others
  int turn_ = 0;                           // whose turn it is
  std::vector<Attempt> attempts_;          // in the order of their turns
  std::size_t running_ = 0;                // of them
  std::string name_;                       // that is looked up, if it is a name
  Question v6_;
  Question v4_;
  Timer resolution_delay_;  // runs while IPv4 addresses wait for IPv6 ones
  TimePoint last_turn_;
  Timer next_turn_;
  Timer deadline_;
};

}  // namespace millrace
