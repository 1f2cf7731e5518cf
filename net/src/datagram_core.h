// DatagramCore is what a DatagramSocket does. One per socket, in a slab of the loop; it outlives
// its socket until the end of the iteration, so that callbacks may destroy that.
//
// Invariants, outside of its own functions:
// 1. Datagrams are queued only while a flush is requested, or blocked_ says that the kernel has no
//    room: then EPOLLOUT is asked for, or, where that says nothing, a timer runs.
// 2. What was received and not delivered (held_) waits only while reading is paused, or a flush is
//    requested.
// 3. Callbacks run from handle_io(), handle_flush() and handle_timer() only.
#pragma once

#include <millrace/datagram.h>
#include <millrace/datagram_options.h>
#include <millrace/event_loop.h>
#include <millrace/function.h>
#include <millrace/io_target.h>
#include <millrace/loop_services.h>
#include <millrace/timer.h>
#include <millrace/unique_fd.h>

#include "datagram_batch.h"
#include "datagram_queue.h"
#include "unix_path.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <string>
#include <system_error>
#include <vector>

namespace millrace {

// A socket's callbacks, with the socket itself bound to them.
struct DatagramHooks {
  Function<void(const Datagram&), 64> on_datagram;
  Function<void(), 64> on_drained;
  Function<void(const DatagramError&), 64> on_error;
};

class DatagramCore final : public IoTarget, public TimerNode {
 public:
  DatagramCore(EventLoop& loop, DatagramHooks hooks, const DatagramOptions& options);

  // Throws std::system_error (EINVAL) when it is open.
  void check_unbound(const SocketAddress& wanted) const;
  // Takes over a socket that is bound or connected. Throws std::system_error.
  void open(UniqueFd socket, const SocketAddress& about, UnixPath path = {});
  // Opens it if it is not. Throws std::system_error.
  void connect(const SocketAddress& peer);
  // Takes what is queued for the peer with it.
  std::error_code disconnect();
  void close() noexcept;
  void end() noexcept;  // closes, and nothing of the user's is called any more

  DatagramResult send(const DatagramQueue::Target& target, ByteView bytes);
  void flush();
  void pause_reading();
  void resume_reading();

  const DatagramOptions& options() const noexcept { return options_; }
  bool reading_paused() const noexcept { return paused_; }
  bool is_open() const noexcept { return attached(); }
  bool is_connected() const noexcept { return connected_; }
  const SocketAddress& peer() const noexcept { return peer_; }
  SocketAddress address() const;
  std::size_t queued_bytes() const noexcept { return queue_.bytes(); }
  std::size_t queued_datagrams() const noexcept { return queue_.datagrams(); }
  DatagramStats stats() const;

 private:
  // A datagram that was taken from the kernel while reading was paused.
  struct Held {
    Datagram datagram;
    std::string bytes;
  };

  void handle_io(IoEvents events) override;
  void handle_flush() override;
  void handle_timer() override;
  void handle_burial() noexcept override;

  bool is_ip() const noexcept { return family_ != SocketAddress::Family::unix_domain; }
  bool reading() const noexcept { return hooks_.on_datagram && !paused_ && attached(); }
  // Not of Unix sockets: it would be an invitation to send us descriptors.
  bool with_control() const noexcept {
    return is_ip() && (options_.local_address || options_.receive_offload);
  }
  void receive();
  int take_batch();
  void take(int i);
  void deliver(const Datagram& datagram);
  void hold(const Datagram& datagram) noexcept;
  void receive_failed(int error);
  void deliver_held();

  bool owes_drained() const noexcept;
  bool make_room(std::size_t bytes) noexcept;
  std::uint32_t largest_segment() const noexcept;
  void flush_queue() noexcept;  // as much as one iteration may
  void flush_all() noexcept;
  bool may_flush() noexcept;
  bool send_failed(int error, int& attempts) noexcept;
  void drop_queue() noexcept;
  void block() noexcept;
  // Brings interest, flush and callbacks in line with what has happened.
  void settle();
  void update_interest() noexcept;

  void read_errors();
  bool read_error();
  void read_socket_error();
  void lose_first(int error) noexcept;
  void report_failures();
  void report(const DatagramError& error);
  // What the user's code throws is reported, and the socket goes on.
  template <class Hook, class... Args>
  void call(Hook& hook, const char* kind, const Args&... args) {
    try {
      hook(args...);
    } catch (...) {
      loop().services().report_exception(std::current_exception(), kind);
    }
  }

  DatagramHooks hooks_;
  const DatagramOptions options_;
  DatagramBatch& batch_;
  std::size_t receive_bytes_ = 0;  // room for each datagram
  DatagramQueue queue_;
  SocketAddress peer_;
  UnixPath path_;      // it is bound to
  Datagram datagram_;  // that is being delivered
  std::deque<Held> held_;
  std::vector<DatagramError> failures_;  // of sending, not reported yet
  SocketAddress::Family family_ = SocketAddress::Family::none;
  bool paused_ = false;
  bool connected_ = false;
  bool in_turn_ = false;     // settle() will follow
  bool blocked_ = false;     // the kernel has no room
  bool overflowed_ = false;  // on_drained is owed
  bool resting_ = false;     // receiving failed: not before the timer
  bool shut_down_ = false;   // by somebody who has a copy of the descriptor
  std::uint16_t port_ = 0;
  std::uint32_t life_ = 0;             // changes with close()
  std::uint32_t largest_segment_ = 0;  // that the kernel is trusted to cut; 0: none
  std::uint32_t suspect_segment_ = 0;  // that it did not take: we shall see why
  std::size_t largest_bytes_ = 0;      // of a datagram that can be sent
  std::uint64_t iteration_ = 0;        // that turn_bytes_ counts
  std::size_t turn_bytes_ = 0;         // sent in it
  std::chrono::milliseconds retry_after_{1};
  DatagramStats stats_;
};

}  // namespace millrace
