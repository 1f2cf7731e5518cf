#include <millrace/check.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/io_target.h>
#include <millrace/listener.h>
#include <millrace/log.h>
#include <millrace/loop_services.h>
#include <millrace/timer.h>

#include "apply_socket_options.h"
#include "stream_io.h"
#include "syscalls.h"
#include "unix_listen.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace millrace {
namespace {

// Connections taken in one turn: in a storm, established traffic waits for these at the most (about
// 0.2 ms).
constexpr int kAcceptsPerTurn = 64;
// What stop() takes at the most: no queue is longer where net.core.somaxconn is what it should be,
// and who connects faster than we accept must not keep us there.
constexpr int kAcceptsAtStop = 65'536;
// After so many guesses in a row that were wrong nearly nobody is asked for who is not there.
constexpr int kMostDoubts = 64;
constexpr std::chrono::milliseconds kShortestPause{10};
constexpr std::chrono::milliseconds kLongestPause{1000};

enum class Failure { nothing_there, again, skip, exhausted, fatal };

Failure classify(int error) {
  switch (error) {
    case EAGAIN:
      return Failure::nothing_there;
    case EINTR:
      return Failure::again;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return Failure::exhausted;
    case EBADF:
    case EFAULT:
    case EINVAL:
    case ENOTSOCK:
      return Failure::fatal;
    default:
      // Of the connection, not of the listener: accept(2) passes on what its network had to say
      // (ECONNABORTED, EPROTO, ENETDOWN, EHOSTUNREACH, EPERM from a firewall ...).
      return Failure::skip;
  }
}

UniqueFd open_listening_socket(const SocketAddress& address, const ListenOptions& options) {
  const auto fail = [&](const char* call) {
    throw_system_error(errno, fmt::format("{} {}", call, address.to_string()));
  };
  const int domain = address.native()->sa_family;
  if (const auto wrong = check_listen_options(options, domain)) wrong.throw_for(address);
  UniqueFd socket(sys::socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) fail("socket for");
  const auto put = [&](const char* call, int level, int option, int value) {
    if (sys::setsockopt(socket.get(), level, option, &value, sizeof value) != 0) fail(call);
  };
  if (options.reuse_address) put("SO_REUSEADDR for", SOL_SOCKET, SO_REUSEADDR, 1);
  if (options.reuse_port) put("SO_REUSEPORT for", SOL_SOCKET, SO_REUSEPORT, 1);
  if (address.family() == SocketAddress::Family::ipv6) {
    put("IPV6_V6ONLY for", IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0);
  }
  if (options.defer_accept.count() > 0) {
    put("TCP_DEFER_ACCEPT for", IPPROTO_TCP, TCP_DEFER_ACCEPT,
        static_cast<int>(options.defer_accept.count()));
  }
  if (options.fast_open_queue > 0) {
    put("TCP_FASTOPEN for", IPPROTO_TCP, TCP_FASTOPEN, options.fast_open_queue);
  }
  if (const auto failure =
          apply_socket_options(socket.get(), domain, options.socket, OptionsFor::new_socket)) {
    failure.throw_for(address);
  }
  if (sys::bind(socket.get(), address.native(), address.native_size()) != 0) fail("bind");
  if (sys::listen(socket.get(), std::max(options.backlog, 1)) != 0) fail("listen on");
  return socket;
}

}  // namespace

class Listener::Core final : public IoTarget, public TimerNode {
 public:
  Core(EventLoop& loop, Accepted accepted, std::optional<SocketOptions> for_each)
      : IoTarget(loop), accepted_(std::move(accepted)), for_each_(std::move(for_each)) {}

  int listen(int fd) noexcept { return attach(fd, Interest::read); }
  void keep(UnixPath path) noexcept { path_ = std::move(path); }
  void end() noexcept {
    TimerNode::cancel(loop());
    path_.remove();
    detach_and_close(true);
    while (waiting() > 0) drop(waiting_[next_waiting_++].socket);
    bury();
  }
  void stop() noexcept {
    if (!attached()) return;
    TimerNode::cancel(loop());
    exhausted_ = false;
    path_.remove();  // first: who comes now finds nobody, instead of a queue that nobody takes
    take_queue();
    detach_and_close(true);
    if (waiting() > 0 && !paused_) request_flush();
  }
  std::size_t waiting() const noexcept { return waiting_.size() - next_waiting_; }

  void pause() noexcept {
    paused_ = true;
    update();
  }
  void resume() noexcept {
    paused_ = false;
    update();
    if (waiting() > 0) request_flush();
  }
  void retry() noexcept {
    if (!std::exchange(exhausted_, false)) return;
    TimerNode::cancel(loop());
    update();
  }

