// Connector makes one non-blocking attempt to connect and reports its one result from the loop,
// never from inside start(). It lives in the loop's slab from start() until that result or
// cancel(). Loop's thread.
#pragma once

#include <millrace/function.h>
#include <millrace/io_target.h>
#include <millrace/socket_address.h>
#include <millrace/time.h>
#include <millrace/timer.h>
#include <millrace/unique_fd.h>

#include "unix_path.h"

#include <chrono>
#include <system_error>

namespace millrace {

struct ClientOptions;
struct OptionFailure;

class Connector final : public IoTarget, public TimerNode {
 public:
  // The connected socket, or why there is none. The connector is gone for its user by then.
  using Result = Function<void(UniqueFd socket, std::error_code failure)>;

  static Connector* start(EventLoop& loop, const SocketAddress& address,
                          const ClientOptions& options, Result result);
  Connector(EventLoop& loop, const SocketAddress& address, Result result);

  // There will be no result.
  void cancel() noexcept;

 private:
  int begin(const ClientOptions& options) noexcept;
  int bind(int fd, const SocketAddress& local) noexcept;
  void tell(const OptionFailure& failure) const noexcept;
  int try_to_connect() noexcept;
  void start_timer();
  void report(UniqueFd socket, int error);
  bool connected_to_itself() const noexcept;

  void handle_io(IoEvents events) override;
  void handle_flush() override;
  void handle_timer() override;
  void handle_burial() noexcept override;

  SocketAddress address_;
  Result result_;
  int failed_ = 0;  // errno value of an attempt that failed at once
  TimePoint deadline_ = TimePoint::max();
  UnixPath local_;    // for as long as it lives
  UniqueFd waiting_;  // a Unix socket whose server's queue was full: tries again
  std::chrono::milliseconds next_try_{1};
};

}  // namespace millrace
