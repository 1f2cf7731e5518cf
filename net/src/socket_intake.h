// SocketIntake brings sockets that were made elsewhere to a server: it checks them, and offers them
// from the loop, some per turn, never from inside add(). It lives in its loop's slab until end().
// Loop's thread.
#pragma once

#include <millrace/function.h>
#include <millrace/io_target.h>
#include <millrace/socket_address.h>
#include <millrace/unique_fd.h>

#include <cstddef>
#include <system_error>
#include <vector>

namespace millrace {

class SocketIntake final : public IoTarget {
 public:
  using Offer = Function<void(UniqueFd socket, const SocketAddress& peer)>;

  SocketIntake(EventLoop& loop, Offer offer) : IoTarget(loop), offer_(std::move(offer)) {}

  // What is not a connected stream socket is refused: EBADF, ENOTSOCK, EPROTOTYPE (of another
  // type), EINVAL (it listens), ENOTCONN, EAFNOSUPPORT (neither TCP nor Unix). May throw
  // std::bad_alloc.
  std::error_code add(UniqueFd socket);
  void pause() noexcept { paused_ = true; }
  void resume() noexcept;
  std::size_t waiting() const noexcept { return sockets_.size() - next_; }
  // Resets those that wait; how many.
  std::size_t drop_waiting() noexcept;
  // Offers no more, and is destroyed at the end of the iteration.
  void end() noexcept;

 private:
  struct Waiting {
    UniqueFd socket;
    SocketAddress peer;
  };

  void make_room() noexcept;
  void forget() noexcept;
  void handle_io(IoEvents) override {}
  void handle_flush() override;
  void handle_burial() noexcept override;

  Offer offer_;
  std::vector<Waiting> sockets_;  // from next_
  std::size_t next_ = 0;
  bool paused_ = false;
};

}  // namespace millrace
