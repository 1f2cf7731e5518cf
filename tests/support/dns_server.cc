#include "support/dns_server.h"

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstddef>
#include <stdexcept>

#include <netinet/in.h>
#include <sys/socket.h>

namespace millrace::test {
namespace {

constexpr std::size_t kHeaderBytes = 12;

std::string number(unsigned value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value)};
}
unsigned number_at(const std::string& bytes, std::size_t at) {
  return at + 1 < bytes.size() ? static_cast<unsigned char>(bytes[at]) * 256u +
                                     static_cast<unsigned char>(bytes[at + 1])
                               : 0u;
}

RawSocket udp_socket(const SocketAddress& at) {
  UniqueFd fd(::socket(at.native()->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd || ::bind(fd.get(), at.native(), at.native_size()) != 0) return {};
  return RawSocket(std::move(fd));
}

}  // namespace

DnsRecord address_record(const SocketAddress& address) {
  const auto* native = reinterpret_cast<const char*>(address.native());
  if (address.family() == SocketAddress::Family::ipv4) {
    return {kTypeA, std::string(native + offsetof(sockaddr_in, sin_addr), 4)};
  }
  return {kTypeAaaa, std::string(native + offsetof(sockaddr_in6, sin6_addr), 16)};
}

DnsRecord address_record(const std::string& host) {
  const bool v6 = host.find(':') != std::string::npos;
  return address_record(SocketAddress::parse(v6 ? "[" + host + "]:0" : host + ":0"));
}

DnsRecord alias_record(const std::string& of, const std::string& name) {
  return {kTypeCname, encoded_name(name), of};
}

std::string encoded_name(const std::string& name) {
  std::string encoded;
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t end = std::min(name.find('.', begin), name.size());
    encoded += static_cast<char>(end - begin);
    encoded += name.substr(begin, end - begin);
    begin = end + 1;
  }
  return encoded + '\0';
}

DnsQuestion::DnsQuestion(std::string bytes, bool over_tcp)
    : message(std::move(bytes)), tcp(over_tcp) {
  std::size_t at = kHeaderBytes;
  while (at < message.size() && message[at] != 0) {
    const auto length = static_cast<std::size_t>(message[at]);
    if (!name.empty()) name += '.';
    name += message.substr(at + 1, length);
    at += 1 + length;
  }
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  type = static_cast<std::uint16_t>(number_at(message, at + 1));
  message.resize(std::min(message.size(), at + 5));  // without what may follow the question
}

std::string DnsQuestion::head(int code, std::uint16_t records, bool cut_short) const {
  std::string head = message.substr(0, 2);
  head += static_cast<char>(cut_short ? 0x87 : 0x85);  // an answer, authoritative
  head += static_cast<char>(0x80 | code);
  return head + number(1) + number(records) + number(0) + number(0) + message.substr(kHeaderBytes);
}

std::string DnsQuestion::answer(const std::vector<DnsRecord>& records) const {
  std::string body;
  std::uint16_t count = 0;
  for (const DnsRecord& record : records) {
    if (record.type != type && record.type != kTypeCname) continue;
    ++count;
    body += record.name.empty() ? std::string("\xc0\x0c", 2) : encoded_name(record.name);
    body += number(record.type) + number(1) + number(0) + number(60);
    body += number(static_cast<unsigned>(record.data.size())) + record.data;
  }
  return head(kNoError, count) + body;
}

std::string DnsQuestion::failure(int code) const {
  return head(code, 0);
}

std::string DnsQuestion::truncated() const {
  return head(kNoError, 0, true);
}

DnsServer::Replies DnsServer::one(Reply reply) {
  return [reply = std::move(reply)](const DnsQuestion& question) {
    return std::vector<std::string>{reply(question)};
  };
}

DnsServer::DnsServer(EventLoop& loop, Reply reply) : DnsServer(loop, one(std::move(reply))) {}

DnsServer::DnsServer(EventLoop& loop, const SocketAddress& at, Reply reply)
    : loop_(loop), replies_(one(std::move(reply))), udp_(udp_socket(at)) {
  if (!udp_) throw std::runtime_error("cannot bind " + at.to_string());
  watch_udp();
}

DnsServer::DnsServer(EventLoop& loop, Replies replies) : loop_(loop), replies_(std::move(replies)) {
  // The same number for both: others may have it for UDP.
  for (int i = 0; i < 100 && !udp_; ++i) {
    tcp_ = RawSocket::listen();
    udp_ = udp_socket(tcp_.address());
  }
  if (!udp_) throw std::runtime_error("no port is free for UDP and TCP");
  watch_udp();
  tcp_watcher_ =
      std::make_unique<IoWatcher>(loop, tcp_.fd(), Interest::read, [this](IoEvents) { accept(); });
}

void DnsServer::watch_udp() {
  udp_watcher_ = std::make_unique<IoWatcher>(loop_, udp_.fd(), Interest::read,
                                             [this](IoEvents) { receive_datagram(); });
}

int DnsServer::asked(std::uint16_t type) const {
  int n = 0;
  for (const DnsQuestion& question : asked_) n += question.type == type;
  return n;
}

void DnsServer::receive_datagram() {
  char buffer[4096];
  sockaddr_storage from{};
  socklen_t size = sizeof from;
  const ssize_t n =
      ::recvfrom(udp_.fd(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &size);
  if (n < 0) return;
  asker_ = SocketAddress::from_native(&from, size);
  asked_.emplace_back(std::string(buffer, static_cast<std::size_t>(n)), false);
  for (const std::string& reply : replies_(DnsQuestion(asked_.back()))) {
    if (!reply.empty()) send(reply);
  }
}

void DnsServer::send(const std::string& datagram) {
  ::sendto(udp_.fd(), datagram.data(), datagram.size(), 0, asker_.native(), asker_.native_size());
}

void DnsServer::accept() {
  RawSocket accepted = tcp_.accept();
  if (!accepted || !answers_tcp) return;
  Connection& connection = connections_.emplace_back();
  connection.socket = std::move(accepted);
  connection.watcher =
      std::make_unique<IoWatcher>(loop_, connection.socket.fd(), Interest::read,
                                  [this, &connection](IoEvents) { receive(connection); });
}

void DnsServer::receive(Connection& connection) {
  std::string& all = connection.received;
  all += connection.socket.receive_some();
  while (all.size() >= 2 && all.size() >= 2 + number_at(all, 0)) {
    const std::size_t size = number_at(all, 0);
    asked_.emplace_back(all.substr(2, size), true);
    all.erase(0, 2 + size);
    for (const std::string& reply : replies_(DnsQuestion(asked_.back()))) {
      if (reply.empty()) continue;
      connection.socket.send_all(number(static_cast<unsigned>(reply.size())) + reply);
    }
  }
  if (connection.socket.at_end() || connection.socket.last_error() == ECONNRESET) {
    connection.watcher->set_interest(Interest::none);
  }
}

SilentPort::SilentPort() : socket_(udp_socket(SocketAddress::loopback(0))) {}

std::string SilentPort::receive() {
  char buffer[4096];
  const ssize_t n = ::recvfrom(socket_.fd(), buffer, sizeof buffer, MSG_DONTWAIT, nullptr, nullptr);
  return n <= 0 ? std::string() : std::string(buffer, static_cast<std::size_t>(n));
}

}  // namespace millrace::test
