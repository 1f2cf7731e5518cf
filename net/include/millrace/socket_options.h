// SocketOptions is what can be asked of the kernel for one TCP socket, with the reason beside each.
// A server sets them once on its listener, and what it accepts inherits them; a client sets them
// before it connects; Connection::set_socket_options() changes them later. Values; any thread.
//
//   options.listen.socket.keepalive_idle = 60s;                // a ServerOptions
//   options.socket.congestion = "cubic";                       // a ClientOptions
//   std::string why;
//   if (c.set_socket_options({.tos = 0x20}, &why)) log(why);   // nothing but that is changed
//   int bytes = *c.socket_options().send_buffer_bytes;         // what the kernel really has
//
// What is not given is left to the kernel, but for no_delay. A value that makes no sense is refused
// with EINVAL and a text that names the field, before any system call; so is everything but the
// buffers on a Unix socket, which has nothing of the kind. What only the kernel can refuse is told
// with its error and its name of the option; on a live connection what stands before it here is
// set by then. Read back, what the socket does not know is not given.
//
// There is no SO_LINGER: with a time it makes close(2) block the whole loop, non-blocking or not,
// and with zero it turns every end into a reset. The first is what ConnectionTimeouts::linger is
// for, which waits in the loop; the second is abort(). Nor is there TCP_QUICKACK: the kernel takes
// it back by itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace millrace {

struct SocketOptions {
  // Send small writes at once instead of waiting for the ACK of the one before (Nagle). Not given:
  // on. What one callback sends is one write already, so that waiting would gain nothing, and
  // against a peer that delays its ACKs cost 40 ms. Off saves packets only for who writes little,
  // often, in many callbacks; a Cork does that better.
  std::optional<bool> no_delay = {};

  // The kernel's buffers in bytes. Not given: it tunes them, which is right nearly always. A fixed
  // one caps throughput at its size per round trip, and saves memory where many connections are
  // slow; a small send buffer keeps bytes in our queue, where the watermarks see them. The kernel
  // takes double what it is given, for its own needs, and no more than net.core.{w,r}mem_max.
  // The window scale of a connection is settled when it is made: a receive buffer given later
  // cannot grow beyond that.
  std::optional<int> send_buffer_bytes = {};
  std::optional<int> receive_buffer_bytes = {};

  // Probe a connection that was silent for so long (1 to 32,767 s; zero: never), so that a peer
  // that vanished is noticed though nothing is sent: ETIMEDOUT after `probes` (1 to 127) without an
  // answer, `interval` apart. Not given: never, and such connections stay for ever. Costs one
  // packet per idle time, and no latency. The kernel answers, not the program: a peer that hangs
  // is no business of keepalive but of ConnectionTimeouts::idle. The other two need an idle time;
  // not given beside one: 10 s, 3.
  std::optional<std::chrono::seconds> keepalive_idle = {};
  std::optional<std::chrono::seconds> keepalive_interval = {};
  std::optional<int> keepalive_probes = {};

  // How long sent data may stay unacknowledged, or wait for a window that stays shut, before the
  // kernel gives up with ETIMEDOUT. Not given, or zero: about 15 minutes. Ends what otherwise
  // stays in FIN_WAIT1 or LAST_ACK after a network has gone. With keepalive it takes the place of
  // the number of probes: a peer that was silent for so long is given up at the next unanswered
  // probe, be it the first or the twentieth. idle + interval * probes lets both mean the same.
  std::optional<std::chrono::milliseconds> user_timeout = {};

  // How long the kernel keeps, after we have closed, a socket whose peer acknowledged our FIN and
  // sends none of its own (1 to 120 s): FIN_WAIT2, which costs memory but no descriptor. Not given:
  // net.ipv4.tcp_fin_timeout, 60 s. TIME_WAIT is another thing, and 60 s always.
  std::optional<std::chrono::seconds> fin_wait2 = {};

  // The kernel takes no more while so many bytes of ours wait there that were not even sent, but
  // for the one segment (64 KiB and less) that passes it. Not given, or zero:
  // net.ipv4.tcp_notsent_lowat, no limit. Bytes then wait with us: the watermarks see them, and
  // what is urgent or newer has only this much before it. 16 to 128 KiB costs hardly any
  // throughput; less leaves the line idle while we are woken up.
  std::optional<int> notsent_lowat_bytes = {};

  // The algorithm: "cubic", "bbr", "reno", or another of net.ipv4.tcp_allowed_congestion_control.
  // Empty: the system's. Decides how throughput survives losses, and how long queues in the network
  // become. ENOENT for one that the kernel does not know, EPERM for one that is not allowed.
  std::string congestion = {};

  // The DSCP byte of every packet (IP_TOS, IPV6_TCLASS): 0 to 252, a multiple of 4, since ECN is
  // the kernel's. Routers that care treat the packets accordingly: 0x20 (CS1) behind others, 0xb8
  // (EF) before them. Many clear it. Sets `priority` too, to what Linux makes of it;
  // what a server accepts inherits the byte, and not that.
  std::optional<int> tos = {};

  // The place in the queue of our own network device (SO_PRIORITY): 0 to 6, higher is sooner; more
  // needs CAP_NET_ADMIN. Nothing leaves the machine with it. The one option that Linux does not let
  // accepted sockets inherit: it costs a server one system call per connection.
  std::optional<int> priority = {};

  // For rules of routing and firewalls on this machine (SO_MARK). Needs CAP_NET_ADMIN: EPERM.
  std::optional<std::uint32_t> mark = {};
};

}  // namespace millrace
