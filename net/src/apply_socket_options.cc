#include "apply_socket_options.h"

#include <millrace/error.h>
#include <millrace/listener.h>

#include "syscalls.h"

#include <cerrno>
#include <climits>
#include <concepts>
#include <cstring>
#include <type_traits>

#include <fmt/format.h>

namespace millrace {
namespace {

// Beside an idle time without them: what is dead is found half a minute after that.
constexpr std::chrono::seconds kKeepaliveInterval{10};
constexpr int kKeepaliveProbes = 3;
// The kernel's own limits (tcp(7); TCP_CA_NAME_MAX counts a zero at the end).
constexpr int kLongestKeepaliveSeconds = 32'767;
constexpr int kMostKeepaliveProbes = 127;
constexpr int kLongestFinWait2Seconds = 120;
constexpr std::size_t kLongestCongestionName = 15;
constexpr int kLargestTos = 252;
// What is longer is a mistake: the kernel rounds it to the times of its retransmissions.
constexpr int kLongestDeferSeconds = 3600;

template <std::integral T>
std::int64_t as_number(T value) {
  return static_cast<std::int64_t>(value);
}
template <class Rep, class Period>
std::int64_t as_number(std::chrono::duration<Rep, Period> value) {
  return value.count();
}

// Keeps the first rule that is broken.
class OptionRules {
 public:
  explicit OptionRules(int domain) : unix_(domain == AF_UNIX) {}

  template <class T>
  void range(const char* field, const std::optional<T>& value, std::int64_t least,
             std::int64_t most, const char* rule) {
    if (value && (as_number(*value) < least || as_number(*value) > most)) fail(field, *value, rule);
  }
  // Of what Unix sockets do not have.
  template <class T>
  void tcp(const char* field, const T& value) {
    if (unix_) fail(field, value, "must not be given: a Unix socket has no such thing");
  }
  template <class T>
  void tcp_range(const char* field, const std::optional<T>& value, std::int64_t least,
                 std::int64_t most, const char* rule) {
    if (value) tcp(field, *value);
    range(field, value, least, most, rule);
  }
  template <class T>
  void fail(const char* field, const T& value, const char* rule) {
    if (failure) return;
    failure = {field, rule, EINVAL, 0, {}};
    if constexpr (std::is_convertible_v<T, std::string_view>) {
      failure.text_value = value;
    } else {
      failure.value = as_number(value);
    }
  }

  OptionFailure failure;

 private:
  const bool unix_;
};

void check_keepalive(const SocketOptions& options, OptionRules& rules) {
  rules.tcp_range("keepalive_idle", options.keepalive_idle, 0, kLongestKeepaliveSeconds,
                  "must be 0 to 32767 seconds");
  rules.tcp_range("keepalive_interval", options.keepalive_interval, 1, kLongestKeepaliveSeconds,
                  "must be 1 to 32767 seconds");
  rules.tcp_range("keepalive_probes", options.keepalive_probes, 1, kMostKeepaliveProbes,
                  "must be 1 to 127");
  if (options.keepalive_idle && options.keepalive_idle->count() > 0) return;
  const char* const alone = "does nothing without a keepalive_idle";
  if (options.keepalive_interval) {
    rules.fail("keepalive_interval", *options.keepalive_interval, alone);
  }
  if (options.keepalive_probes) rules.fail("keepalive_probes", *options.keepalive_probes, alone);
}

// Sets one after the other, and no more once one has failed.
class OptionSetter {
 public:
  explicit OptionSetter(int fd) : fd_(fd) {}

  void put(const char* name, int level, int option, std::int64_t value) noexcept {
    if (failure) return;
    const int native = static_cast<int>(value);
    if (sys::setsockopt(fd_, level, option, &native, sizeof native) == 0) return;
    failure = {name, nullptr, errno, value, {}};
  }
  template <class T>
  void put(const char* name, int level, int option, const std::optional<T>& value) noexcept {
    if (value) put(name, level, option, as_number(*value));
  }
  void put(const char* name, int level, int option, std::string_view text) noexcept {
    if (failure || text.empty()) return;
    const auto size = static_cast<socklen_t>(text.size());
    if (sys::setsockopt(fd_, level, option, text.data(), size) == 0) return;
    failure = {name, nullptr, errno, 0, text};
  }

