// c-ares calls back from inside its own functions: what it says is noted, and the user is told
// later from a timer of the loop (resolver.cc), when none of its functions is on the stack.
#include "dns_channel.h"

#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/io_target.h>
#include <millrace/loop_services.h>
#include <millrace/unique_fd.h>

#include "syscalls.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include <ares.h>

namespace millrace {
namespace {

// Answers that are read in one turn: a server that sends more than it was asked for must not keep
// the loop.
constexpr int kReadsPerTurn = 64;
// In front of each answer on a connection; c-ares reads it by itself.
constexpr std::size_t kLengthBytes = 2;

// c-ares' codes, those that it can give to who looks up an address.
std::error_code error_of(int status) noexcept {
  struct Row {
    int status;
    error meaning;
  };
  static constexpr Row kTable[] = {
      {ARES_ENODATA, error::name_has_no_address},    {ARES_EFORMERR, error::name_server_failed},
      {ARES_ESERVFAIL, error::name_server_failed},   {ARES_ENOTFOUND, error::name_not_found},
      {ARES_ENOTIMP, error::name_server_failed},     {ARES_EREFUSED, error::name_refused},
      {ARES_EBADQUERY, error::name_invalid},         {ARES_EBADNAME, error::name_invalid},
      {ARES_EBADRESP, error::name_malformed_answer}, {ARES_ETIMEOUT, error::name_timeout},
      {ARES_EOF, error::name_servers_unreachable},   {ARES_EBADSTR, error::name_invalid},
  };
  if (status == ARES_SUCCESS) return {};
  if (status == ARES_ECANCELLED || status == ARES_EDESTRUCTION) {
    return std::make_error_code(std::errc::operation_canceled);
  }
  if (status == ARES_ENOMEM) return std::make_error_code(std::errc::not_enough_memory);
  for (const Row& row : kTable) {
    if (row.status == status) return row.meaning;
  }
  return error::name_server_failed;
}

[[noreturn]] void throw_ares_error(const char* call, int status) {
  if (status == ARES_ENOMEM) throw std::bad_alloc();
  const int e = status == ARES_EFILE ? EIO : EINVAL;
  throw_system_error(e, std::string(call) + ": " + ares_strerror(status));
}

template <class Call>
auto repeat(Call&& call) noexcept {
  auto n = call();
  while (n < 0 && errno == EINTR) n = call();
  return n;
}

}  // namespace

// One of c-ares' sockets, from socket() to close(). Some are never watched: it finds out with them
// which of our addresses the kernel would use (RFC 6724).
class DnsChannel::Socket final : public IoTarget {
 public:
  Socket(EventLoop& loop, DnsChannel& channel, UniqueFd socket, int type)
      : IoTarget(loop),
        channel_(channel),
        socket_(std::move(socket)),
        type_(type),
        header_is_next_(!is_stream()) {}

  int number() const noexcept { return socket_.get(); }
  bool is_stream() const noexcept { return type_ == SOCK_STREAM; }