  bool paused() const noexcept { return paused_; }
  const ListenerStats& stats() const noexcept { return stats_; }
  void on_failure(Function<void(std::error_code)> callback) { on_failure_ = std::move(callback); }
  SocketAddress address() const {
    alignas(8) unsigned char native[SocketAddress::kNativeBytes];
    socklen_t size = sizeof native;
    if (sys::getsockname(fd(), reinterpret_cast<sockaddr*>(native), &size) != 0) return {};
    return SocketAddress::from_native(native, size);
  }

 private:
  // Taken by stop().
  struct Waiting {
    UniqueFd socket;
    SocketAddress peer;
  };

  bool accepting() const noexcept { return attached() && !failed_ && !paused_ && !exhausted_; }

  void update() noexcept {
    if (!attached() || (silenced() && !accepting())) return;
    set_interest(accepting() ? Interest::read : Interest::none);
  }

  // How many to ask for. To be told EAGAIN costs more than a connection, to be woken once more for
  // the next one nearly nothing: one, unless the iteration before this one also had all that it
  // asked for. Then there may be a queue, and it is twice as many; but after having been wrong not
  // before a number of right guesses that doubles as well.
  int batch() noexcept {
    const std::uint64_t iteration = loop().services().iteration();
    const bool in_a_row = iteration == last_iteration_ + 1;
    last_iteration_ = iteration;
    if (!in_a_row) {
      batch_ = 1;
    } else if (doubts_left_ > 0) {
      --doubts_left_;
    } else {
      batch_ = std::min(batch_ * 2, kAcceptsPerTurn);
    }
    return batch_;
  }

  void handle_io(IoEvents events) override {
    // Shut down by somebody: epoll would say so for ever, wanted or not. accept4() will tell.
    if (!accepting() && events.ended()) return silence();
    for (int left = batch(); left > 0 && accepting(); --left) {
      if (!accept_one()) return;
    }
    if (batch_ > 1 && doubts_ > 1) doubts_ /= 2;
  }

