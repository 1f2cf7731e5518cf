#include "connector.h"

#include <millrace/client.h>
#include <millrace/error.h>
#include <millrace/event_loop.h>
#include <millrace/log.h>
#include <millrace/loop_services.h>

#include "apply_socket_options.h"
#include "stream_io.h"
#include "syscalls.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <string>
#include <utility>

namespace millrace {
namespace {

// The longest wait for a place in the queue of a server: one that accepts nothing at all is asked
// ten times a second.
constexpr std::chrono::milliseconds kLongestTry{100};

}  // namespace

Connector::Connector(EventLoop& loop, const SocketAddress& address, Result result)
    : IoTarget(loop), address_(address), result_(std::move(result)) {}

Connector* Connector::start(EventLoop& loop, const SocketAddress& address,
                            const ClientOptions& options, Result result) {
  auto* made = loop.services().slab<Connector>().make(loop, address, std::move(result));
  const auto time = options.race.address_timeout;  // of the whole there is the AddressRace's
  if (time.count() > 0) made->deadline_ = later(loop.now(), Delay(time).value());
  made->failed_ = made->begin(options);
  if (made->failed_ != 0) {
    made->request_flush();
  } else {
    made->start_timer();
  }
  return made;
}

int Connector::begin(const ClientOptions& options) noexcept {
  const int domain = address_.native()->sa_family;
  UniqueFd socket(sys::socket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return errno;
  if (const auto failure =
          apply_socket_options(socket.get(), domain, options.socket, OptionsFor::new_socket)) {
    tell(failure);
    return failure.error;
  }
  // Where the system does not allow it one connects without.
  const int on = 1;
  if (options.fast_open && domain != AF_UNIX) {
    sys::setsockopt(socket.get(), IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on);
  }
  // The port of an earlier connection may still be in TIME_WAIT.
  if (options.local.port() != 0) {
    sys::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  }
  if (const int e = bind(socket.get(), options.local)) return e;
  waiting_ = std::move(socket);
  return try_to_connect();
}

int Connector::bind(int fd, const SocketAddress& local) noexcept {
  if (local.family() == SocketAddress::Family::none) return 0;
  if (local.path().empty()) {
    return sys::bind(fd, local.native(), local.native_size()) == 0 ? 0 : errno;
  }
  try {
    local_ = UnixPath(fd, local, {});
    return 0;
  } catch (const std::system_error& e) {
    return e.code().value();
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
}

int Connector::try_to_connect() noexcept {
  // EINTR: the attempt goes on by itself, as with EINPROGRESS.
  if (sys::connect(waiting_.get(), address_.native(), address_.native_size()) != 0 &&
      errno != EINPROGRESS && errno != EINTR) {
    // The queue of a Unix server is full, and no event will tell when it no longer is.
    const bool full = errno == EAGAIN && address_.family() == SocketAddress::Family::unix_domain;
    return full ? 0 : errno;
  }
  // Only now: a socket that is not connecting yet would report a hang-up.
  if (const int e = attach(waiting_.get(), Interest::write)) return e;
  static_cast<void>(waiting_.release());
  return 0;
}

// on_connect_failed has room for the error only, and not for which option it was about.
void Connector::tell(const OptionFailure& failure) const noexcept {
  if (!log::enabled(log::Level::warning)) return;
  try {
    log::write(log::Level::warning, "client: " + failure.text(address_.to_string()) + ": " +
                                        system_error_code(failure.error).message());
  } catch (const std::bad_alloc&) {
    // The attempt fails with the error all the same.
  }
}

// Until the attempt has failed, or is to be repeated.
void Connector::start_timer() {
  if (waiting_) {
    TimerNode::start(loop(), std::min<Duration>(deadline_ - loop().now(), next_try_));
    next_try_ = std::min(next_try_ * 2, kLongestTry);
  } else if (deadline_ != TimePoint::max()) {
    TimerNode::start(loop(), deadline_ - loop().now());
  }
}

void Connector::handle_io(IoEvents) {
  int error = stream_error(fd());
  // The kernel connects a socket to itself when it picks the port that is being connected to.
  if (error == 0 && connected_to_itself()) error = ECONNREFUSED;
  if (error != 0) return report({}, error);
  report(UniqueFd(detach_and_release()), 0);
}

bool Connector::connected_to_itself() const noexcept {
  const auto name_by = [fd = fd()](auto&& call) {
    alignas(8) unsigned char native[SocketAddress::kNativeBytes];
    socklen_t size = sizeof native;
    if (call(fd, reinterpret_cast<sockaddr*>(native), &size) != 0) return SocketAddress();
    return SocketAddress::from_native(native, size);
  };
  const SocketAddress own = name_by(sys::getsockname);
  // The port decides nearly always; the address that was asked for may be another than the peer's.
  return own.port() == address_.port() && own == name_by(sys::getpeername);
}

void Connector::handle_flush() {
  report({}, failed_);
}

void Connector::handle_timer() {
  if (!waiting_ || loop().now() >= deadline_) return report({}, ETIMEDOUT);
  if (const int e = try_to_connect()) return report({}, e);
  start_timer();
}

void Connector::report(UniqueFd socket, int error) {
  Result result = std::move(result_);
  cancel();
  result(std::move(socket), error == 0 ? std::error_code() : system_error_code(error));
}

void Connector::cancel() noexcept {
  TimerNode::cancel(loop());
  local_.remove();  // the peer knows the name, and nobody else needs the file
  detach_and_close(true);
  waiting_.reset();
  bury();
}

void Connector::handle_burial() noexcept {
  loop().services().slab<Connector>().destroy(this);
}

}  // namespace millrace