  void watch(Interest interest) noexcept {
    // Without memory for it the question goes unheard, as if it had been lost: c-ares asks again.
    if (const int e = attached() ? set_interest(interest) : attach(number(), interest); e != 0) {
      detach();
    }
  }
  int connect(const sockaddr* to, socklen_t size) noexcept {
    peer_ = SocketAddress::from_native(to, size);
    if (sys::connect(number(), to, size) == 0) return 0;
    if (errno == EINTR) errno = EINPROGRESS;  // it goes on by itself, as then
    if (errno != EINPROGRESS) channel_.failure_ = error::name_servers_unreachable;
    return -1;
  }
  ssize_t receive(void* to, size_t n, int flags, sockaddr* from, socklen_t* from_size) noexcept {
    if (reads_left_ == 0) {
      errno = EAGAIN;
      return -1;
    }
    if (reads_left_ > 0) --reads_left_;
    ssize_t got = repeat([&] { return sys::recv(number(), to, n, flags); });
    // c-ares before 1.19.1 takes it for the end of a connection, and asks another server.
    if (got == 0 && !is_stream()) {
      errno = EAGAIN;
      got = -1;
    }
    if (got > 0 && header_is_next_) channel_.note_answer(to, static_cast<std::size_t>(got));
    if (got <= 0 && errno != EAGAIN) channel_.failure_ = error::name_servers_unreachable;
    if (is_stream()) header_is_next_ = n <= kLengthBytes;
    // A connected socket gets nothing from anybody else.
    if (got >= 0 && from && *from_size >= peer_.native_size()) {
      std::memcpy(from, peer_.native(), peer_.native_size());
      *from_size = peer_.native_size();
    }
    return got;
  }
  ssize_t send(const iovec* parts, int count) noexcept {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(parts);  // sendmsg() does not write to it
    message.msg_iovlen = static_cast<std::size_t>(count);
    const auto send = [&] { return sys::sendmsg(number(), &message, MSG_NOSIGNAL); };
    ssize_t sent = repeat(send);
    // It says what became of the datagram before this one, and did not send this one: who sent that
    // would wait in vain, for the error is told once.
    if (sent < 0 && errno == ECONNREFUSED && !is_stream()) sent = repeat(send);
    if (sent < 0 && errno != EAGAIN) channel_.failure_ = error::name_servers_unreachable;
    return sent;
  }
  void end() noexcept {
    detach();
    socket_.reset();
    bury();
  }

 private:
  void handle_io(IoEvents events) override {
    reads_left_ = kReadsPerTurn;
    const bool read = events.readable() || events.ended();
    const bool write = has(interest(), Interest::write) && (events.writable() || events.ended());
    channel_.process(read ? number() : ARES_SOCKET_BAD, write ? number() : ARES_SOCKET_BAD);
  }
  // Then process() finds out.
  void handle_reinit() noexcept override { request_flush(); }
  void handle_flush() override { channel_.process(ARES_SOCKET_BAD, ARES_SOCKET_BAD); }
  void handle_burial() noexcept override { loop().services().slab<Socket>().destroy(this); }