  // With errno if there is no socket.
  Waiting take_one() noexcept {
    alignas(8) unsigned char native[SocketAddress::kNativeBytes];
    socklen_t size = sizeof native;
    UniqueFd socket(sys::accept4(fd(), reinterpret_cast<sockaddr*>(native), &size,
                                 SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) return {};
    ++stats_.accepted;
    if (for_each_) set_options(socket.get());
    return {std::move(socket), SocketAddress::from_native(native, size)};
  }

  // The listener could have them: this fails only for who has given up a privilege since. A
  // connection with less priority is better than none.
  void set_options(int accepted) noexcept {
    const OptionFailure failure =
        apply_socket_options(accepted, AF_UNSPEC, *for_each_, OptionsFor::live_socket);
    if (!failure || !log::enabled(log::Level::warning) || !log_limit_.allow(loop().now())) return;
    log::write(log::Level::warning,
               fmt::format("listener {}: {}: {}; accepted all the same", address().to_string(),
                           failure.text(), system_error_code(failure.error).message()));
  }

  // False when there is nothing more to be had now.
  bool accept_one() {
    Waiting taken = take_one();
    if (!taken.socket) return handle_failure(errno);
    pause_length_ = kShortestPause;
    accepted_(std::move(taken.socket), taken.peer);
    return true;
  }

  // Moves what the kernel has queued to waiting_.
  void take_queue() noexcept {
    // The queue is the socket's, and the socket may be another process's too: in a forked child it
    // is the parent's, and a parent may have left it to its children.
    if (loop().services().forked_away()) return;
    // A queue without room: hardly any handshake ends between the last look and close().
    if (!LoopServices::ever_forked()) sys::listen(fd(), 0);
    for (int i = 0; i < kAcceptsAtStop; ++i) {
      Waiting taken = take_one();
      if (taken.socket) {
        keep(std::move(taken));
        continue;
      }
      const Failure failure = classify(errno);
      if (failure == Failure::nothing_there) return;
      if (failure == Failure::skip) ++stats_.aborted;
      if (failure == Failure::exhausted || failure == Failure::fatal) break;
    }
    tcp_info info{};
    socklen_t size = sizeof info;
    if (sys::getsockopt(fd(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return;
    stats_.dropped += info.tcpi_unacked;  // of a listening socket: the length of its queue
  }

  void keep(Waiting taken) noexcept {
    try {
      waiting_.emplace_back();
      waiting_.back() = std::move(taken);
    } catch (const std::bad_alloc&) {
      drop(taken.socket);
    }
  }

  void drop(UniqueFd& socket) noexcept {
    ++stats_.dropped;
    const LoopServices& services = loop().services();
    if (!services.forked_away()) stream_reset(socket.get(), LoopServices::ever_forked());
    socket.reset();
  }

  // The turn of those that stop() has taken.
  void handle_flush() override {
    // Asked for first: what a callback throws must not leave the others behind.
    if (waiting() > 1 && !paused_) request_flush();
    for (int left = kAcceptsPerTurn; left > 0 && waiting() > 0 && !paused_; --left) {
      Waiting taken = std::move(waiting_[next_waiting_++]);
      if (waiting() == 0) forget_waiting();
      accepted_(std::move(taken.socket), taken.peer);
    }
  }
  void forget_waiting() noexcept {
    std::vector<Waiting>().swap(waiting_);
    next_waiting_ = 0;
  }

  bool handle_failure(int error) {
    switch (classify(error)) {
      case Failure::nothing_there:
        batch_ = 1;
        doubts_ = doubts_left_ = std::min(doubts_ * 2, kMostDoubts);
        return false;
      case Failure::again:
        return true;
      case Failure::skip:
        ++stats_.aborted;
        return true;
      case Failure::exhausted:
        wait_for_resources(error);
        return false;
      case Failure::fatal:
        break;
    }
    failed_ = true;
    silence();
    if (auto callback = std::exchange(on_failure_, {})) {  // it may set another
      callback(system_error_code(error));
    } else {
      log::write(log::Level::error,
                 fmt::format("listener {}: accept4: {}; it accepts no more", address().to_string(),
                             system_error_code(error).message()));
    }
    return false;
  }

  // The connection stays in the kernel's queue, and would be reported again at once: not listening
  // for a while is the only way neither to spin nor to lose it.
  void wait_for_resources(int error) {
    ++stats_.exhausted;
    exhausted_ = true;
    update();
    TimerNode::start(loop(), pause_length_);
    pause_length_ = std::min(pause_length_ * 2, kLongestPause);
    if (log::enabled(log::Level::warning) && log_limit_.allow(loop().now())) {
      log::write(log::Level::warning,
                 fmt::format("listener {}: accept4: {}; connections wait ({} more times not shown)",
                             address().to_string(), system_error_code(error).message(),
                             log_limit_.suppressed()));
    }
  }

  void handle_timer() override { retry(); }
  void handle_burial() noexcept override { loop().services().slab<Core>().destroy(this); }

  Accepted accepted_;
  Function<void(std::error_code)> on_failure_;
  const std::optional<SocketOptions> for_each_;  // that what it accepts does not inherit
  bool paused_ = false;
  bool exhausted_ = false;
  bool failed_ = false;
  int batch_ = 1;
  int doubts_ = 1;
  int doubts_left_ = 0;  // turns before more are asked for than last time
  std::uint64_t last_iteration_ = 0;
  std::chrono::milliseconds pause_length_ = kShortestPause;
  log::RateLimit log_limit_;
  ListenerStats stats_;
  UnixPath path_;
  std::vector<Waiting> waiting_;  // from next_waiting_
  std::size_t next_waiting_ = 0;
};

Listener::Listener(EventLoop& loop, const SocketAddress& address, Accepted accepted,
                   const ListenOptions& options) {
  MILLRACE_CHECK(accepted, "a Listener needs a callback");
  UnixListening made;
  if (address.family() == SocketAddress::Family::unix_domain) {
    made = listen_unix(address, options);
  } else {
    made.socket = open_listening_socket(address, options);
  }
  UniqueFd& socket = made.socket;
  core_ = loop.services().slab<Core>().make(
      loop, std::move(accepted),
      options_not_inherited(options.socket, address.native()->sa_family));
  core_->keep(std::move(made.path));
  if (const int e = core_->listen(socket.get())) {
    core_->end();
    throw_system_error(e, fmt::format("epoll_ctl for listener {}", address.to_string()));
  }
  static_cast<void>(socket.release());
}

Listener::Listener(Listener&& other) noexcept : core_(std::exchange(other.core_, nullptr)) {}

Listener& Listener::operator=(Listener&& other) noexcept {
  if (this == &other) return *this;
  const Listener old(std::move(*this));
  core_ = std::exchange(other.core_, nullptr);
  return *this;
}

Listener::~Listener() {
  if (core_) core_->end();
}

SocketAddress Listener::address() const {
  return core_->address();
}
void Listener::pause() noexcept {
  core_->pause();
}
void Listener::resume() noexcept {
  core_->resume();
}
bool Listener::paused() const noexcept {
  return core_->paused();
}
void Listener::retry() noexcept {
  core_->retry();
}
void Listener::on_failure(Function<void(std::error_code)> callback) {
  core_->on_failure(std::move(callback));
}
void Listener::stop() noexcept {
  core_->stop();
}
std::size_t Listener::waiting() const noexcept {
  return core_->waiting();
}
ListenerStats Listener::stats() const noexcept {
  return core_->stats();
}

}  // namespace millrace
