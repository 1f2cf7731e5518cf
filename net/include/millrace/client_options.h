// How a Client connects, and connects again: plain aggregates with the default and its reason
// beside each field. Values; any thread.
//
//   ClientOptions options;
//   options.connect_timeout = 3s;
//   options.reconnect = {.enabled = true, .longest_delay = 5s};
#pragma once

#include <millrace/connection_options.h>
#include <millrace/socket_address.h>
#include <millrace/socket_options.h>

#include <chrono>
#include <cstddef>

namespace millrace {

class Resolver;

// After a failed attempt, and after a connection has ended other than by close(): wait, try again.
// A name is looked up anew for each attempt.
struct ReconnectOptions {
  bool enabled = false;
  // The first wait (at least 1 ms: without one it would spin), what it is multiplied by after each
  // failure, and its limit.
  std::chrono::milliseconds first_delay{100};
  double factor = 2.0;
  std::chrono::milliseconds longest_delay{30'000};
  // Each wait is shortened by a random part of up to this share, so that a thousand clients of a
  // server that was restarted do not come back in one instant. Between 0 and 1.
  double jitter = 0.25;
  // Failed attempts in a row after which it gives up; 0: never.
  unsigned max_attempts = 0;
  // No attempt begins later than this after connect(), or after the end of the last stable
  // connection: it gives up then. Zero: never.
  std::chrono::milliseconds give_up_after{0};
  // A connection that ends earlier counts as a failed attempt: a server that accepts and closes at
  // once, over and over, is as good as one that refuses, also when it says a few words before. A
  // protocol that knows better says so: Client::restart_backoff(). Zero: none counts as failed.
  std::chrono::milliseconds stable_after{5'000};
};

// How several addresses are tried, those of a name or of a list: "Happy Eyeballs" (RFC 8305). They
// take turns by family, IPv6 first (of a list: its first address's); the first that answers is the
// connection, and the others are closed.
struct RaceOptions {
  // How long one is given before the next is tried beside it; when one fails the next begins at
  // once. From 10 ms, below which every connection would be made several times, to 2 s.
  std::chrono::milliseconds attempt_delay{250};
  // A name's IPv4 addresses that are there first wait so long for its IPv6 addresses.
  std::chrono::milliseconds resolution_delay{50};
  // From an address's turn until it has to have answered; then it has failed with ETIMEDOUT. Zero:
  // as long as ClientOptions::connect_timeout leaves it, since the next has its turn anyway.
  std::chrono::milliseconds address_timeout{0};
};

struct ClientOptions {
  SocketOptions socket;
  ConnectionOptions connection;
  // Of a whole attempt, from connect() to the answer of a peer's kernel, the look-up of a name and
  // all its addresses included; what has not answered by then has failed with ETIMEDOUT. Zero: as
  // long as the kernel tries (about two minutes for each address).
  std::chrono::milliseconds connect_timeout{10'000};
  // What is sent in on_open goes along with the SYN, a round trip earlier, to a server that has
  // given us a cookie (TCP Fast Open; bit 0 of net.ipv4.tcp_fastopen, without which one connects as
  // usual). Then on_open comes before anything is known of the server, and nothing happens until
  // something is sent: a refusal is on_close with ECONNREFUSED, and connect_timeout is over. For
  // who speaks first, and whose request may be done twice. Not used for a name or several
  // addresses, among which the answers decide.
  bool fast_open = false;
  // Where to connect from; Family::none: the kernel chooses. Addresses of another family are left
  // out; when none is left the attempt fails with EAFNOSUPPORT. A path of a Unix socket is the name
  // that the server sees; its file is there only while it connects, so that it can connect again.
  SocketAddress local;
  ReconnectOptions reconnect;
  RaceOptions race;
  // Who looks names up, and outlives the client; null: the loop's own (Resolver::of()).
  Resolver* resolver = nullptr;
  // How many bytes Client::send() keeps until there is a connection.
  std::size_t queue_bytes = 1024 * 1024;
};

}  // namespace millrace
