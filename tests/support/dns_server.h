// DnsServer is a DNS server that says what a test tells it to, wrong or right, on one loopback port
// for UDP and TCP. It runs on the loop of the test. A value of the test, gone before the loop.
//
//   DnsServer server(loop(), [](const DnsQuestion& q) { return q.answer({address("192.0.2.1")});
//   }); Resolver resolver(loop(), {.servers = {server.address()}});
//
// An empty reply is silence.
#pragma once

#include <millrace/io_watcher.h>
#include <millrace/socket_address.h>

#include "support/raw_socket.h"

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

namespace millrace::test {

inline constexpr int kNoError = 0, kFormatError = 1, kServerFailed = 2, kNoSuchName = 3,
                     kNotImplemented = 4, kRefused = 5;
inline constexpr std::uint16_t kTypeA = 1, kTypeCname = 5, kTypeAaaa = 28;

struct DnsRecord {
  std::uint16_t type;
  std::string data;
  std::string name = {};  // empty: what was asked for
};
DnsRecord address_record(const SocketAddress& address);
DnsRecord address_record(const std::string& host);  // a number
DnsRecord alias_record(const std::string& of, const std::string& name);

// As it is in messages: lengths and labels.
std::string encoded_name(const std::string& name);

struct DnsQuestion {
  std::string message;  // all of it
  std::string name;     // in lower case
  std::uint16_t type = 0;
  bool tcp = false;

  explicit DnsQuestion(std::string bytes, bool over_tcp);
  // A right answer: those of `records` that fit the type, or are aliases.
  std::string answer(const std::vector<DnsRecord>& records) const;
  std::string failure(int code) const;
  std::string truncated() const;
  // Header and question of an answer, with this many records to follow.
  std::string head(int code, std::uint16_t records, bool cut_short = false) const;
};

class DnsServer {
 public:
  using Replies = std::function<std::vector<std::string>(const DnsQuestion&)>;
  using Reply = std::function<std::string(const DnsQuestion&)>;

  DnsServer(EventLoop& loop, Reply reply);
  DnsServer(EventLoop& loop, Replies replies);  // any number of datagrams to each

  // By UDP alone, there. Throws std::runtime_error when that is not possible.
  DnsServer(EventLoop& loop, const SocketAddress& at, Reply reply);

  SocketAddress address() const { return udp_.address(); }
  const std::vector<DnsQuestion>& asked() const { return asked_; }
  int asked(std::uint16_t type) const;
  // Further replies to the last one who asked by UDP.
  void send(const std::string& datagram);
  bool answers_tcp = true;  // else connections are closed

 private:
  struct Connection {
    RawSocket socket;
    std::string received;
    std::unique_ptr<IoWatcher> watcher;
  };

  static Replies one(Reply reply);
  void watch_udp();
  void receive_datagram();
  void accept();
  void receive(Connection& connection);

  EventLoop& loop_;
  Replies replies_;
  RawSocket tcp_;
  RawSocket udp_;
  SocketAddress asker_;
  std::vector<DnsQuestion> asked_;
  std::list<Connection> connections_;
  std::unique_ptr<IoWatcher> udp_watcher_;
  std::unique_ptr<IoWatcher> tcp_watcher_;
};

// A UDP port on loopback that is bound, and whose owner never reads.
class SilentPort {
 public:
  SilentPort();
  SocketAddress address() const { return socket_.address(); }
  // What has been sent there, unread so far; empty if nothing.
  std::string receive();

 private:
  RawSocket socket_;
};

}  // namespace millrace::test