  OptionFailure failure;

 private:
  const int fd_;
};

void put_keepalive(const SocketOptions& options, OptionSetter& set) noexcept {
  if (!options.keepalive_idle) return;
  const bool on = options.keepalive_idle->count() > 0;
  if (on) {
    const std::chrono::seconds interval = options.keepalive_interval.value_or(kKeepaliveInterval);
    const int probes = options.keepalive_probes.value_or(kKeepaliveProbes);
    set.put("TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, options.keepalive_idle);
    set.put("TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL, interval.count());
    set.put("TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, probes);
  }
  // Last, so that the first probe waits for our idle time.
  set.put("SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, as_number(on));
}

// Integers of a socket, as they are.
class OptionReader {
 public:
  explicit OptionReader(int fd) : fd_(fd) {}

  std::optional<int> get(int level, int option) const noexcept {
    int value = 0;
    socklen_t size = sizeof value;
    if (sys::getsockopt(fd_, level, option, &value, &size) != 0) return {};
    return value;
  }
  template <class T>
  std::optional<T> get_as(int level, int option) const noexcept {
    const std::optional<int> value = get(level, option);
    return value ? std::optional<T>(static_cast<T>(*value)) : std::nullopt;
  }

 private:
  const int fd_;
};

std::optional<int> half(std::optional<int> doubled) {
  return doubled ? std::optional<int>(*doubled / 2) : std::nullopt;
}

void read_tcp_options(int fd, int domain, SocketOptions& options) {
  const OptionReader read(fd);
  using std::chrono::milliseconds;
  using std::chrono::seconds;
  options.no_delay = read.get_as<bool>(IPPROTO_TCP, TCP_NODELAY);
  if (read.get(SOL_SOCKET, SO_KEEPALIVE).value_or(0) != 0) {
    options.keepalive_idle = read.get_as<seconds>(IPPROTO_TCP, TCP_KEEPIDLE);
    options.keepalive_interval = read.get_as<seconds>(IPPROTO_TCP, TCP_KEEPINTVL);
    options.keepalive_probes = read.get(IPPROTO_TCP, TCP_KEEPCNT);
  } else {
    options.keepalive_idle = seconds(0);
  }
  options.user_timeout = read.get_as<milliseconds>(IPPROTO_TCP, TCP_USER_TIMEOUT);
  options.fin_wait2 = read.get_as<seconds>(IPPROTO_TCP, TCP_LINGER2);
  options.notsent_lowat_bytes = read.get(IPPROTO_TCP, TCP_NOTSENT_LOWAT);
  char name[kLongestCongestionName + 1] = {};
  socklen_t size = sizeof name;
  if (sys::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &size) == 0) {
    options.congestion.assign(name, ::strnlen(name, sizeof name));
  }
  options.tos =
      domain == AF_INET6 ? read.get(IPPROTO_IPV6, IPV6_TCLASS) : read.get(IPPROTO_IP, IP_TOS);
  options.priority = read.get(SOL_SOCKET, SO_PRIORITY);
  options.mark = read.get_as<std::uint32_t>(SOL_SOCKET, SO_MARK);
}

}  // namespace

std::string OptionFailure::text(std::string_view of) const {
  std::string said = std::string(option) + ' ';
  said += text_value.empty() ? std::to_string(value) : std::string(text_value);
  if (!of.empty()) said += fmt::format(" for {}", of);
  if (rule) said += fmt::format(": {}", rule);
  return said;
}

void OptionFailure::throw_for(const SocketAddress& address) const {
  throw_system_error(error, text(address.to_string()));
}

OptionFailure check_socket_options(const SocketOptions& options, int domain) noexcept {
  OptionRules rules(domain);
  if (options.no_delay) rules.tcp("no_delay", *options.no_delay);
  rules.range("send_buffer_bytes", options.send_buffer_bytes, 1, INT_MAX, "must be at least 1");
  rules.range("receive_buffer_bytes", options.receive_buffer_bytes, 1, INT_MAX,
              "must be at least 1");
  check_keepalive(options, rules);
  rules.tcp_range("user_timeout", options.user_timeout, 0, INT_MAX,
                  "must be 0 to 2147483647 milliseconds");
  rules.tcp_range("fin_wait2", options.fin_wait2, 1, kLongestFinWait2Seconds,
                  "must be 1 to 120 seconds");
  rules.tcp_range("notsent_lowat_bytes", options.notsent_lowat_bytes, 0, INT_MAX,
                  "must not be negative");
  if (!options.congestion.empty()) rules.tcp("congestion", options.congestion);
  if (options.congestion.size() > kLongestCongestionName) {
    rules.fail("congestion", options.congestion, "must be a name of at most 15 characters");
  }
  rules.tcp_range("tos", options.tos, 0, kLargestTos, "must be 0 to 252");
  if (options.tos && *options.tos % 4 != 0) {
    rules.fail("tos", *options.tos, "must be a multiple of 4: the rest is for ECN");
  }
  rules.tcp_range("priority", options.priority, 0, INT_MAX, "must not be negative");
  if (options.mark) rules.tcp("mark", *options.mark);
  return rules.failure;
}

OptionFailure check_listen_options(const ListenOptions& options, int domain) noexcept {
  OptionRules rules(domain);
  const auto given = [](auto value) {
    return as_number(value) != 0 ? std::optional(value) : std::nullopt;
  };
  if (options.reuse_port) rules.tcp("reuse_port", options.reuse_port);
  rules.tcp_range("defer_accept", given(options.defer_accept), 0, kLongestDeferSeconds,
                  "must be 0 to 3600 seconds");
  rules.tcp_range("fast_open_queue", given(options.fast_open_queue), 0, INT_MAX,
                  "must not be negative");
  return rules.failure ? rules.failure : check_socket_options(options.socket, domain);
}

OptionFailure apply_socket_options(int fd, int domain, const SocketOptions& options,
                                   OptionsFor what) noexcept {
  OptionSetter set(fd);
  if (options.no_delay || (what == OptionsFor::new_socket && domain != AF_UNIX)) {
    set.put("TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, as_number(options.no_delay.value_or(true)));
  }
  set.put("SO_SNDBUF", SOL_SOCKET, SO_SNDBUF, options.send_buffer_bytes);
  set.put("SO_RCVBUF", SOL_SOCKET, SO_RCVBUF, options.receive_buffer_bytes);
  put_keepalive(options, set);
  set.put("TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT, options.user_timeout);
  set.put("TCP_LINGER2", IPPROTO_TCP, TCP_LINGER2, options.fin_wait2);
  set.put("TCP_NOTSENT_LOWAT", IPPROTO_TCP, TCP_NOTSENT_LOWAT, options.notsent_lowat_bytes);
  set.put("TCP_CONGESTION", IPPROTO_TCP, TCP_CONGESTION, std::string_view(options.congestion));
  // An IPv6 socket may speak IPv4. Before the priority, which it sets as well.
  set.put("IP_TOS", IPPROTO_IP, IP_TOS, options.tos);
  if (domain == AF_INET6) set.put("IPV6_TCLASS", IPPROTO_IPV6, IPV6_TCLASS, options.tos);
  set.put("SO_PRIORITY", SOL_SOCKET, SO_PRIORITY, options.priority);
  set.put("SO_MARK", SOL_SOCKET, SO_MARK, options.mark);
  return set.failure;
}

std::optional<SocketOptions> options_not_inherited(const SocketOptions& options, int domain) {
  if (domain != AF_UNIX) {
    if (!options.priority) return {};
    return SocketOptions{.priority = options.priority};
  }
  if (!options.send_buffer_bytes && !options.receive_buffer_bytes) return {};
  return SocketOptions{.send_buffer_bytes = options.send_buffer_bytes,
                       .receive_buffer_bytes = options.receive_buffer_bytes};
}

int domain_of(int fd) noexcept {
  return OptionReader(fd).get(SOL_SOCKET, SO_DOMAIN).value_or(AF_UNSPEC);
}

SocketOptions read_socket_options(int fd) {
  SocketOptions options;
  const OptionReader read(fd);
  // The kernel tells the double that it has made of them.
  options.send_buffer_bytes = half(read.get(SOL_SOCKET, SO_SNDBUF));
  options.receive_buffer_bytes = half(read.get(SOL_SOCKET, SO_RCVBUF));
  const int domain = domain_of(fd);
  if (domain != AF_UNIX) read_tcp_options(fd, domain, options);
  return options;
}

}  // namespace millrace
