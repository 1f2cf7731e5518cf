// Resolver finds the addresses of a host by its name: in the hosts file, and by asking DNS servers
// (through c-ares), without ever blocking the loop. It is destroyed whenever you like, inside its
// own callbacks too: lookups under way end silently. Loop's thread only; the loop outlives it.
//
//   Lookup lookup = Resolver::of(loop).resolve(
//       "example.org", 443, Resolver::Families::any,
//       [&](std::error_code why, std::span<const SocketAddress> addresses) { ... });
//
// Numbers ("192.0.2.1", "fe80::1%eth0") are answered without asking anybody, and so is `localhost`
// with everything below it, which is loopback (RFC 6761). The order of the addresses is that of RFC
// 6724: the ones that this host can reach best come first; from the hosts file, that of the file.
#pragma once

#include <millrace/function.h>
#include <millrace/socket_address.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace millrace {

class EventLoop;

struct ResolverOptions {
  // Asked in this order: the next one when one is silent or fails. None: those of resolv.conf, with
  // its search domains and options. When servers are given, nothing of it is used.
  std::vector<SocketAddress> servers = {};
  // Tried behind a name with fewer dots than `ndots`, before the name as it is; behind any other
  // after it; never behind one that ends in a dot. None: see `servers`.
  std::vector<std::string> search_domains = {};
  std::optional<int> ndots = {};  // no value: that of resolv.conf, or 1
  // Lookups that begin after it has changed use what it says then. Empty: /etc/resolv.conf.
  std::string resolv_conf_file = {};
  // Looked into first, and read again when it has changed. Empty: /etc/hosts.
  std::string hosts_file = {};
  // Of a whole lookup, with all servers, tries and search domains; then error::name_timeout. Zero:
  // as long as the tries take.
  std::chrono::milliseconds timeout{5'000};
  // One question to one server (at most an hour), and how often each is asked (1 to 10). The time
  // doubles when all have been asked.
  std::chrono::milliseconds try_timeout{2'000};
  int tries = 3;
  // Lookups under way at a time: one more fails with error::too_many_lookups. What somebody else
  // makes us look up must not become an unbounded queue. (One that was cancelled counts until its
  // servers have answered, or nobody waits for any other.)
  std::size_t max_lookups = 1'024;
};

// A lookup under way: destroying it cancels it, and then its callback is not called. It may outlive
// the Resolver, and is inactive then.
class Lookup {
 public:
  Lookup() noexcept = default;  // of nothing
  Lookup(Lookup&& other) noexcept;
  Lookup& operator=(Lookup&& other) noexcept;
  ~Lookup() { cancel(); }

  // Whether the callback will still come. False inside it.
  bool active() const noexcept { return pending_ != nullptr; }
  void cancel() noexcept;

 private:
  friend class Resolver;
  class Pending;
  explicit Lookup(Pending& pending) noexcept;
  Pending* pending_ = nullptr;
};

class Resolver {
 public:
  enum class Families : std::uint8_t { any, ipv4, ipv6 };
  // `addresses` are valid during the call; none if and only if there is an error.
  using Done = Function<void(std::error_code why, std::span<const SocketAddress> addresses), 48>;

  // Throws std::system_error that names what is wrong: a server without an address or port or with
  // a scope, a bad search domain, a hosts file that was given and cannot be read.
  explicit Resolver(EventLoop& loop, ResolverOptions options = {});
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;
  ~Resolver();

  // Looks up `host`; its addresses have `port`. Calls `done` exactly once unless cancelled, from
  // the loop, never from inside this call. Keep the result: destroying it cancels. In a child after
  // fork() and reinit_after_fork() the lookups under way are asked anew, from sockets of its own.
  //
  // | name_invalid               | not a host name (RFC 1123, and `_`): too long, an empty label, a
  // |                            | bad character, a number that is no address; nobody was asked
  // | name_not_found             | there is no such name
  // | name_has_no_address        | there is, but without an address of these families
  // | name_server_failed,        | what the server that was asked last said
  // |   name_refused             |
  // | name_servers_unreachable   | the system's errors with all of them
  // | name_malformed_answer      | an answer that makes no sense
  // | name_timeout               | no answer within ResolverOptions::timeout or all tries
  // | too_many_lookups           | see ResolverOptions::max_lookups
  // | errc::not_enough_memory    | also thrown, as std::bad_alloc, when nothing can begin
  [[nodiscard]] Lookup resolve(std::string_view host, std::uint16_t port, Families families,
                               Done done);

  // The loop's own, with default options, made on first use; it lives as long as the loop.
  static Resolver& of(EventLoop& loop);

 private:
  class Core;
  friend class Lookup;
  std::unique_ptr<Core> core_;
};

}  // namespace millrace