  DnsChannel& channel_;
  UniqueFd socket_;
  const int type_;
  int reads_left_ = -1;  // in this turn; -1: any number
  bool header_is_next_;  // what is received next begins with that of an answer
  SocketAddress peer_;
};

// What c-ares calls instead of the system: each returns what the call would, with errno.
struct DnsChannel::SocketCalls {
  static int open(int domain, int type, int protocol, void* channel) noexcept {
    UniqueFd socket(sys::socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
    if (!socket) return -1;
    const int no_delay = 1;  // several questions may follow each other
    if (type == SOCK_STREAM) {
      sys::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &no_delay, sizeof no_delay);
    }
    auto& self = *static_cast<DnsChannel*>(channel);
    try {
      self.sockets_.reserve(self.sockets_.size() + 1);
      self.sockets_.push_back(
          self.loop_.services().slab<Socket>().make(self.loop_, self, std::move(socket), type));
    } catch (const std::bad_alloc&) {
      errno = ENOMEM;
      return -1;
    }
    return self.sockets_.back()->number();
  }
  static int close(int fd, void* channel) noexcept {
    auto& self = *static_cast<DnsChannel*>(channel);
    if (Socket* socket = self.find(fd)) {
      std::erase(self.sockets_, socket);
      socket->end();
    }
    return 0;
  }
  static int connect(int fd, const sockaddr* to, ares_socklen_t size, void* channel) noexcept {
    return static_cast<DnsChannel*>(channel)->find(fd)->connect(to, size);
  }
  static ares_ssize_t receive(int fd, void* to, size_t n, int flags, sockaddr* from,
                              ares_socklen_t* from_size, void* channel) noexcept {
    return static_cast<DnsChannel*>(channel)->find(fd)->receive(to, n, flags, from, from_size);
  }
  static ares_ssize_t send(int fd, const iovec* parts, int count, void* channel) noexcept {
    return static_cast<DnsChannel*>(channel)->find(fd)->send(parts, count);
  }
  static constexpr ares_socket_functions kAll{open, close, connect, receive, send};
};

DnsChannel::DnsChannel(EventLoop& loop, const ResolverOptions& options,
                       Function<void()> on_inherited)
    : loop_(loop),
      on_inherited_(std::move(on_inherited)),
      process_(sys::getpid()),
      timer_(loop, [this] { process(ARES_SOCKET_BAD, ARES_SOCKET_BAD); }) {
  // Made first: what a loop keeps goes in reverse order, and the channel has its sockets there.
  loop.services().slab<Socket>();
  static const int initialized = ares_library_init(ARES_LIB_INIT_ALL);
  if (initialized != ARES_SUCCESS) throw_ares_error("ares_library_init", initialized);
  // Without HOSTALIASES: what is asked for is not to be changed by the environment, and to read
  // that file could block. The hosts file is ours ("b": DNS only).
  ares_options ares{};
  ares.flags = ARES_FLAG_NOALIASES;
  // c-ares doubles it nine times at the most, and it is an int.
  constexpr std::chrono::milliseconds kLongestAsk = std::chrono::hours(1);
  ares.timeout = static_cast<int>(std::min(options.try_timeout, kLongestAsk).count());
  ares.tries = options.tries;
  char lookups[] = "b";
  ares.lookups = lookups;
  ares.sock_state_cb = handle_socket_state;
  ares.sock_state_cb_data = this;
  int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
             ARES_OPT_SOCK_STATE_CB;
  std::vector<char*> domains;
  for (const std::string& domain : options.search_domains) {
    domains.push_back(const_cast<char*>(domain.c_str()));  // they are only read
  }
  ares.domains = domains.data();
  ares.ndomains = static_cast<int>(domains.size());
  if (!domains.empty() || !options.servers.empty()) mask |= ARES_OPT_DOMAINS;
  ares.ndots = options.ndots.value_or(1);
  if (options.ndots || !options.servers.empty()) mask |= ARES_OPT_NDOTS;
  std::string resolv_conf = options.resolv_conf_file;
  if (!options.servers.empty()) {
    resolv_conf = "/dev/null";
    mask |= ARES_OPT_NOROTATE;
  }
  ares.resolvconf_path = resolv_conf.data();
  if (!resolv_conf.empty()) mask |= ARES_OPT_RESOLVCONF;
  if (const int e = ares_init_options(&ares_, &ares, mask); e != ARES_SUCCESS) {
    throw_ares_error("ares_init_options", e);
  }
  ares_set_socket_functions(ares_, &SocketCalls::kAll, this);
  try {
    if (!options.servers.empty()) take_servers(options.servers);
  } catch (...) {
    ares_destroy(ares_);
    throw;
  }
}

DnsChannel::~DnsChannel() {
  ares_destroy(ares_);
}

void DnsChannel::take_servers(const std::vector<SocketAddress>& servers) {
  std::vector<ares_addr_port_node> nodes(servers.size());
  for (std::size_t i = 0; i < servers.size(); ++i) {
    nodes[i].next = i + 1 < servers.size() ? &nodes[i + 1] : nullptr;
    nodes[i].udp_port = nodes[i].tcp_port = servers[i].port();
    nodes[i].family = servers[i].native()->sa_family;
    if (servers[i].family() == SocketAddress::Family::ipv4) {
      nodes[i].addr.addr4.s_addr = htonl(servers[i].ipv4());
    } else {
      const auto* native = reinterpret_cast<const unsigned char*>(servers[i].native());
      std::memcpy(&nodes[i].addr.addr6, native + offsetof(sockaddr_in6, sin6_addr),
                  sizeof nodes[i].addr.addr6);
    }
  }
  if (const int e = ares_set_servers_ports(ares_, nodes.data()); e != ARES_SUCCESS) {
    throw_ares_error("ares_set_servers_ports", e);
  }
}

bool DnsChannel::inherited() const noexcept {
  return process_ != sys::getpid();
}

void DnsChannel::ask(const std::string& name, Resolver::Families families,
                     DnsAsker& asker) noexcept {
  ares_addrinfo_hints hints{};
  hints.ai_family = families == Resolver::Families::any    ? AF_UNSPEC
                    : families == Resolver::Families::ipv4 ? AF_INET
                                                           : AF_INET6;
  hints.ai_socktype = SOCK_STREAM;  // else an address may come once for each type
  asker.channel_ = this;
  ++questions_;
  ares_getaddrinfo(ares_, name.c_str(), nullptr, &hints, handle_result, &asker);
  start_timer();
}

void DnsChannel::handle_result(void* argument, int status, int, ares_addrinfo* result) {
  auto& asker = *static_cast<DnsAsker*>(argument);
  DnsChannel& channel = *asker.channel_;
  // It says so of servers that answer with a failure, too.
  std::error_code why = status == ARES_ECONNREFUSED ? channel.failure_ : error_of(status);
  std::vector<SocketAddress> addresses;
  try {
    for (auto* node = result ? result->nodes : nullptr; node; node = node->ai_next) {
      addresses.push_back(SocketAddress::from_native(node->ai_addr, node->ai_addrlen));
    }
  } catch (const std::bad_alloc&) {
    why = error_of(ARES_ENOMEM);
  }
  if (result) ares_freeaddrinfo(result);
  if (!why && addresses.empty()) why = error::name_has_no_address;
  if (why) addresses.clear();
  --channel.questions_;
  asker.handle_answer(why, std::move(addresses));
}

// Keeps the failure that an answer tells: c-ares then asks the next server, and if that was the
// last one gives up at once, without saying why.
void DnsChannel::note_answer(const void* answer, std::size_t size) noexcept {
  constexpr std::size_t kCodeAt = 3;  // RFC 1035, 4.1.1: the lower half of this byte
  constexpr unsigned kServerFailed = 2;
  constexpr unsigned kNotImplemented = 4;
  constexpr unsigned kRefused = 5;
  if (size <= kCodeAt) return;
  const unsigned code = static_cast<const unsigned char*>(answer)[kCodeAt] & 0x0fu;
  if (code == kRefused) failure_ = error::name_refused;
  if (code == kServerFailed || code == kNotImplemented) failure_ = error::name_server_failed;
}

void DnsChannel::cancel_all() noexcept {
  ares_cancel(ares_);
  timer_.cancel();
}

void DnsChannel::process(int readable, int writable) noexcept {
  if (inherited()) {
    auto start_anew = std::move(on_inherited_);
    return start_anew();  // and this is gone
  }
  ares_process_fd(ares_, readable, writable);
  start_timer();
}

void DnsChannel::start_timer() noexcept {
  timeval left{};
  if (!ares_timeout(ares_, nullptr, &left)) return timer_.cancel();
  // Rounded up: a deadline that is a little ahead would be asked for over and over.
  timer_.start(std::chrono::milliseconds(left.tv_sec * 1000 + left.tv_usec / 1000 + 1));
}

DnsChannel::Socket* DnsChannel::find(int fd) const noexcept {
  const auto found = std::find_if(sockets_.begin(), sockets_.end(),
                                  [&](const Socket* socket) { return socket->number() == fd; });
  return found == sockets_.end() ? nullptr : *found;
}

void DnsChannel::handle_socket_state(void* self, int fd, int readable, int writable) {
  Socket* socket = static_cast<DnsChannel*>(self)->find(fd);
  if (!socket || (!readable && !writable)) return;  // it will be closed
  socket->watch((readable ? Interest::read : Interest::none) |
                (writable ? Interest::write : Interest::none));
}

}  // namespace millrace
